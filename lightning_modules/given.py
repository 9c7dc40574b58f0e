"""What a model is given, a network and puzzles to complete: refused in one line where it is not of puzzles.

B puzzles (B, 3, 9, 9) int8, masks (B, 9, 9) bool, true where a model is to write.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from genraven.errors import InputError
from genraven.puzzles.layout import PUZZLE_SHAPE, SYMBOLS
from genraven.puzzles.spec import EMPTY, NUM_CELLS, NUM_PANELS, NUM_ROWS, NUM_VALUES, TOKENS_PER_PUZZLE

PUZZLE_SIZES: Mapping[str, int | tuple[int, ...]] = {
    "symbols": SYMBOLS,
    "shape": (NUM_ROWS, NUM_PANELS, NUM_CELLS),
    "num_cells": TOKENS_PER_PUZZLE,
}
"""What a network may say of what it reads, as attributes, and what is true of puzzles."""


def check_reads_puzzles(network: nn.Module) -> None:
    """Raises InputError where the symbols or cells that ``network`` says it reads are not those of puzzles."""
    for name, wanted in PUZZLE_SIZES.items():
        found = getattr(network, name, wanted)
        if (tuple(found) if isinstance(found, list) else found) != wanted:
            raise InputError(f"expected a network of puzzles, {name} {wanted}, got {type(network).__name__} of "
                             f"{name} {found}: leave its sizes at their defaults.")  # fmt: skip


def check_puzzles(puzzles: Any) -> None:
    """Raises InputError unless ``puzzles`` are a tensor of puzzles."""
    is_tensor = isinstance(puzzles, Tensor)
    if is_tensor and puzzles.dtype == torch.int8 and puzzles.shape[1:] == PUZZLE_SHAPE:
        return
    got = f"{puzzles.dtype} of {tuple(puzzles.shape)}" if is_tensor else type(puzzles).__name__
    raise InputError(f"expected puzzles as a torch.int8 tensor (B, {', '.join(map(str, PUZZLE_SHAPE))}), got {got}: "
                     "torch.as_tensor(puzzles).to(torch.int8) makes one of whole numbers.")  # fmt: skip


def check_given(puzzles: Tensor, mask: Tensor) -> None:
    """Raises InputError where a cell that ``mask`` leaves as it is holds no value; on a GPU nobody waits to look."""
    if puzzles.device.type != "cpu":
        return
    most = torch.tensor(NUM_VALUES, dtype=torch.int8).view(-1, 1, 1)
    wrong = ((puzzles < EMPTY) | (puzzles >= most)) & ~mask.unsqueeze(1)
    if wrong.any():
        puzzle, attribute, line, column = wrong.nonzero()[0].tolist()
        raise InputError(f"expected cells that are {EMPTY} (empty) or below {NUM_VALUES[attribute]} in channel "
                         f"{attribute}, got {int(puzzles[wrong][0])} in puzzle {puzzle} at ({line}, {column}): "
                         "mend it, or let the mask leave it open.")  # fmt: skip
