"""What stands in the panels that a model wrote, and how far several completions of a puzzle agree on it.

B puzzles, m candidates of each, R x P panels, k = 9 cells a panel, F = 5 features. A mask (B, 9, 9) bool is true where
the model wrote.
"""

import torch
from torch import Tensor

from genraven.puzzles import layout
from genraven.puzzles.spec import EMPTY, NUM_CELLS, NUM_VALUES

FEATURES = ("shapes", "sizes", "colors", "count", "cells")
"""Sets of shapes, sizes and colors, number of objects, occupied cells."""


def panel_features(puzzles: Tensor) -> Tensor:
    """(B, R * P, F) int64: each set as a bit mask, the count as it is.

    Args:
        puzzles: (B, 3, 9, 9) int8.
    """
    cells = layout.canonical(layout.puzzles_to_rows(puzzles)).flatten(1, 2).long()  # B, panel, k, attribute
    filled = cells[..., 0] != EMPTY
    values = [_union(1 << _within(cells[..., a], n), filled, n) for a, n in enumerate(NUM_VALUES)]
    places = (filled << torch.arange(NUM_CELLS, device=cells.device)).sum(-1)
    return torch.stack([*values, filled.sum(-1), places], -1)


def _within(values: Tensor, num: int) -> Tensor:
    """``values``, and ``num`` for those that are none of 0 .. num - 1."""
    return values.where((values >= 0) & (values < num), num)


def _union(bits: Tensor, filled: Tensor, num: int) -> Tensor:
    """(...) bit masks of all that is in ``bits`` (..., k) where ``filled``; bit ``num`` for values out of range."""
    each = (bits * filled).unsqueeze(-1) >> torch.arange(num + 1, device=bits.device) & 1
    return (each.any(-2) << torch.arange(num + 1, device=bits.device)).sum(-1)


def written_panels(mask: Tensor) -> Tensor:
    """(B, R * P) bool: panels with a written cell."""
    return layout.mask_to_tokens(mask).unflatten(1, (-1, NUM_CELLS)).any(-1)


def agreement(candidates: Tensor, mask: Tensor) -> Tensor:
    """(B, m, F) fraction of a puzzle's other candidates that have the same as this one, averaged over written panels.

    Whole panels hardly ever agree, since right ones are many; what the rule asks for does.

    Args:
        candidates: (B, m, 3, 9, 9) int8, m at least 2.
        mask: (B, 9, 9) bool.
    """
    num = candidates.shape[1]
    assert num > 1, "a single candidate agrees with nothing"
    found = panel_features(candidates.flatten(0, 1)).unflatten(0, (-1, num))  # B, m, panel, F
    same = (found.unsqueeze(1) == found.unsqueeze(2)).sum(2) - 1  # itself apart
    return average_over_written(same.cpu().double() / (num - 1), mask)


def same_features(puzzles: Tensor, others: Tensor, mask: Tensor) -> Tensor:
    """(B, F) fraction of written panels in which ``puzzles`` and ``others`` (B, 3, 9, 9) have the same."""
    return average_over_written((panel_features(puzzles) == panel_features(others)).unsqueeze(1), mask).squeeze(1)


def average_over_written(values: Tensor, mask: Tensor) -> Tensor:
    """(B, m, F) float64 means of ``values`` (B, m, panel, F) over the panels with a written cell, on the CPU: not every
    device has float64.
    """
    values, panels = values.cpu(), written_panels(mask).cpu().double()[:, None, :, None]
    return (values * panels).sum(2) / panels.sum(2)
