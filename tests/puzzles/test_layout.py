"""Every way of writing a puzzle against plain index arithmetic, and back."""

from itertools import product

import numpy as np
import pytest
import torch
from torch import Tensor

from genraven.puzzles import layout
from genraven.puzzles.generate import generate
from genraven.puzzles.spec import NUM_STATES, RULE_ID

MEAN, SCALE = (1.5, 2.5, 2.5), (2.5, 3.5, 3.5)
EVERY_CELL = list(product(range(3), repeat=4))  # row, panel, cell row, cell column


def numbered(num: int = 2) -> Tensor:
    """(num, 3, 9, 9) int64 without two equal entries: not puzzles, but nothing can move unseen."""
    return torch.arange(num * 243).view(num, 3, 9, 9)


def some_puzzles() -> Tensor:
    return torch.cat([generate(RULE_ID[name], 0, 16) for name in ("shape.xor", "number.constant", "position.and")])


def at(row: int, panel: int, cell_row: int, cell_column: int) -> tuple[int, int]:
    """Place of a cell in the picture."""
    return 3 * row + cell_row, 3 * panel + cell_column


def test_rows() -> None:
    puzzles = numbered()
    rows = layout.puzzles_to_rows(puzzles)
    assert rows.shape == (2, 3, 3, 9, 3)
    for row, panel, i, j in EVERY_CELL:
        y, x = at(row, panel, i, j)
        assert torch.equal(rows[:, row, panel, 3 * i + j], puzzles[:, :, y, x])
    assert torch.equal(layout.rows_to_puzzles(rows), puzzles)


def test_tokens() -> None:
    puzzles = numbered()
    tokens = layout.puzzles_to_tokens(puzzles)
    assert tokens.shape == (2, 81, 3)
    for n, cell in enumerate(EVERY_CELL):
        y, x = at(*cell)
        assert torch.equal(tokens[:, n], puzzles[:, :, y, x])
    assert torch.equal(layout.tokens_to_puzzles(tokens), puzzles)
    assert torch.equal(tokens, layout.puzzles_to_rows(puzzles).flatten(1, 3))


def test_the_orders_undo_each_other() -> None:
    rows, picture = layout.rows_order(torch.device("cpu")), layout.puzzle_order(torch.device("cpu"))
    assert torch.equal(rows[picture], torch.arange(243))
    assert torch.equal(picture[rows], torch.arange(243))
    assert not torch.equal(rows, picture)


@pytest.mark.parametrize("dtype", [torch.int8, torch.int64, torch.float32, torch.bool])
def test_conversions_keep_the_dtype_and_take_empty_batches(dtype: torch.dtype) -> None:
    for num in (0, 1, 5):
        puzzles = torch.zeros(num, 3, 9, 9, dtype=dtype)
        tokens = layout.puzzles_to_tokens(puzzles)
        assert tokens.dtype == dtype
        assert tokens.shape == (num, 81, 3)
        assert layout.tokens_to_puzzles(tokens).shape == layout.rows_to_puzzles(tokens).shape == puzzles.shape


def test_strided_puzzles() -> None:
    puzzles = numbered(4)
    turned = puzzles.permute(0, 1, 3, 2)
    assert torch.equal(layout.puzzles_to_rows(turned), layout.puzzles_to_rows(turned.contiguous()))
    assert torch.equal(layout.puzzles_to_tokens(puzzles[::2]), layout.puzzles_to_tokens(puzzles)[::2])


def test_masks_follow_the_tokens() -> None:
    for n, cell in enumerate(EVERY_CELL):
        mask = torch.zeros(1, 9, 9, dtype=torch.bool)
        mask[(0, *at(*cell))] = True
        assert layout.mask_to_tokens(mask).nonzero().tolist() == [[0, n]]


def test_canonical_empties_half_empty_cells_only() -> None:
    cells = torch.tensor([[-1, 3, 3], [3, -1, 3], [3, 3, -1], [-1, -1, -1], [0, 0, 0], [-2, 10, 5]], dtype=torch.int8)
    before = cells.clone()
    empty = [-1, -1, -1]
    assert layout.canonical(cells).tolist() == [empty, empty, empty, empty, [0, 0, 0], [-2, 10, 5]]
    assert torch.equal(cells, before)


def test_all_701_states() -> None:
    cells = [(-1, -1, -1), *product(range(7), range(10), range(10))]
    states = torch.arange(NUM_STATES)
    tokens = layout.states_to_tokens(states)
    assert tokens.dtype == torch.int8
    assert [tuple(cell) for cell in tokens.tolist()] == cells
    assert torch.equal(layout.tokens_to_states(tokens), states)
    assert layout.tokens_to_states(tokens).dtype == torch.int64


def test_states_of_whole_puzzles() -> None:
    tokens = layout.puzzles_to_tokens(some_puzzles())
    states = layout.tokens_to_states(tokens)
    assert states.shape == tokens.shape[:2]
    assert torch.equal(layout.states_to_tokens(states), tokens)
    assert torch.equal(layout.states_to_tokens(states.to(torch.int16)), tokens)


def test_fields_are_centred_and_scaled_per_channel() -> None:
    puzzles = some_puzzles()
    fields = layout.puzzles_to_fields(puzzles)
    assert fields.dtype == torch.float32
    for channel in range(3):
        expected = (puzzles[:, channel].double().numpy() - MEAN[channel]) / SCALE[channel]
        np.testing.assert_allclose(fields[:, channel].numpy(), expected, rtol=1e-6)


def test_fields_come_back() -> None:
    puzzles = some_puzzles()
    back = layout.fields_to_puzzles(layout.puzzles_to_fields(puzzles))
    assert back.dtype == torch.int8
    assert torch.equal(back, puzzles)


def test_fields_round_to_the_nearest_integer() -> None:
    puzzles = some_puzzles().clamp_min(1)  # far from -1: a rounded cell does not turn empty
    scale = torch.tensor(SCALE).view(3, 1, 1)
    fields = layout.puzzles_to_fields(puzzles)
    for offset in (-0.49, -0.2, 0.2, 0.49):
        assert torch.equal(layout.fields_to_puzzles(fields + offset / scale), puzzles)
    for offset, step in ((-0.51, -1), (0.51, 1)):
        assert torch.equal(layout.fields_to_puzzles(fields + offset / scale), puzzles + step)


def test_fields_with_a_channel_of_minus_one_are_empty_cells() -> None:
    puzzles = torch.full((1, 3, 9, 9), 2, dtype=torch.int8)
    for channel in range(3):
        puzzles[0, channel, 4, channel] = -1
    back = layout.fields_to_puzzles(layout.puzzles_to_fields(puzzles))
    assert (back[0, :, 4, :3] == -1).all()
    assert (back == -1).sum() == 9


@pytest.mark.parametrize("wild", [float("nan"), float("inf"), 1e30, -1e30, float("-inf")])
def test_wild_fields_are_values_out_of_range_never_empty_cells(wild: float) -> None:
    fields = layout.puzzles_to_fields(torch.full((1, 3, 9, 9), 2, dtype=torch.int8))
    fields[0, 1, 0, 0] = wild
    value = int(layout.fields_to_puzzles(fields)[0, 1, 0, 0])
    assert value not in range(-1, 10)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.bfloat16])
def test_fields_of_other_precisions(dtype: torch.dtype) -> None:
    puzzles = some_puzzles()
    assert torch.equal(layout.fields_to_puzzles(layout.puzzles_to_fields(puzzles).to(dtype)), puzzles)
