"""Noise, exceptions and gaps for training puzzles, as real data has them."""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from genraven.errors import InputError
from genraven.puzzles import layout
from genraven.puzzles.generate import BLOCK, Draws
from genraven.puzzles.masks import panels_to_cells
from genraven.puzzles.rules import row_rules
from genraven.puzzles.spec import GRID, NUM_PANELS, NUM_ROWS, NUM_STATES, NUM_STUDY_RULES, known_with, stream_of

_MAX_ROUNDS = 1000
_SCALE = 1 << 30  # of draws that are compared with shares
_MOST = {"cells": 1.0, "exceptions": 1.0, "missing": 0.5, "missing_panels": 0.5}


@dataclass(frozen=True)
class Corruption:
    """How much of a training set is spoilt."""

    cells: float = 0.0
    """Share of cells (0 to 1) whose content is replaced by another, uniform over the 700 others."""
    exceptions: float = 0.0
    """Share of puzzles (0 to 1) that follow no rule in any row."""
    missing: float = 0.0
    """Mean share of cells (0 to 0.5) that are unknown; each puzzle's own is uniform from 0 to twice that."""
    missing_panels: float = 0.0
    """The same of whole panels."""

    def check(self) -> None:
        """Raises InputError when a share is none."""
        for name, most in _MOST.items():
            share = getattr(self, name)
            if not 0 <= share <= most:
                raise InputError(f"expected corruption.{name} to be a share from 0 to {most:g}, got {share}.")

    @property
    def leaves_gaps(self) -> bool:
        """Can cells be unknown?"""
        return self.missing > 0 or self.missing_panels > 0

    def __bool__(self) -> bool:
        return any(getattr(self, name) > 0 for name in _MOST)


def spoilt(
    puzzles: Tensor, corruption: Corruption, *, seed: int, rule: int, start: int, unknown: Tensor | None = None
) -> Tensor:
    """Puzzles ``start`` .. of ``rule`` as a training set has them: (B, 3, 9, 9), or with gaps (B, 4, 9, 9).

    Args:
        puzzles: (B, 3, 9, 9) int8, as they were made or found.
        corruption: of the set.
        seed: of the set.
        rule: of the puzzles, which names their stream; -1 for those without a rule.
        start: a multiple of ``BLOCK``.
        unknown: (B, 9, 9) bool, cells that are unknown already; None for a set without.
    """
    if corruption.cells or corruption.exceptions:
        key = (stream_of(rule), start)
        puzzles = corrupt(puzzles, corruption, seed=seed, key=key, known=known_with(rule), unknown=unknown)
    if corruption.leaves_gaps:
        missing = missing_cells(start, len(puzzles), corruption, seed=seed, rule=rule)
        unknown = missing if unknown is None else unknown | missing
    return puzzles if unknown is None else layout.with_gaps(puzzles, unknown)


def corrupt(
    puzzles: Tensor,
    corruption: Corruption,
    *,
    seed: int,
    key: tuple[int, ...],
    known: int = NUM_STUDY_RULES,
    unknown: Tensor | None = None,
) -> Tensor:
    """A copy of ``puzzles`` (B, 3, 9, 9) int8, which follow one rule, with noise and exceptions.

    An exception keeps the first two panels of each row and gets panels of these puzzles as third ones, so that only the
    rule is lost. The same (seed, key) corrupts the same puzzles in the same way. Puzzles with ``unknown`` cells
    (B, 9, 9) bool are never exceptions, since nobody can tell which rule they follow. An exception follows none of the
    rules with ids below ``known``.

    Raises:
        InputError: a share is none, or no exception can be made, because no panel of these puzzles breaks the rule.
    """
    corruption.check()
    draws = Draws(seed, "corrupt", *key)
    rows = layout.puzzles_to_rows(puzzles).clone()
    chosen = torch.from_numpy(draws.below(_SCALE, (len(puzzles),)) < corruption.exceptions * _SCALE)
    panels = rows.flatten(0, 2).clone()
    if unknown is not None:
        gaps = layout.mask_to_tokens(unknown).unflatten(1, (NUM_ROWS * NUM_PANELS, -1)).any(-1)
        chosen, panels = chosen & ~gaps.any(1), panels[~gaps.flatten()]
    rules = (1 << known) - 1
    todo = chosen[:, None].expand(-1, NUM_ROWS).clone()  # rows that still follow a rule
    for _ in range(_MAX_ROUNDS):
        if not todo.any():
            break
        rows[todo, 2] = panels[torch.from_numpy(draws.below(len(panels), (int(todo.sum()),)))]
        some = todo.any(1)
        todo[some] &= (row_rules(layout.rows_to_puzzles(rows[some])) & rules) != 0
    if todo.any():
        raise InputError(f"expected panels that break the rule to make exceptions of, got {len(puzzles)} puzzles "
                         "without: use more samples per rule, or corruption.exceptions 0.")  # fmt: skip
    if corruption.cells:
        states = layout.tokens_to_states(rows).numpy()
        other = (states + 1 + draws.below(NUM_STATES - 1, states.shape)) % NUM_STATES
        hit = draws.below(_SCALE, states.shape) < corruption.cells * _SCALE
        rows = layout.states_to_tokens(torch.from_numpy(np.where(hit, other, states)))
    return layout.rows_to_puzzles(rows)


def missing_cells(start: int, count: int, corruption: Corruption, *, seed: int, rule: int) -> Tensor:
    """(count, 9, 9) bool: which cells of the puzzles ``start`` .. ``start + count - 1`` of a rule are unknown.

    Any slice equals the same slice of a longer run, whatever else is spoilt.
    """
    first, last = start // BLOCK, -(-(start + count) // BLOCK)
    unknown = torch.zeros((last - first) * BLOCK, GRID, GRID, dtype=torch.bool)
    for block, part in zip(range(first, last), unknown.split(BLOCK), strict=False):
        cells, panels = (Draws(seed, "missing", kind, stream_of(rule), block) for kind in (0, 1))
        part |= _chosen(cells, corruption.missing, (GRID, GRID))
        part |= panels_to_cells(_chosen(panels, corruption.missing_panels, (NUM_ROWS, NUM_PANELS)))
    return unknown[start - first * BLOCK :][:count]


def _chosen(draws: Draws, mean: float, shape: tuple[int, int]) -> Tensor:
    """(BLOCK, *shape) bool, true in a share of each that is uniform from 0 to twice the ``mean``."""
    shares: NDArray[np.float64] = 2 * mean * draws.below(_SCALE, (BLOCK, 1, 1))
    return torch.from_numpy(draws.below(_SCALE, (BLOCK, *shape)) < shares)
