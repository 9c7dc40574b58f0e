"""How much data there is, really: which rules hold, and how many puzzles and rows come more than once.

B puzzles.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from genraven.formats.puzzles import UNKNOWN_RULE, Chunk, PuzzleFile
from genraven.metrics.consistency import RuleConsistency
from genraven.metrics.memorization import UNORDERED, TrainingIndex, fingerprints
from genraven.metrics.rates import Rate
from genraven.puzzles.rules import row_rules, rule_bits, shared_rules
from genraven.puzzles.spec import EMPTY, NUM_ATTRIBUTES, NUM_ROWS, NUM_RULES

_COUNTED = ("puzzles", UNORDERED, "rows")


class Copies(NamedTuple):
    """How many of something come again: in a set after their first time, or in another set."""

    puzzles: Rate
    unordered: Rate
    """Puzzles up to the order of their rows."""
    rows: Rate

    def plus(self, other: "Copies") -> "Copies":
        """The copies of both together."""
        return Copies(*(Rate(a.hits + b.hits, a.total + b.total) for a, b in zip(self, other, strict=True)))

    def __bool__(self) -> bool:
        return any(bool(rate.hits) for rate in self)

    def __str__(self) -> str:
        said = zip(("puzzles", "puzzles up to the order of rows", "rows"), self, strict=True)
        return ", ".join(f"{int(rate.hits):,} of {int(rate.total):,} {name}" for name, rate in said)


def repeated(index: TrainingIndex, num: int, num_rows: int | None = None) -> Copies:
    """What comes again within the ``num`` whole puzzles that ``index`` was built of.

    Args:
        num_rows: their rows and the whole ones of puzzles with missing cells; None where there are no such puzzles.
    """
    totals = dict.fromkeys(_COUNTED, num) | {"rows": num * NUM_ROWS if num_rows is None else num_rows}
    return Copies(*(_rate(totals[level] - len(getattr(index, level)), totals[level]) for level in _COUNTED))


def leaked(index: TrainingIndex, puzzles: Tensor) -> Copies:
    """What of ``puzzles`` (B, 3, 9, 9) stands in the set of ``index``."""
    hashes = fingerprints(puzzles)
    seen = {level: index.contains(level, hashes[level]) for level in _COUNTED}
    return Copies(*(_rate(int(seen[level].sum()), seen[level].numel()) for level in _COUNTED))


def _rate(hits: int, total: int) -> Rate:
    return Rate(torch.tensor(hits), torch.tensor(total))


@dataclass
class Census:
    """What the puzzles of a file are. Bad ones, and those with missing cells, count for nothing but themselves."""

    num: int = 0
    num_bad: int = 0
    num_with_missing: int = 0
    unknown_cells: int = 0
    empty_cells: int = 0
    """Of the known ones of puzzles that are not bad."""
    known_cells: int = 0
    ranges: list[tuple[int, int] | None] = field(default_factory=lambda: [None] * NUM_ATTRIBUTES)
    """Least and greatest shape, size, color of an object; None where there is none."""
    consistency: RuleConsistency = field(default_factory=RuleConsistency)
    num_with_several: int = 0
    """Puzzles whose rows share more than one rule."""
    stated: Tensor = field(default_factory=lambda: torch.zeros(2, NUM_RULES, dtype=torch.int64))
    """Puzzles for which the file states rule k, and those of them that do not follow it."""
    num_unstated: int = 0
    index: TrainingIndex | None = None
    """Of the whole puzzles; None where there is none."""

    @property
    def num_whole(self) -> int:
        """Puzzles that are not bad and have no missing cells."""
        return int(self.consistency.num_puzzles)

    @property
    def copies(self) -> Copies | None:
        """What comes more than once among the whole puzzles."""
        return None if self.index is None else repeated(self.index, self.num_whole)

    def add(self, chunk: Chunk) -> Tensor:
        """Counts ``chunk``; its whole puzzles."""
        puzzles, rules = chunk.puzzles[~chunk.bad], chunk.rules[~chunk.bad]
        known = torch.ones_like(puzzles[:, 0], dtype=torch.bool) if chunk.known is None else chunk.known[~chunk.bad]
        whole = known.flatten(1).all(1)
        self.num += len(chunk.bad)
        self.num_bad += int(chunk.bad.sum())
        self.num_with_missing += int((~whole).sum())
        self.unknown_cells += int((~known).sum())
        self.known_cells += int(known.sum())
        self._add_cells(puzzles.movedim(1, -1)[known])
        self._add_rules(puzzles[whole], rules[whole])
        self.num_unstated += int((rules == UNKNOWN_RULE).sum())
        return puzzles[whole]

    def _add_cells(self, cells: Tensor) -> None:
        objects = cells[cells[:, 0] != EMPTY]
        self.empty_cells += len(cells) - len(objects)
        if len(objects):
            lows, highs = (objects.amin(0).tolist(), objects.amax(0).tolist())
            old = [both or (low, low) for both, low in zip(self.ranges, lows, strict=True)]
            self.ranges = [(min(a, low), max(b, high)) for (a, b), low, high in zip(old, lows, highs, strict=True)]

    def _add_rules(self, puzzles: Tensor, rules: Tensor) -> None:
        if not len(puzzles):
            return
        self.consistency.update(puzzles)
        shared = shared_rules(row_rules(puzzles))
        self.num_with_several += int((rule_bits(shared).sum(1) > 1).sum())
        stated = rules != UNKNOWN_RULE
        broken = stated & ~(shared >> rules.clamp(min=0) & 1).bool()
        self.stated += torch.stack([rules[m].bincount(minlength=NUM_RULES) for m in (stated, broken)])


def take_census(file: PuzzleFile, advance: Callable[[int], object] = lambda num: None) -> Census:
    """All counts of ``file``, read once; ``advance`` hears how many puzzles more were read."""
    census = Census()
    parts = []
    for chunk in file.chunks():
        hashes = fingerprints(census.add(chunk))
        parts.append({level: hashes[level].flatten().numpy() for level in _COUNTED})
        advance(len(chunk.bad))
    if census.num_whole:
        unique = {level: torch.from_numpy(np.unique(np.concatenate([p[level] for p in parts]))) for level in _COUNTED}
        census.index = TrainingIndex(**unique, panels=torch.empty(0, dtype=torch.int64))
    return census
