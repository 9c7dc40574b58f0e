"""Which puzzles may be counted: each once, and none that a model was trained on.

B puzzles (B, 3, 9, 9) int8 with masks (B, 9, 9) bool, true where the model writes. A binomial test takes puzzles for
independent draws of what the model has not seen. Of a puzzle a model sees the given cells alone: two that differ only
where it writes ask the same of it.
"""

from collections.abc import Iterable

import torch
from torch import Tensor

from genraven.metrics.memorization import UNORDERED, fingerprints
from genraven.puzzles import layout
from genraven.puzzles.spec import EMPTY, NUM_ROWS


def given_cells(puzzles: Tensor, mask: Tensor) -> Tensor:
    """(B, 3, 9, 9): ``puzzles`` with the cells under ``mask`` emptied."""
    return puzzles.masked_fill(mask.unsqueeze(1), EMPTY)


def first_of_copies(*versions: Tensor) -> Tensor:
    """(B,) bool: is a puzzle unlike all before it?

    Args:
        versions: (B, 3, 9, 9) int8 each; two puzzles are copies when they have the same rows, in any order, in one of
            these.
    """
    keys = [fingerprints(version)[UNORDERED].tolist() for version in versions]
    before: list[set[int]] = [set() for _ in versions]
    firsts = []
    for key in zip(*keys, strict=True):
        firsts.append(all(one not in seen for one, seen in zip(key, before, strict=True)))
        for one, seen in zip(key, before, strict=True):
            seen.add(one)
    return torch.tensor(firsts, dtype=torch.bool)


def were_trained(puzzles: Tensor, mask: Tensor, training: Iterable[Tensor]) -> Tensor:
    """(B,) bool: does what is given of each row stand in a row of the ``training`` puzzles?

    So a training puzzle is found with its rows in another order, among those of others, or with another answer.

    Args:
        puzzles: (B, 3, 9, 9) int8.
        mask: (9, 9) bool, of all of them.
        training: parts (n, 3, 9, 9) of the training set.
    """
    parts = layout.mask_to_tokens(mask.unsqueeze(0)).view(NUM_ROWS, -1)  # what is open of each row
    kinds, kind_of_row = parts.unique(dim=0, return_inverse=True)
    asked = fingerprints(given_cells(puzzles, mask.expand(len(puzzles), -1, -1)))["rows"]
    found = torch.zeros_like(asked, dtype=torch.bool)
    for some in training:
        for kind, open_cells in enumerate(kinds):
            hashes = fingerprints(_without(some, open_cells))["rows"]
            rows = kind_of_row == kind
            found[:, rows] |= torch.isin(asked[:, rows], hashes)
    return found.all(1)


def _without(puzzles: Tensor, open_cells: Tensor) -> Tensor:
    """``puzzles`` with the ``open_cells`` (27,) bool of each row emptied."""
    tokens = layout.puzzles_to_tokens(puzzles)
    tokens = tokens.masked_fill(open_cells.repeat(NUM_ROWS)[None, :, None], EMPTY)
    return layout.tokens_to_puzzles(tokens)
