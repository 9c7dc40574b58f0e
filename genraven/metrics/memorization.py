"""What of the generated puzzles stands in the training set, and how much of C3 is new."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torchmetrics import Metric

from genraven.metrics.rates import Rate
from genraven.puzzles import layout
from genraven.puzzles.rules import row_rules, shared_rules
from genraven.puzzles.spec import NUM_CELLS, NUM_PANELS, NUM_ROWS

_CHUNK = 1 << 14
UNORDERED = "unordered"  # puzzles up to the order of their rows
INDEXED = ("puzzles", "rows", "panels", UNORDERED)
COUNTED = {"puzzles": (UNORDERED, 1), "rows": ("rows", NUM_ROWS), "panels": ("panels", NUM_ROWS * NUM_PANELS)}
"""What is looked up in the index for each rate, and how many of it a puzzle has."""


def _multipliers(num: int, stream: int) -> Tensor:
    """``num`` fixed odd int64 numbers; the same in every process and version."""
    words = np.random.SFC64(np.random.SeedSequence(2411_07873, spawn_key=(stream,))).random_raw(num)
    return torch.from_numpy((words | np.uint64(1)).view(np.int64))


def whole(unknown: Tensor) -> dict[str, Tensor]:
    """Which puzzles (B,), rows (B, 3) and panels (B, 3, 3) have no ``unknown`` (B, 9, 9) cell; as ``fingerprints``."""
    known = ~layout.mask_to_tokens(unknown).view(-1, NUM_ROWS, NUM_PANELS, NUM_CELLS)
    panels, puzzles = known.all(-1), known.flatten(1).all(1)
    return {"puzzles": puzzles, "rows": panels.all(-1), "panels": panels, UNORDERED: puzzles}


def _mix(hashes: Tensor) -> Tensor:
    """A bijection of int64 that spreads each bit over all (the finaliser of splitmix64, Steele et al. 2014)."""
    for shift, factor in ((30, -0x40A7B892E31B1A47), (27, -0x6B2FB644ECCEEE15)):
        hashes = (hashes ^ (hashes >> shift & (1 << (64 - shift)) - 1)) * factor
    return hashes ^ (hashes >> 31 & (1 << 33) - 1)


def fingerprints(puzzles: Tensor) -> dict[str, Tensor]:
    """64-bit hashes of each puzzle (B,), row (B, 3) and panel (B, 3, 3): equal cells, equal hash.

    Those of ``unordered`` (B,) are equal for puzzles of the same rows in any order. Rows and panels hash alike wherever
    they stand. A cell with any channel -1 is empty, whatever its other channels.
    """
    cells = layout.canonical(layout.puzzles_to_rows(puzzles)).long() + 129
    codes = _mix((cells[..., 0] << 16) + (cells[..., 1] << 8) + cells[..., 2])
    panels = _mix((codes * _multipliers(NUM_CELLS, 0).to(codes.device)).sum(-1))
    rows = _mix((panels * _multipliers(NUM_PANELS, 1).to(codes.device)).sum(-1))
    return {
        "puzzles": _mix((rows * _multipliers(NUM_ROWS, 2).to(codes.device)).sum(-1)),
        "rows": rows,
        "panels": panels,
        UNORDERED: _mix(rows.sum(-1)),
    }


@dataclass(frozen=True)
class TrainingIndex:
    """Sorted hashes of every puzzle, row and panel of a training set, and of puzzles in any order of rows.

    Each (N,) int64, as many as differ.
    """

    puzzles: Tensor
    rows: Tensor
    panels: Tensor
    unordered: Tensor

    @classmethod
    def build(cls, puzzles: Tensor, advance: Callable[[int], Any] = lambda num: None) -> "TrainingIndex":
        """The index of ``puzzles`` (N, 3, 9, 9) int8; ``advance`` is called with how many more are done.

        Of puzzles with missing cells (N, 4, 9, 9) it holds what has none: the whole ones, and whole rows and panels.
        """
        parts: dict[str, list[Tensor]] = {level: [] for level in INDEXED}
        for chunk in puzzles.split(_CHUNK):
            cells, unknown = layout.split_missing(chunk)
            is_whole = {} if unknown is None else whole(unknown)
            for level, hashes in fingerprints(cells).items():
                parts[level].append(hashes[is_whole[level]] if is_whole else hashes.flatten())
            advance(len(chunk))
        return cls(**{level: torch.from_numpy(np.unique(torch.cat(parts[level]).numpy())) for level in INDEXED})

    @classmethod
    def union(cls, parts: list["TrainingIndex"]) -> "TrainingIndex":
        """The index of several sets together."""
        together = {level: np.concatenate([getattr(part, level).numpy() for part in parts]) for level in INDEXED}
        return cls(**{level: torch.from_numpy(np.unique(hashes)) for level, hashes in together.items()})

    def contains(self, level: str, hashes: Tensor) -> Tensor:
        """Bool of the shape of ``hashes``: does each stand in the training set? Collisions: about N / 2^64 each."""
        known: Tensor = getattr(self, level)
        if not len(known):
            return torch.zeros_like(hashes, dtype=torch.bool)
        query = hashes.to(known.device)
        place = torch.searchsorted(known, query).clamp(max=len(known) - 1)
        return (known[place] == query).to(hashes.device)


def is_novel(puzzles: Tensor, index: TrainingIndex) -> Tensor:
    """(B,) bool: has a generated puzzle C3, and does none of its rows stand in the training set?"""
    return (shared_rules(row_rules(puzzles)) != 0) & ~index.contains("rows", fingerprints(puzzles)["rows"]).any(1)


class Memorization(Metric):
    """Fraction of generated puzzles, rows and panels that stand in the training set, and novel C3.

    A puzzle stands there in whatever order its rows are: training may show them in any. Novel C3 is the fraction of all
    generated puzzles that have C3 and none of whose rows stands in the training set.

    Args:
        index: of the training set.
    """

    full_state_update = False
    novel_c3: Tensor
    num_puzzles: Tensor

    def __init__(self, index: TrainingIndex, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.index = index
        states = [f"seen_{name}{power}" for name in COUNTED for power in ("", "_squared")]
        for name in ("novel_c3", "num_puzzles", *states):
            self.add_state(name, torch.zeros((), dtype=torch.int64), dist_reduce_fx="sum")

    def update(self, puzzles: Tensor) -> None:
        """Counts generated ``puzzles`` (B, 3, 9, 9) of an integer dtype."""
        hashes = fingerprints(puzzles)
        for name, (level, each) in COUNTED.items():
            seen = self.index.contains(level, hashes[level]).view(-1, each).sum(1)
            self._add(f"seen_{name}", seen.sum())
            self._add(f"seen_{name}_squared", seen.square().sum())
        self.novel_c3 += is_novel(puzzles, self.index).sum()
        self.num_puzzles += len(puzzles)

    def _add(self, state: str, number: Tensor) -> None:
        setattr(self, state, getattr(self, state) + number)

    def compute(self) -> dict[str, Any]:
        """``rates``: ``novel_c3``, ``memorized_puzzles``, ``memorized_rows``, ``memorized_panels``."""
        n = self.num_puzzles
        seen = {
            f"memorized_{name}": Rate(
                getattr(self, f"seen_{name}"), n * each, each, getattr(self, f"seen_{name}_squared")
            )
            for name, (_, each) in COUNTED.items()
        }
        return {"rates": {"novel_c3": Rate(self.novel_c3, n), **seen}}
