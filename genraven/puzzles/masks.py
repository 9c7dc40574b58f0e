"""Which cells of a puzzle are left open, for a model to write.

B batch; a mask is (B, 9, 9) bool, true where the model writes.
"""

import torch
from torch import Tensor

from genraven.puzzles.spec import EMPTY, GRID, NUM_PANELS, NUM_ROWS, TOKENS_PER_PUZZLE

_SIDE = GRID // NUM_PANELS  # cells along a panel
_ALL_PANELS = NUM_ROWS * NUM_PANELS
NUM_DRAWS = 2 + _ALL_PANELS + TOKENS_PER_PUZZLE  # that one random mask takes


def last_panel_mask(num: int, device: torch.device | str | None = None) -> Tensor:
    """(num, 9, 9) mask that is true in the last panel: the cells to complete."""
    mask = torch.zeros(num, GRID, GRID, dtype=torch.bool, device=device)
    mask[:, -_SIDE:, -_SIDE:] = True
    return mask


def without(puzzles: Tensor, mask: Tensor) -> Tensor:
    """``puzzles`` (B, 3, 9, 9) with empty cells under ``mask`` (B, 9, 9), whatever stood there: not even an index."""
    return puzzles.masked_fill(mask.unsqueeze(1), EMPTY)


def panels_to_cells(panels: Tensor) -> Tensor:
    """(B, 9, 9) that is true in all cells of the ``panels`` (B, 3, 3)."""
    return panels.repeat_interleave(_SIDE, 1).repeat_interleave(_SIDE, 2)


def known_within(open_cells: Tensor, unknown: Tensor) -> Tensor:
    """``open_cells`` (B, ...) without the ``unknown`` ones; all known cells of a puzzle where this leaves none."""
    left = open_cells & ~unknown
    is_left = left.flatten(1).any(1).view(-1, *[1] * (left.ndim - 1))
    return torch.where(is_left, left, ~unknown)


def random_masks(uniform: Tensor) -> Tensor:
    """(B, 9, 9) masks to train completion with: each opens a cell or more and keeps one or more.

    Half of them open the last panel, a quarter some panels (one to eight, as likely), a quarter some cells.

    Args:
        uniform: (B, NUM_DRAWS) draws on [0, 1).
    """
    kind, amount, by_panel, by_cell = uniform.split([1, 1, _ALL_PANELS, TOKENS_PER_PUZZLE], 1)
    panels = panels_to_cells(_lowest(by_panel, amount).view(-1, NUM_ROWS, NUM_PANELS))
    cells = _lowest(by_cell, amount).view(-1, GRID, GRID)
    kind = kind.unsqueeze(2)
    last = last_panel_mask(len(uniform), uniform.device)
    return torch.where(kind < 0.5, last, torch.where(kind < 0.75, panels, cells))


def _lowest(scores: Tensor, amount: Tensor) -> Tensor:
    """(B, n) bool, true for the 1 to n - 1 lowest of ``scores`` (B, n), as many as ``amount`` (B, 1) in [0, 1) says."""
    n = scores.shape[1]
    return scores.argsort(1).argsort(1) < 1 + (amount * (n - 1)).floor()
