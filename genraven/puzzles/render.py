"""Pictures of puzzles: three rows of three panels, every object drawn by its shape, size and color.

Legend: B puzzles. A puzzle is (3, 9, 9): channel = shape, size, color; image row = 3*row + cell row;
image column = 3*panel + cell column; -1 = empty. Lengths are in pixels unless said otherwise.
"""

from bisect import bisect_right
from collections.abc import Sequence
from functools import lru_cache
from math import ceil, cos, pi, sin

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont

Array = torch.Tensor | np.ndarray
Rgb = tuple[int, int, int]
Font = ImageFont.FreeTypeFont | ImageFont.ImageFont
Points = tuple[tuple[float, float], ...]

PAPER: Rgb = (255, 255, 255)
TINT: Rgb = (206, 228, 255)
FRAME: Rgb = (128, 128, 128)
TEXT: Rgb = (60, 60, 60)
ALERT: Rgb = (220, 30, 40)
MIN_CELL = 6
_SUPERSAMPLE = 8


def _polygon(corners: int, radius: float, *, start: float = -90, dip: float = 1, down: float = 0) -> Points:
    """Corners of a regular polygon, the first at `start` degrees, every second one at `dip` of the radius."""
    polar = [(start * pi / 180 + 2 * pi * k / corners, radius * (dip if k % 2 else 1)) for k in range(corners)]
    return tuple((r * cos(angle), r * sin(angle) + down) for angle, r in polar)


def _cross(reach: float, arm: float) -> Points:
    """Corners of a plus sign that reaches `reach` each way, its arms 2 * `arm` wide."""
    quarter = ((-arm, -reach), (arm, -reach), (arm, -arm))
    half = quarter + tuple((-y, x) for x, y in quarter)
    return half + tuple((-x, -y) for x, y in half)


# Corners about the middle of the cell, y downwards; scaled by eye so that no shape looks larger than another.
# No diamond, pentagon or hexagon: at the smallest sizes they are a cross or a circle.
_OUTLINES: tuple[Points, ...] = (
    _polygon(3, 1.15, down=0.27),
    _polygon(4, 1.22, start=45),
    _polygon(96, 0.95),
    _polygon(10, 1.1, dip=0.48, down=0.08),
    _cross(1, 0.33),
    _polygon(3, 1.15, start=90, down=-0.27),
    ((-0.88, -0.92), (0.88, -0.92), (0.33, 0), (0.88, 0.92), (-0.88, 0.92), (-0.33, 0)),
)
_EXTENTS = tuple(0.19 + 0.285 * k / 9 for k in range(10))  # half of an object's side, in cells
_GREYS = tuple(round(255 * (1 - k / 9)) for k in range(10))


def render(puzzle: Array, *, cell: int = 16, marked: Array | None = None, unknown: Array | None = None) -> Image.Image:
    """Picture of one puzzle: nine framed panels on white, its rows further apart than the panels in them.

    Shapes 0-6 are triangle, square, circle, star, cross, downward triangle and hourglass; sizes grow; colors
    go from white (0) to black (9). A cell with any channel -1 is blank; one with any other value out of range,
    as models produce, holds a red x.

    Args:
        puzzle: (3, 9, 9), any integer dtype.
        cell: side of a cell, in pixels; at least 6. It alone decides the picture's size.
        marked: (9, 9) bool, the cells to tint, such as those that a model filled in.
        unknown: (9, 9) bool, the cells to hatch instead of what stands in them.

    Raises:
        ValueError: a shape or dtype other than these, or too small a cell.
    """
    values = _checked("puzzle", puzzle, (3, 9, 9), "int", "pass one puzzle of integers; render_sheet draws a batch")
    tinted, hatched = (
        np.zeros((9, 9), dtype=bool) if mask is None else _checked(name, mask, (9, 9), "bool", f"pass True to {do} it")
        for name, mask, do in (("marked", marked, "tint"), ("unknown", unknown, "hatch"))
    )
    return _draw(values, tinted, hatched, cell)


def render_sheet(
    puzzles: Array,
    columns: int,
    *,
    titles: Sequence[str] | None = None,
    cell: int = 16,
    marked: Array | None = None,
    unknown: Array | None = None,
) -> Image.Image:
    """Picture of B puzzles as `render` draws them, left to right, then down, `columns` to a line.

    Args:
        puzzles: (B, 3, 9, 9), any integer dtype, B at least 1.
        columns: puzzles to a line, at least 1; places left over stay white.
        titles: B strings, one under each puzzle, shortened with an ellipsis where wider than the puzzle.
        cell: side of a cell, in pixels; at least 6.
        marked: (9, 9) or (B, 9, 9) bool, the cells to tint, in all puzzles or in each.
        unknown: the same of the cells to hatch instead of what stands in them.

    Raises:
        ValueError: a shape or dtype other than these, another number of titles, no column, or too small a cell.
    """
    values = _checked("puzzles", puzzles, ("B", 3, 9, 9), "int", "pass at least one puzzle; render draws a single")
    count = len(values)
    tinted, hatched = (_masks(name, mask, count) for name, mask in (("marked", marked), ("unknown", unknown)))
    if columns < 1:
        raise ValueError(f"expected columns of 1 or more, got {columns}: pass how many puzzles stand side by side.")
    if titles is not None and len(titles) != count:
        raise ValueError(f"expected {count} titles, one for each puzzle, got {len(titles)}: pass '' for a puzzle "
                         "without one.")  # fmt: skip

    pictures = [_draw(*of_puzzle, cell) for of_puzzle in zip(values, tinted, hatched, strict=True)]
    width, height = pictures[0].size
    gutter, lead, font = round(1.25 * cell), round(cell / 4), _font(max(9, round(0.75 * cell)))
    line = 0 if titles is None else lead + round(font.getbbox("Ág")[3])
    step_x, step_y = width + gutter, height + line + gutter
    sheet = Image.new("RGB", (gutter + columns * step_x, gutter + -(-count // columns) * step_y), PAPER)
    draw = ImageDraw.Draw(sheet)
    for k, picture in enumerate(pictures):
        x, y = gutter + k % columns * step_x, gutter + k // columns * step_y
        sheet.paste(picture, (x, y))
        if titles is not None:
            title = _shortened(titles[k], width, font)
            left = x + (width - font.getlength(title)) // 2
            draw.text((left, y + height + lead), title, fill=TEXT, font=font)
    return sheet


def _checked(name: str, array: Array, shape: tuple[int | str, ...], kind: str, hint: str) -> np.ndarray:
    """The array as numpy, or a ValueError; a letter in `shape` is any length but 0, `kind` a part of the dtype."""
    fits = len(array.shape) == len(shape) and kind in str(array.dtype)
    if not fits or any(n != m if isinstance(m, int) else n == 0 for n, m in zip(array.shape, shape, strict=True)):
        wanted = f"{kind} of shape ({', '.join(map(str, shape))})"
        raise ValueError(f"expected {name} to be {wanted}, got {array.dtype} of shape {tuple(array.shape)}: {hint}.")
    return array.detach().cpu().numpy() if isinstance(array, torch.Tensor) else array


def _masks(name: str, mask: Array | None, count: int) -> np.ndarray:
    """(count, 9, 9) bool from a mask of all puzzles, one of each, or none."""
    masks = np.zeros((count, 9, 9), dtype=bool)
    if mask is not None:
        shape = (9, 9) if mask.ndim == 2 else (count, 9, 9)
        masks |= _checked(name, mask, shape, "bool", "pass one (9, 9) mask for all puzzles, or one for each")
    return masks


def _draw(values: np.ndarray, marked: np.ndarray, unknown: np.ndarray, cell: int) -> Image.Image:
    """Picture of one checked puzzle; a panel marked throughout is tinted up to its frame."""
    if cell < MIN_CELL:
        raise ValueError(f"expected a cell of {MIN_CELL} pixels or more, got {cell}: smaller objects look the same.")
    line, inset = max(1, round(cell / 20)), max(1, round(cell / 20)) + max(1, round(cell / 10))
    side = 3 * cell + 2 * inset
    step_x, step_y = side + max(2, round(cell / 5)), side + max(4, round(cell / 2))
    image = Image.new("RGB", (2 * step_x + side, 2 * step_y + side), PAPER)
    draw = ImageDraw.Draw(image)
    for row, panel in np.ndindex(3, 3):
        x, y = panel * step_x, row * step_y
        ground = TINT if marked[3 * row : 3 * row + 3, 3 * panel : 3 * panel + 3].all() else PAPER
        draw.rectangle((x, y, x + side - 1, y + side - 1), fill=ground, outline=FRAME, width=line)
    limits = len(_OUTLINES), len(_EXTENTS), len(_GREYS)
    for i, j in np.ndindex(9, 9):
        x, y = j // 3 * step_x + inset + j % 3 * cell, i // 3 * step_y + inset + i % 3 * cell
        ground = TINT if marked[i, j] else PAPER
        attributes = values[:, i, j].tolist()
        if unknown[i, j]:
            image.paste(_hatched(cell, ground), (x, y))
        elif -1 in attributes:
            image.paste(ground, (x, y, x + cell, y + cell))
        elif all(0 <= value < limit for value, limit in zip(attributes, limits, strict=True)):
            image.paste(_object(*attributes, cell, ground), (x, y))
        else:
            image.paste(_alert(cell, ground), (x, y))
    return image


@lru_cache(maxsize=4096)
def _object(shape: int, size: int, color: int, cell: int, ground: Rgb) -> Image.Image:
    """Picture of a cell with one object in it; shared by all who ask, so never drawn on."""
    side = cell * _SUPERSAMPLE
    middle, extent, grey = (side - 1) / 2, _EXTENTS[size] * side, _GREYS[color]
    corners = [(middle + extent * x, middle + extent * y) for x, y in _OUTLINES[shape]]
    # A small object's outline is thinner, and a light object's lighter, so that the grey inside still tells.
    outline = min(max(0.65 * _SUPERSAMPLE, side / 20), 0.26 * extent)
    body = Image.new("L", (side, side), grey)
    ImageDraw.Draw(body).line([*corners, *corners[:2]], round(0.3 * grey), round(2 * outline), joint="curve")
    within = Image.new("L", (side, side), 0)
    ImageDraw.Draw(within).polygon(corners, fill=255)
    tile = Image.new("RGB", (side, side), ground)
    tile.paste(body.convert("RGB"), mask=within)
    return tile.reduce(_SUPERSAMPLE)


@lru_cache(maxsize=64)
def _alert(cell: int, ground: Rgb) -> Image.Image:
    """Picture of a cell with a red x in it; shared by all who ask, so never drawn on."""
    side = cell * _SUPERSAMPLE
    low, high, width = round(0.25 * side), round(0.75 * side) - 1, round(max(1.3 * _SUPERSAMPLE, side / 9))
    tile = Image.new("RGB", (side, side), ground)
    draw = ImageDraw.Draw(tile)
    draw.line((low, low, high, high), ALERT, width)
    draw.line((low, high, high, low), ALERT, width)
    return tile.reduce(_SUPERSAMPLE)


@lru_cache(maxsize=64)
def _hatched(cell: int, ground: Rgb) -> Image.Image:
    """Picture of a cell of which nobody knows what stands in it; shared by all who ask, so never drawn on."""
    side = cell * _SUPERSAMPLE
    tile = Image.new("RGB", (side, side), ground)
    draw = ImageDraw.Draw(tile)
    for start in range(-side, side, side // 3):  # neighbours' lines meet
        draw.line((start, side, start + side, 0), FRAME, round(max(0.8 * _SUPERSAMPLE, side / 24)))
    return tile.reduce(_SUPERSAMPLE)


@lru_cache(maxsize=16)
def _font(size: int) -> Font:
    """Pillow's own scalable font; loading it takes milliseconds, hence the cache."""
    return ImageFont.load_default(size=size)


def _shortened(title: str, width: int, font: Font) -> str:
    """The title on one line no wider than `width`, its end an ellipsis where something was cut."""
    title = " ".join(title.split())
    if font.getlength(title) <= width:
        return title
    keep = bisect_right(range(len(title)), width, key=lambda n: ceil(font.getlength(title[:n] + "\u2026")))
    return title[: keep - 1].rstrip() + "\u2026"
