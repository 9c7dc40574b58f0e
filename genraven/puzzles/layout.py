"""Every conversion between the ways a puzzle is written.

B batch, R = 3 rows, P = 3 panels, k = 9 cells a panel, A = 3 attributes (shape, size, color).

- puzzles (B, A, 9, 9): image row = 3 * row + cell row, image column = 3 * panel + cell column; empty = -1 everywhere
- tokens (B, 81, A): the cells in the order row, panel, cell row, cell column: the last nine are the last panel
- rows (B, R, P, k, A)
- states (B, 81): a token as one number, 0 empty, else 1 + (shape * 10 + size) * 10 + color
- fields (B, A, 9, 9) float: what continuous models see
- one-hot fields (B, 30, 9, 9) float: the same as a code with a channel for each symbol of each attribute
- puzzles with missing cells (B, A + 1, 9, 9) int8: the last channel is 1 where a cell is unknown, the others 0 there
"""

from functools import cache

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from genraven.puzzles.spec import (
    EMPTY,
    GRID,
    NUM_ATTRIBUTES,
    NUM_CELLS,
    NUM_PANELS,
    NUM_ROWS,
    NUM_VALUES,
    TOKENS_PER_PUZZLE,
)
from genraven.states import states_to_symbols, symbols_to_states

SYMBOLS = tuple(1 + n for n in NUM_VALUES)  # of each attribute: 0 is empty, then its values
PUZZLE_SHAPE = (NUM_ATTRIBUTES, GRID, GRID)
SHAPE_WITH_MISSING = (NUM_ATTRIBUTES + 1, GRID, GRID)
ROW_SHAPE = (NUM_PANELS, NUM_CELLS, NUM_ATTRIBUTES)
FIELDS_DEVIATION = 0.98
"""Standard deviation of fields about their mean 0, over puzzles of all rules."""
_MEAN, _SCALE = (1.5, 2.5, 2.5), (2.5, 3.5, 3.5)


@cache
def rows_order(device: torch.device) -> Tensor:
    """(243,) int64: for each number of a rows layout its place in the puzzle."""
    puzzle = torch.arange(NUM_ATTRIBUTES * TOKENS_PER_PUZZLE, device=device)
    cells = puzzle.view(NUM_ATTRIBUTES, NUM_ROWS, 3, NUM_PANELS, 3)  # attribute, row, cell row, panel, cell column
    return cells.permute(1, 3, 2, 4, 0).flatten()


@cache
def puzzle_order(device: torch.device) -> Tensor:
    """(243,) int64: for each number of a puzzle its place in the rows layout."""
    return rows_order(device).argsort()


@cache
def token_places() -> NDArray[np.int64]:
    """(81,) int64: for each cell of a puzzle, read line by line, its token."""
    return rows_order(torch.device("cpu")).view(-1, NUM_ATTRIBUTES)[:, 0].argsort().numpy()


def _reorder(cells: Tensor, order: Tensor, shape: tuple[int, ...]) -> Tensor:
    flat = cells.flatten(1)
    return flat.gather(1, order.expand(len(flat), -1)).unflatten(1, shape)


def puzzles_to_rows(puzzles: Tensor) -> Tensor:
    """(B, R, P, k, A) from (B, A, 9, 9)."""
    return _reorder(puzzles, rows_order(puzzles.device), (NUM_ROWS, NUM_PANELS, NUM_CELLS, NUM_ATTRIBUTES))


def rows_to_puzzles(rows: Tensor) -> Tensor:
    """(B, A, 9, 9) from (B, R, P, k, A)."""
    return _reorder(rows, puzzle_order(rows.device), PUZZLE_SHAPE)


def puzzles_to_tokens(puzzles: Tensor) -> Tensor:
    """(B, 81, A) from (B, A, 9, 9)."""
    return puzzles_to_rows(puzzles).reshape(-1, TOKENS_PER_PUZZLE, NUM_ATTRIBUTES)


def tokens_to_puzzles(tokens: Tensor) -> Tensor:
    """(B, A, 9, 9) from (B, 81, A)."""
    return rows_to_puzzles(tokens)


def mask_to_tokens(mask: Tensor) -> Tensor:
    """(B, 81) from a mask of cells (B, 9, 9)."""
    return puzzles_to_tokens(mask.unsqueeze(1).expand(-1, NUM_ATTRIBUTES, -1, -1))[..., 0]


def with_missing(puzzles: Tensor, unknown: Tensor) -> Tensor:
    """(B, A + 1, 9, 9) from ``puzzles`` (B, A, 9, 9) and ``unknown`` (B, 9, 9) bool; what stood there is gone."""
    hidden = unknown.unsqueeze(1)
    return torch.cat([puzzles.masked_fill(hidden, 0), hidden.to(puzzles.dtype)], 1)


def split_missing(puzzles: Tensor) -> tuple[Tensor, Tensor | None]:
    """Puzzles (B, A, 9, 9) and where they are unknown (B, 9, 9) bool; None if no cell can be missing."""
    if puzzles.shape[1] == NUM_ATTRIBUTES:
        return puzzles, None
    return puzzles[:, :NUM_ATTRIBUTES].contiguous(), puzzles[:, NUM_ATTRIBUTES].bool()


def canonical(tokens_or_rows: Tensor) -> Tensor:
    """The same (..., A) cells with every cell that has a channel -1 written as empty in all three."""
    return tokens_or_rows.masked_fill((tokens_or_rows == EMPTY).any(-1, keepdim=True), EMPTY)


def canonical_puzzles(puzzles: Tensor) -> Tensor:
    """``canonical`` of whole puzzles (B, A, 9, 9)."""
    return puzzles.masked_fill((puzzles == EMPTY).any(1, keepdim=True), EMPTY)


def tokens_to_states(tokens: Tensor) -> Tensor:
    """(...) int64 states from canonical cells (..., A) within their ranges."""
    return symbols_to_states(tokens.long() - EMPTY, SYMBOLS)


def states_to_tokens(states: Tensor) -> Tensor:
    """(..., A) int8 cells from states (...)."""
    return (states_to_symbols(states, SYMBOLS) + EMPTY).to(torch.int8)


def field_dtype() -> torch.dtype:
    """Of fields: torch's default, but never less than float32, in which networks of less than that are given them."""
    return torch.promote_types(torch.get_default_dtype(), torch.float32)


def _per_channel(values: tuple[float, ...], device: torch.device) -> Tensor:
    return _kept(values, device, field_dtype())


@cache
def _kept(values: tuple[float, ...], device: torch.device, dtype: torch.dtype) -> Tensor:
    with torch.inference_mode(False):  # kept for training as well
        return torch.tensor(values, device=device, dtype=dtype).view(-1, 1, 1)


def puzzles_to_fields(puzzles: Tensor) -> Tensor:
    """(B, A, 9, 9) fields of ``field_dtype`` from puzzles: centred and scaled per channel to about [-1, 2]."""
    return (puzzles - _per_channel(_MEAN, puzzles.device)) / _per_channel(_SCALE, puzzles.device)


def fields_to_puzzles(fields: Tensor) -> Tensor:
    """(B, A, 9, 9) int8 puzzles from fields, rounded to the nearest integer; a cell with any channel -1 is empty."""
    values = (fields.float() * _per_channel(_SCALE, fields.device) + _per_channel(_MEAN, fields.device)).round()
    puzzles = values.nan_to_num(torch.iinfo(torch.int8).max).clamp(-128, 127).to(torch.int8)
    return canonical(puzzles.movedim(1, -1)).movedim(-1, 1).contiguous()


def puzzles_to_onehot(puzzles: Tensor) -> Tensor:
    """(B, 30, 9, 9) one-hot fields from canonical puzzles: 2 at a symbol, else 0, less the mean 2 / symbols."""
    parts = zip((puzzles.long() + 1).unbind(1), SYMBOLS, strict=True)
    return torch.cat([2 * F.one_hot(part, n).movedim(-1, 1).to(field_dtype()) - 2 / n for part, n in parts], 1)


def onehot_to_puzzles(fields: Tensor) -> Tensor:
    """(B, A, 9, 9) int8 puzzles, the largest symbol of each attribute; a cell with any empty channel is empty."""
    values = torch.stack([part.argmax(1) for part in fields.split(SYMBOLS, 1)], -1) - 1
    return canonical(values.to(torch.int8)).movedim(-1, 1).contiguous()
