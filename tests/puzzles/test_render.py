"""Pictures read back: what differs in a puzzle differs in its pixels; a wrong value is shown, not raised."""

from itertools import combinations, pairwise

import numpy as np
import pytest
import torch
from PIL import Image

from genraven.puzzles.render import FRAME, PAPER, TINT, render, render_sheet

CELLS = (10, 16, 23)


def blank() -> torch.Tensor:
    return torch.full((3, 9, 9), -1, dtype=torch.int8)


def holding(shape: int, size: int, color: int, at: tuple[int, int] = (4, 4)) -> torch.Tensor:
    puzzle = blank()
    puzzle[:, at[0], at[1]] = torch.tensor([shape, size, color], dtype=torch.int8)
    return puzzle


def some(count: int, seed: int = 0) -> torch.Tensor:
    """(count, 3, 9, 9) int8 puzzles of random cells, over a quarter of them empty, some out of range."""
    return torch.randint(-1, 10, (count, 3, 9, 9), generator=torch.Generator().manual_seed(seed), dtype=torch.int8)


def pixels(image: Image.Image) -> np.ndarray:
    assert image.mode == "RGB"
    return np.asarray(image).astype(int)


def ink(puzzle: torch.Tensor, cell: int) -> np.ndarray:
    """How much darker than the blank puzzle each pixel is, 0-255."""
    return (pixels(render(blank(), cell=cell)) - pixels(render(puzzle, cell=cell))).mean(axis=-1)


def box(change: np.ndarray) -> tuple[int, int, int, int]:
    """Top, left, bottom and right (both exclusive) of the pixels that are not 0."""
    rows, columns = np.nonzero(change)
    return rows.min(), columns.min(), rows.max() + 1, columns.max() + 1


@pytest.mark.parametrize("cell", CELLS)
def test_shapes_differ_at_every_size(cell: int) -> None:
    for size in range(10):
        drawn = [ink(holding(shape, size, 5), cell) for shape in range(7)]
        for one, other in combinations(drawn, 2):
            # A fraction of the ink, so that a few grey levels along an edge do not count as another shape.
            assert np.abs(one - other).sum() > 0.15 * max(one.sum(), other.sum())


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("shape", range(7))
def test_sizes_grow(shape: int, cell: int) -> None:
    areas = [ink(holding(shape, size, 9), cell).sum() / 255 for size in range(10)]
    assert all(larger > 1.05 * smaller for smaller, larger in pairwise(areas))
    assert areas[0] > 2, "the smallest must not vanish"


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("size", [0, 4, 9])
@pytest.mark.parametrize("shape", range(7))
def test_colors_darken(shape: int, size: int, cell: int) -> None:
    amounts = [ink(holding(shape, size, color), cell).sum() for color in range(10)]
    assert all(darker > lighter for lighter, darker in pairwise(amounts))
    assert amounts[0] > 0, "white needs its outline"


@pytest.mark.parametrize("cell", CELLS)
def test_an_object_of_each_color_has_that_grey_in_its_middle(cell: int) -> None:
    for color in range(10):
        image = pixels(render(holding(1, 9, color), cell=cell))
        middle = image[image.shape[0] // 2, image.shape[1] // 2]
        assert np.abs(middle - 255 * (9 - color) / 9).max() <= 1


@pytest.mark.parametrize("cell", CELLS)
def test_objects_stay_inside_their_cells(cell: int) -> None:
    marked = torch.zeros(9, 9, dtype=torch.bool)
    marked[4, 4] = True
    tinted = pixels(render(blank(), cell=cell, marked=marked)) - pixels(render(blank(), cell=cell))
    top, left, bottom, right = box(tinted.any(axis=-1))
    assert (bottom - top, right - left) == (cell, cell)
    for shape in range(7):
        change = ink(holding(shape, 9, 9), cell)
        assert change.sum() == change[top:bottom, left:right].sum() > 0
        drawn = box(change > 128)
        assert abs(drawn[0] + drawn[2] - top - bottom) <= 2, "in the middle of the cell"
        assert abs(drawn[1] + drawn[3] - left - right) <= 2


def test_cells_stand_where_the_layout_puts_them() -> None:
    boxes = {(i, j): box(ink(holding(1, 5, 9, (i, j)), 16)) for i in range(9) for j in range(9)}
    for i in range(9):
        lefts = [boxes[i, j][1] for j in range(9)]
        tops = [boxes[j, i][0] for j in range(9)]
        steps, drops = np.diff(lefts), np.diff(tops)
        assert (np.delete(steps, [2, 5]) == 16).all() and (np.delete(drops, [2, 5]) == 16).all()
        assert steps[2] == steps[5] > 16 and drops[2] == drops[5] > steps[2], "rows further apart than panels"
        assert lefts == [boxes[0, j][1] for j in range(9)] and tops == [boxes[j, 0][0] for j in range(9)]


def test_a_whole_puzzle_is_the_sum_of_its_cells() -> None:
    puzzle = some(1)[0]
    whole = np.zeros_like(ink(puzzle, 16))
    for i, j in np.ndindex(9, 9):
        shape, size, color = puzzle[:, i, j].tolist()
        whole += ink(holding(shape, size, color, (i, j)), 16)
    np.testing.assert_allclose(whole, ink(puzzle, 16))


@pytest.mark.parametrize("attributes", [(-1, 3, 3), (3, -1, 3), (3, 3, -1), (-1, 99, 99)])
def test_a_cell_with_any_channel_empty_is_blank(attributes: tuple[int, int, int]) -> None:
    assert not ink(holding(*attributes), 16).any()


def test_a_blank_puzzle_is_nine_frames_on_white() -> None:
    image = render(blank())
    assert {tuple(color) for color in np.unique(pixels(image).reshape(-1, 3), axis=0)} == {PAPER, FRAME}
    framed = (pixels(image) == FRAME).all(axis=-1)
    assert np.diff(framed[image.height // 2].astype(int), prepend=0).clip(0).sum() == 6, "two sides of three panels"
    assert np.diff(framed[:, image.width // 2].astype(int), prepend=0).clip(0).sum() == 6


@pytest.mark.parametrize("attributes", [(7, 0, 0), (0, 10, 0), (0, 0, 10), (-2, 0, 0), (127, -128, 5)])
def test_values_out_of_range_are_marked_in_red(attributes: tuple[int, int, int]) -> None:
    for cell in CELLS:
        image = pixels(render(holding(*attributes), cell=cell))
        red = (image[..., 0] - image[..., 1:].max(axis=-1)) > 100
        assert red.sum() >= cell
        assert not np.abs(np.diff(pixels(render(some_valid(), cell=cell)), axis=-1)).any(), "nothing else is colored"


def some_valid() -> torch.Tensor:
    return torch.minimum(some(1)[0], torch.tensor([6, 9, 9], dtype=torch.int8)[:, None, None])


@pytest.mark.parametrize("marked", [torch.zeros(9, 9, dtype=torch.bool), None])
def test_nothing_marked_is_no_tint(marked: torch.Tensor | None) -> None:
    assert not (pixels(render(some_valid(), marked=marked)) == TINT).all(axis=-1).any()


def test_marking_tints_the_ground_and_leaves_the_objects() -> None:
    puzzle = blank()
    puzzle[:, 4, 3:6] = torch.tensor([[1, 1, 20], [9, 9, 0], [9, 9, 0]], dtype=torch.int8)
    puzzle[:, 4, 3] = -1
    marked = torch.zeros(9, 9, dtype=torch.bool)
    marked[4, 3:5] = True
    before, after = pixels(render(puzzle)), pixels(render(puzzle, marked=marked))
    tinted = (after == TINT).all(axis=-1)
    assert (before[tinted] == PAPER).all()
    assert 256 < tinted.sum() < 2 * 256, "an empty cell wholly, an object's cell but for the object"
    middle = after.shape[0] // 2, after.shape[1] // 2
    assert (after[middle] == 0).all()
    assert (before[after.any(axis=-1) & ~tinted].shape) == (before[before.any(axis=-1)].shape[0] - tinted.sum(), 3)


def test_a_panel_marked_throughout_is_tinted_to_its_frame() -> None:
    marked = torch.zeros(9, 9, dtype=torch.bool)
    marked[6:, 6:] = True
    image = pixels(render(blank(), marked=marked))
    top, left, bottom, right = box((image == TINT).all(axis=-1))
    assert (bottom, right) == (image.shape[0] - 1, image.shape[1] - 1)
    assert (image[top:bottom, left:right] == TINT).all()
    assert (image[top - 1, left:right] == FRAME).all() and (image[top:bottom, left - 1] == FRAME).all()


def test_numpy_and_torch_and_wider_integers_draw_alike() -> None:
    puzzles, marked = some(2), some(1)[0, 0] > 4
    expected = render_sheet(puzzles, 2, marked=marked).tobytes()
    assert render_sheet(puzzles.numpy(), 2, marked=marked.numpy()).tobytes() == expected
    assert render_sheet(puzzles.long(), 2, marked=marked).tobytes() == expected


def test_drawing_leaves_puzzles_and_later_pictures_alone() -> None:
    puzzle = some(1)[0]
    kept, first = puzzle.clone(), render(puzzle)
    first_bytes = first.tobytes()
    first.paste((1, 2, 3), (0, 0, *first.size))
    assert render(puzzle).tobytes() == first_bytes
    assert torch.equal(puzzle, kept)


@pytest.mark.parametrize(("count", "columns"), [(5, 2), (4, 4), (3, 1), (2, 5)])
@pytest.mark.parametrize("titled", [False, True])
def test_a_sheet_holds_the_puzzles_in_reading_order(count: int, columns: int, titled: bool) -> None:
    puzzles = some(count)
    sheet = pixels(render_sheet(puzzles, columns, titles=["gjpqy"] * count if titled else None))
    one = pixels(render(puzzles[0]))
    height, width = one.shape[:2]
    starts = np.argwhere((sheet[:-1, :-1] == FRAME).all(-1))
    gutter = starts[:, 1].min()
    assert starts[:, 0].min() == gutter > 0
    step_x = width + gutter
    assert sheet.shape[1] == gutter + columns * step_x
    step_y, rest = divmod(sheet.shape[0] - gutter, -(-count // columns))
    assert rest == 0
    assert step_y > height + gutter if titled else step_y == height + gutter
    for k in range(count):
        y, x = gutter + k // columns * step_y, gutter + k % columns * step_x
        np.testing.assert_array_equal(sheet[y : y + height, x : x + width], pixels(render(puzzles[k])))
        sheet[y : y + height, x : x + width] = PAPER
        if titled:
            below = sheet[y + height : y + step_y, x : x + width]
            assert (below < 128).any()
            assert (below[-gutter:] == PAPER).all(), "descenders stay off the next puzzle"
            below[:] = PAPER
    assert (sheet == PAPER).all(), "nothing else is drawn"


def test_titles_are_told_apart_and_stay_under_their_puzzle() -> None:
    puzzles = blank().expand(2, 3, 9, 9)
    plain = pixels(render_sheet(puzzles, 2, titles=["", ""]))
    one = pixels(render_sheet(puzzles, 2, titles=["rule 7", ""]))
    other = pixels(render_sheet(puzzles, 2, titles=["rule 8", ""]))
    assert (plain != one).any() and (one != other).any()
    long = pixels(render_sheet(puzzles, 2, titles=["a title much too long for one puzzle\n" * 4, ""]))
    longer = pixels(render_sheet(puzzles, 2, titles=["a title much too long for one puzzle " * 9, ""]))
    np.testing.assert_array_equal(long, longer)
    _, left, _, right = box((plain != long).any(axis=-1))
    width, gutter = render(blank()).width, 20
    assert gutter <= left and right <= gutter + width
    assert right - left > 0.85 * width, "shortened no more than needed"


def test_a_title_that_fits_is_not_shortened() -> None:
    puzzles = blank()[None]
    dotted = pixels(render_sheet(puzzles, 1, titles=["0.97…"]))
    assert (pixels(render_sheet(puzzles, 1, titles=["0.97"])) != dotted).any()
    sheets = [render_sheet(puzzles, 1, titles=["W" * n]).tobytes() for n in range(1, 40)]
    fitting = sheets.index(sheets[-1])
    assert 8 < fitting < 30
    assert len(set(sheets[:fitting])) == fitting and set(sheets[fitting:]) == {sheets[-1]}
    # An ellipsis is about a W wide, so it takes the place of one or two.
    cuts = [render_sheet(puzzles, 1, titles=["W" * n + "…"]).tobytes() for n in (fitting - 2, fitting - 1)]
    assert sheets[-1] in cuts


def test_marks_go_to_all_puzzles_or_to_each() -> None:
    puzzles = some(3)
    each = torch.stack([some(1, seed)[0, 0] > 3 for seed in range(3)])
    height, width = render(puzzles[0]).height, render(puzzles[0]).width
    for marked in (each, each[0]):
        sheet = render_sheet(puzzles, 3, marked=marked)
        for k in range(3):
            mask = marked if marked.ndim == 2 else marked[k]
            x = 20 + k * (width + 20)
            drawn = sheet.crop((x, 20, x + width, 20 + height))
            assert drawn.tobytes() == render(puzzles[k], marked=mask).tobytes()


BATCH = some(2)
MASK = torch.zeros(9, 9, dtype=torch.bool)


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: render(BATCH), r"puzzle to be int of shape \(3, 9, 9\), got torch.int8 of shape \(2, 3, 9, 9\)"),
        (lambda: render(BATCH[0].movedim(0, -1)), r"expected.*\(3, 9, 9\), got .*\(9, 9, 3\)"),
        (lambda: render(BATCH[0].float()), "expected .* int .*torch.float32"),
        (lambda: render(BATCH[0].bfloat16()), "expected .* int .*torch.bfloat16"),
        (lambda: render(BATCH[0].numpy().astype(float)), "expected .* int .*float64"),
        (lambda: render(BATCH[0], cell=5), "a cell of 6 pixels or more, got 5"),
        (lambda: render(BATCH[0], marked=MASK[:3]), r"marked to be bool of shape \(9, 9\), got .*\(3, 9\)"),
        (lambda: render(BATCH[0], marked=MASK.long()), "marked to be bool .*torch.int64"),
        (lambda: render_sheet(BATCH[0], 1), r"puzzles to be int of shape \(B, 3, 9, 9\), got .*\(3, 9, 9\)"),
        (lambda: render_sheet(BATCH[:0], 1), r"puzzles.*\(0, 3, 9, 9\).*at least one puzzle"),
        (lambda: render_sheet(BATCH, 0), "columns of 1 or more, got 0"),
        (lambda: render_sheet(BATCH, 1, titles=["a"]), "expected 2 titles, .*got 1"),
        (lambda: render_sheet(BATCH, 1, titles=[]), "expected 2 titles, .*got 0"),
        (lambda: render_sheet(BATCH, 1, cell=0), "a cell of 6 pixels or more, got 0"),
        (lambda: render_sheet(BATCH, 1, marked=MASK.expand(3, 9, 9)), r"bool of shape \(2, 9, 9\), got .*\(3, 9, 9\)"),
    ],
)
def test_errors_say_what_was_expected_and_what_came(call, says: str) -> None:
    with pytest.raises(ValueError, match=says) as error:
        call()
    assert "\n" not in str(error.value)
    assert ": " in str(error.value), "and what to do"


def test_an_unknown_cell_is_hatched_whatever_stands_in_it() -> None:
    unknown = torch.zeros(9, 9, dtype=torch.bool)
    unknown[4, 4] = unknown[0, 8] = True
    one, other = holding(3, 9, 9), holding(0, 2, 1)
    drawn = [pixels(render(puzzle, unknown=unknown)) for puzzle in (one, other, blank())]
    assert (drawn[0] == drawn[1]).all()
    assert (drawn[0] == drawn[2]).all()
    assert (drawn[2] != pixels(render(blank()))).any(), "unknown does not look empty"
    assert (drawn[2] != pixels(render(blank(), marked=unknown))).any(), "nor written by a model"
    sheet = render_sheet(torch.stack([one, other]), 2, unknown=torch.stack([unknown, ~unknown]))
    assert (pixels(sheet) != pixels(render_sheet(torch.stack([one, other]), 2, unknown=unknown))).any()
    with pytest.raises(ValueError, match="unknown to be bool"):
        render(one, unknown=unknown.int())
