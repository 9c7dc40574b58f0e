"""Pictures of one number a rule: attributes down, relations across. Lengths are in pixels."""

import math
from collections.abc import Collection, Sequence

from PIL import Image, ImageDraw, ImageFont

from genraven.puzzles.render import ALERT, FRAME, PAPER, TEXT, Rgb
from genraven.puzzles.spec import NUM_RULES, RELATIONS, RULES

WIDTH, HEIGHT, GAP = 88, 38, 4  # of a field, and between two
LEFT, TOP, BOTTOM = 78, 62, 34
FULL: Rgb = (8, 69, 148)
NOWHERE: Rgb = (238, 238, 238)
ROWS = tuple(RELATIONS)
COLUMNS = tuple(dict.fromkeys(relation for of_attribute in RELATIONS.values() for relation in of_attribute))
LEGEND = "red frame: held out of training    -: not counted"


def render_heatmap(
    values: Sequence[float], *, title: str, framed: Collection[int] = (), full: float = 1.0
) -> Image.Image:
    """Picture of fractions of the rules: the darker, the larger; as percentages. A rule that is not there is grey.

    Args:
        values: one fraction for each rule id; NaN where nothing was counted.
        title: one line above.
        framed: ids of rules to frame in red: those held out of training.
        full: the fraction that is darkest; 0 leaves all white.

    Raises:
        ValueError: another number of values.
    """
    if len(values) != NUM_RULES:
        raise ValueError(f"expected {NUM_RULES} values, one for each rule, got {len(values)}: pass all.")
    size = LEFT + len(COLUMNS) * (WIDTH + GAP) + GAP, TOP + len(ROWS) * (HEIGHT + GAP) + BOTTOM
    image = Image.new("RGB", size, PAPER)
    draw = ImageDraw.Draw(image)
    draw.text((GAP, 8), title, fill=TEXT, font=ImageFont.load_default(15))
    draw.text((GAP, size[1] - 24), LEGEND, fill=FRAME, font=ImageFont.load_default(12))
    font = ImageFont.load_default(12)
    for column, relation in enumerate(COLUMNS):
        draw.text(_middle(0, column, -18), relation, fill=TEXT, font=font, anchor="mm")
    for row, attribute in enumerate(ROWS):
        draw.text((GAP, _middle(row, 0)[1]), attribute, fill=TEXT, font=font, anchor="lm")
        for column in range(len(COLUMNS)):
            draw.rectangle(_box(row, column), fill=NOWHERE)
    for rule, value in zip(RULES, values, strict=True):
        place = ROWS.index(rule.attribute), COLUMNS.index(rule.relation)
        depth = 0.0 if math.isnan(value) or full <= 0 else min(1.0, value / full)
        ground = tuple(round(light + depth * (dark - light)) for light, dark in zip(PAPER, FULL, strict=True))
        held_out = rule.id in framed
        draw.rectangle(_box(*place), fill=ground, outline=ALERT if held_out else FRAME, width=3 if held_out else 1)
        draw.text(_middle(*place), _percent(value), fill=PAPER if depth > 0.5 else TEXT, font=font, anchor="mm")
    return image


def _box(row: int, column: int) -> tuple[int, int, int, int]:
    """Left, top, right and bottom of a field."""
    x, y = LEFT + column * (WIDTH + GAP), TOP + row * (HEIGHT + GAP)
    return x, y, x + WIDTH, y + HEIGHT


def _middle(row: int, column: int, down: int | None = None) -> tuple[float, float]:
    """The middle of a field; ``down`` from its upper edge where given."""
    left, top, right, bottom = _box(row, column)
    return (left + right) / 2, (top + bottom) / 2 if down is None else top + down


def _percent(value: float) -> str:
    if math.isnan(value):
        return "-"
    return f"{100 * value:.1f}%" if 0 < value < 0.1 else f"{100 * value:.0f}%"
