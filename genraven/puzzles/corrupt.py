"""Wrong cells, exceptions and missing cells for training puzzles, as real data has them."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field, fields
from typing import Any

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
_SCALE = 1 << 30  # of draws that are compared with fractions
_SHARED = ("exceptions", "cells")  # corruptions that draw from one stream, also where their fraction is 0
_NUMBERS = {"missing": 0, "missing_panels": 1}  # of streams that are not numbered by the name of their corruption


@dataclass(frozen=True)
class CorruptionContext:
    """What a corruption of content is given besides the puzzles and its fraction."""

    draws: Draws
    """Its own, of these puzzles; ``exceptions`` and ``cells`` share one stream, as they always have."""
    known: int
    """Rules with ids below this count."""
    unknown: Tensor | None
    """(B, 9, 9) bool: cells that are unknown already; None for none."""


def _number(name: str) -> int:
    """The number of a corruption's stream, which no field beside it changes."""
    return _NUMBERS.get(name, int.from_bytes(hashlib.sha256(name.encode()).digest()[:4], "little"))


ChangeContent = Callable[[Tensor, float, CorruptionContext], Tensor]
"""(rows (B, 3, 3, 9, 3) int8, fraction, what else is known) -> as many rows, corrupted; it may overwrite them."""
Hide = Callable[[float, Draws], Tensor]
"""(mean fraction, draws) -> (BLOCK, 9, 9) bool, true where a cell is unknown."""


def _exceptions(rows: Tensor, fraction: float, at: CorruptionContext) -> Tensor:
    """Puzzles that keep the first two panels of each row and get panels of others as third ones.

    Only the rule is lost. Puzzles with unknown cells are never exceptions, since nobody can tell which rule they
    follow.
    """
    chosen = torch.from_numpy(at.draws.below(_SCALE, (len(rows),)) < fraction * _SCALE)
    panels = rows.flatten(0, 2).clone()
    if at.unknown is not None:
        missing = layout.mask_to_tokens(at.unknown).unflatten(1, (NUM_ROWS * NUM_PANELS, -1)).any(-1)
        chosen, panels = chosen & ~missing.any(1), panels[~missing.flatten()]
    rules = (1 << at.known) - 1
    todo = chosen[:, None].expand(-1, NUM_ROWS).clone()  # rows that still follow a rule
    for _ in range(_MAX_ROUNDS):
        if not todo.any():
            break
        rows[todo, 2] = panels[torch.from_numpy(at.draws.below(len(panels), (int(todo.sum()),)))]
        some = todo.any(1)
        todo[some] &= (row_rules(layout.rows_to_puzzles(rows[some])) & rules) != 0
    if todo.any():
        raise InputError(f"expected panels that break the rule to make exceptions of, got {len(rows)} puzzles "
                         "without: use more samples per rule, or corruption.exceptions 0.")  # fmt: skip
    return rows


def _other_cells(rows: Tensor, fraction: float, at: CorruptionContext) -> Tensor:
    """Cells whose content is replaced by any other."""
    if not fraction:
        return rows
    states = layout.tokens_to_states(rows).numpy()
    other = (states + 1 + at.draws.below(NUM_STATES - 1, states.shape)) % NUM_STATES
    hit = at.draws.below(_SCALE, states.shape) < fraction * _SCALE
    return layout.states_to_tokens(torch.from_numpy(np.where(hit, other, states)))


def _missing(mean: float, draws: Draws) -> Tensor:
    return _chosen(draws, mean, (GRID, GRID))


def _missing_panels(mean: float, draws: Draws) -> Tensor:
    return panels_to_cells(_chosen(draws, mean, (NUM_ROWS, NUM_PANELS)))


def corruption(*, most: float = 1.0, change: ChangeContent | None = None, hide: Hide | None = None) -> Any:
    """A field of ``Corruption``: a fraction, 0 by default, and what it does to puzzles.

    Args:
        most: of the fraction.
        change: changes what stands in the puzzles.
        hide: tells which cells become unknown.
    """
    return field(default=0.0, metadata={"most": most, "change": change, "hide": hide})


@dataclass(frozen=True)
class Corruption:
    """How much of a training set is corrupted. The corruptions are applied in this order; a new one is a field."""

    exceptions: float = corruption(change=_exceptions)
    """Fraction of puzzles (0 to 1) that follow no rule in any row."""
    cells: float = corruption(change=_other_cells)
    """Fraction of cells (0 to 1) whose content is replaced by another, uniform over the 700 others."""
    missing: float = corruption(most=0.5, hide=_missing)
    """Mean fraction of cells (0 to 0.5) that are unknown; each puzzle's own is uniform from 0 to twice that."""
    missing_panels: float = corruption(most=0.5, hide=_missing_panels)
    """Mean fraction of panels (0 to 0.5) that are unknown as a whole."""

    def check(self, prefix: str = "corruption.") -> None:
        """Raises InputError when a fraction is none, and calls it by its name after ``prefix``."""
        for item in fields(self):
            fraction, most = getattr(self, item.name), item.metadata["most"]
            if not 0 <= fraction <= most:
                raise InputError(f"expected {prefix}{item.name} to be a fraction from 0 to {most:g}, got {fraction}.")

    @property
    def fractions(self) -> dict[str, float]:
        """Those above 0, by name: all that a corrupted set depends on beside its puzzles, their seed and rules."""
        return {item.name: fraction for item in fields(self) if (fraction := getattr(self, item.name)) > 0}

    def table(self, what: str) -> list[tuple[str, float, Any]]:
        """Name, fraction and function of each corruption at work that has a ``what``, ``change`` or ``hide``."""
        found = [(f.name, getattr(self, f.name), f.metadata[what]) for f in fields(self) if f.metadata[what]]
        return [(name, fraction, does) for name, fraction, does in found if fraction > 0 or name in _SHARED]

    @property
    def changes_content(self) -> bool:
        """Does other content stand in some puzzles?"""
        return any(fraction > 0 for _, fraction, _ in self.table("change"))

    @property
    def hides_cells(self) -> bool:
        """Can cells be unknown?"""
        return any(fraction > 0 for _, fraction, _ in self.table("hide"))

    def __bool__(self) -> bool:
        return bool(self.fractions)


def corrupted(
    puzzles: Tensor, corruption: Corruption, *, seed: int, rule: int, start: int, unknown: Tensor | None = None
) -> Tensor:
    """Puzzles ``start`` .. of ``rule`` as a training set has them: (B, 3, 9, 9), or with missing cells (B, 4, 9, 9).

    Args:
        puzzles: (B, 3, 9, 9) int8, as they were made or found.
        corruption: of the set.
        seed: of the set.
        rule: of the puzzles, which names their stream; -1 for those without a rule.
        start: a multiple of ``BLOCK``.
        unknown: (B, 9, 9) bool, cells that are unknown already; None for a set without.
    """
    if corruption.changes_content:
        key = (stream_of(rule), start)
        puzzles = corrupt(puzzles, corruption, seed=seed, key=key, known=known_with(rule), unknown=unknown)
    if corruption.hides_cells:
        missing = missing_cells(start, len(puzzles), corruption, seed=seed, rule=rule)
        unknown = missing if unknown is None else unknown | missing
    return puzzles if unknown is None else layout.with_missing(puzzles, unknown)


def corrupt(
    puzzles: Tensor,
    corruption: Corruption,
    *,
    seed: int,
    key: tuple[int, ...],
    known: int = NUM_STUDY_RULES,
    unknown: Tensor | None = None,
) -> Tensor:
    """A copy of ``puzzles`` (B, 3, 9, 9) int8, which follow one rule, with other content in some.

    The same (seed, key) corrupts the same puzzles in the same way.

    Args:
        puzzles: as they were made or found.
        corruption: of them; missing cells are not made here.
        seed: of the set.
        key: names the puzzles.
        known: an exception follows none of the rules with ids below this.
        unknown: (B, 9, 9) bool, cells that are unknown.

    Raises:
        InputError: a fraction is none, or no exception can be made, because no panel of these puzzles breaks the rule.
    """
    corruption.check()
    rows = layout.puzzles_to_rows(puzzles).clone()
    shared = Draws(seed, "corrupt", *key)
    for name, fraction, change in corruption.table("change"):
        draws = shared if name in _SHARED else Draws(seed, "corrupt", *key, _number(name))
        rows = change(rows, fraction, CorruptionContext(draws, known, unknown))
    return layout.rows_to_puzzles(rows)


def missing_cells(start: int, count: int, corruption: Corruption, *, seed: int, rule: int) -> Tensor:
    """(count, 9, 9) bool: which cells of the puzzles ``start`` .. ``start + count - 1`` of a rule are unknown.

    Any slice equals the same slice of a longer run, whatever else is corrupted.
    """
    first, last = start // BLOCK, -(-(start + count) // BLOCK)
    unknown = torch.zeros((last - first) * BLOCK, GRID, GRID, dtype=torch.bool)
    for block, part in zip(range(first, last), unknown.split(BLOCK), strict=False):
        for name, mean, hide in corruption.table("hide"):
            part |= hide(mean, Draws(seed, "missing", _number(name), stream_of(rule), block))
    return unknown[start - first * BLOCK :][:count]


def _chosen(draws: Draws, mean: float, shape: tuple[int, int]) -> Tensor:
    """(BLOCK, *shape) bool, true in a fraction of each that is uniform from 0 to twice the ``mean``."""
    fractions: NDArray[np.float64] = 2 * mean * draws.below(_SCALE, (BLOCK, 1, 1))
    return torch.from_numpy(draws.below(_SCALE, (BLOCK, *shape)) < fractions)
