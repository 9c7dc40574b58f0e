"""Puzzles of a file in the in-house form, whatever its layout, read part by part.

B puzzles of a file, b of a chunk, L = 81 cells, A = 3 attributes.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from genraven.errors import InputError
from genraven.puzzles import layout
from genraven.puzzles.spec import EMPTY, GRID, NUM_ATTRIBUTES, NUM_CELLS, NUM_PANELS, NUM_ROWS, NUM_VALUES

UNKNOWN_RULE = -1
_BAD = np.int8(127)
CHUNK = 1 << 14  # puzzles read at once
_RANGES = ", ".join(f"{EMPTY}..{n - 1}" for n in NUM_VALUES)
Index = slice | NDArray[np.int64]


class Chunk(NamedTuple):
    """Some puzzles of a file."""

    puzzles: Tensor
    """(b, 3, 9, 9) int8; 0 where a cell is unknown, out of all ranges where it is bad."""
    rules: Tensor
    """(b,) int64 ids as the file states them, ``UNKNOWN_RULE`` where it does not."""
    known: Tensor | None
    """(b, 9, 9) bool, false where a cell is unknown; None where the file has no mask."""
    bad: Tensor
    """(b,) bool: a known cell is out of its range, empty in some attributes only, or no whole number."""

    def take(self, index: Tensor) -> "Chunk":
        """The puzzles at ``index`` (n,) int64 or (b,) bool."""
        return Chunk(*(None if part is None else part[index] for part in self))  # type: ignore[arg-type]


@dataclass(frozen=True)
class Part:
    """Puzzles that lie together in a file."""

    cells: NDArray[Any]
    """(n, 3, 9, 9) puzzles, or (rows, 3, 9, 3), of which three neighbouring ones are a puzzle."""
    rules: NDArray[np.int64] | int
    """(n,) ids, or the one of all."""
    where: str
    """Names it in messages."""
    known: NDArray[np.bool_] | None = None
    """(n, 9, 9), false where a cell is unknown."""

    @property
    def is_rows(self) -> bool:
        return self.cells.shape[1:] == layout.ROW_SHAPE

    def __len__(self) -> int:
        return len(self.cells) // NUM_ROWS if self.is_rows else len(self.cells)

    @property
    def num_left(self) -> int:
        """Rows at the end that make no puzzle."""
        return len(self.cells) % NUM_ROWS if self.is_rows else 0

    @property
    def all_rules(self) -> NDArray[np.int64]:
        """(n,) ids."""
        return np.full(len(self), self.rules) if isinstance(self.rules, int) else self.rules

    def look(self, index: Index) -> Chunk:
        """The puzzles at ``index``, good and bad."""
        cells, known, bad = self._look(index)
        return self._chunk(index, cells, known, bad)

    def read(self, index: Index) -> Chunk:
        """The puzzles at ``index``.

        Raises:
            InputError: one of them is bad.
        """
        cells, known, bad = self._look(index)
        if bad.any():
            which, place = np.argwhere(bad)[0].tolist()
            raise InputError(
                f"expected whole numbers of shape, size, color in {_RANGES}, with {EMPTY} in all three or in none; got "
                f"{cells[which, place].tolist()} at {self._place(np.arange(len(self))[index][which], place)} of "
                f"{self.where}: mend the file, or leave such puzzles out with `genraven import`."
            )
        return self._chunk(index, cells, known, bad)

    def _place(self, puzzle: int, cell: int) -> str:
        """Where a cell stands in the array of the file."""
        if self.is_rows:
            row, panel, cell = map(int, np.unravel_index(cell, (NUM_ROWS, NUM_PANELS, NUM_CELLS)))
            return f"{[int(puzzle) * NUM_ROWS + row, panel, cell]} (row, panel, cell)"
        return f"{[int(puzzle), *divmod(cell, GRID)]} (puzzle, row, column)"

    def _look(self, index: Index) -> tuple[NDArray[Any], NDArray[np.bool_] | None, NDArray[np.bool_]]:
        """Cells (b, L, A) as they stand in the file, which are known and which are bad (b, L)."""
        known = None if self.known is None else np.asarray(self.known[index])
        if self.is_rows:
            if isinstance(index, slice):
                start, stop, _ = index.indices(len(self))
                rows: Index = slice(start * NUM_ROWS, stop * NUM_ROWS)
            else:
                rows = (index[:, None] * NUM_ROWS + np.arange(NUM_ROWS)).ravel()
            cells = np.asarray(self.cells[rows]).reshape(-1, GRID * GRID, NUM_ATTRIBUTES)
            known = None if known is None else layout.mask_to_tokens(torch.from_numpy(known.copy())).numpy()
        else:
            cells = np.moveaxis(np.asarray(self.cells[index]), 1, -1).reshape(-1, GRID * GRID, NUM_ATTRIBUTES)
            known = None if known is None else known.reshape(-1, GRID * GRID)
        bad = ~((cells >= EMPTY) & (cells < np.array(NUM_VALUES))).all(-1)  # NaN is in no range
        bad |= (cells == EMPTY).any(-1) & (cells != EMPTY).any(-1)
        if cells.dtype.kind == "f":
            bad |= (cells != np.floor(cells)).any(-1)
        return cells, known, bad if known is None else bad & known

    def _chunk(self, index: Index, cells: NDArray[Any], known: NDArray[Any] | None, bad: NDArray[Any]) -> Chunk:
        shown = cells if known is None else np.where(known[..., None], cells, 0)
        plain = torch.from_numpy(np.where(bad[..., None], _BAD, shown).astype(np.int8))
        if self.is_rows:
            puzzles = layout.tokens_to_puzzles(plain)
            known = None if known is None else np.asarray(self.known[index])  # type: ignore[index]
        else:
            puzzles = plain.unflatten(1, (GRID, GRID)).movedim(-1, 1).contiguous()
        mask = None if known is None else torch.from_numpy(known.reshape(-1, GRID, GRID).copy())
        rules = np.full(len(bad), self.rules) if isinstance(self.rules, int) else self.rules[index]
        return Chunk(puzzles, torch.from_numpy(rules.astype(np.int64)), mask, torch.from_numpy(bad.any(1)))


@dataclass(frozen=True)
class PuzzleFile:
    """What a file, or a folder of files, holds."""

    path: Path
    layout: str
    """Name of its layout, with shape and type of the array."""
    parts: list[Part]
    files: list[Path]
    """All that its content depends on."""
    not_mapped: list[str] = field(default_factory=list)
    """Arrays and files that stand in it or beside it and mean nothing here."""

    def __len__(self) -> int:
        return sum(map(len, self.parts))

    @property
    def num_left(self) -> int:
        """Rows that make no puzzle."""
        return sum(part.num_left for part in self.parts)

    @property
    def has_mask(self) -> bool:
        """Whether the file says which cells are known."""
        return any(part.known is not None for part in self.parts)

    @cached_property
    def has_missing(self) -> bool:
        """Whether a cell is unknown."""
        return any(part.known is not None and not part.known.all() for part in self.parts)

    @cached_property
    def rules(self) -> NDArray[np.int64]:
        """(B,) ids as the file states them, ``UNKNOWN_RULE`` where it does not."""
        return np.concatenate([part.all_rules for part in self.parts])

    def chunks(self) -> Iterator[Chunk]:
        """All puzzles in their order, good and bad."""
        for part in self.parts:
            for start in range(0, len(part), CHUNK):
                yield part.look(slice(start, start + CHUNK))

    def read(self, index: NDArray[np.int64]) -> Chunk:
        """The puzzles at indices ``index`` (b,), in that order.

        Raises:
            InputError: one of them is bad.
        """
        return self._gather(index, Part.read)

    def look(self, index: NDArray[np.int64]) -> Chunk:
        """The puzzles at indices ``index`` (b,), good and bad, in that order."""
        return self._gather(index, Part.look)

    def _gather(self, index: NDArray[np.int64], of_part: Callable[[Part, Index], Chunk]) -> Chunk:
        if (np.diff(index) < 0).any():  # parts are read from their beginnings on
            order = np.argsort(index, kind="stable")
            return self._gather(index[order], of_part).take(torch.from_numpy(np.argsort(order)))
        ends = np.cumsum([len(part) for part in self.parts])
        cuts = [0, *np.searchsorted(index, ends).tolist()]
        found = Chunk(
            torch.empty(len(index), *layout.PUZZLE_SHAPE, dtype=torch.int8),
            torch.empty(len(index), dtype=torch.int64),
            torch.ones(len(index), GRID, GRID, dtype=torch.bool) if self.has_mask else None,
            torch.empty(len(index), dtype=torch.bool),
        )
        for part, end, first, last in zip(self.parts, ends, cuts, cuts[1:], strict=False):
            for start in range(first, last, CHUNK):  # what a chunk takes besides its puzzles is many times as much
                some = slice(start, min(start + CHUNK, last))
                chunk = of_part(part, _as_slice(index[some] - (end - len(part))))
                for whole, piece in zip(found, chunk, strict=True):
                    if whole is not None and piece is not None:
                        whole[some] = piece
        return found


def _as_slice(index: NDArray[np.int64]) -> Index:
    """A slice where ascending ``index`` is one: that copies several times as fast."""
    is_slice = (np.diff(index) == 1).all()
    return slice(int(index[0]), int(index[-1]) + 1) if is_slice else index
