import math

import pytest

from genraven.puzzles.heatmap import FULL, HEIGHT, WIDTH, _box, render_heatmap
from genraven.puzzles.render import ALERT, FRAME, PAPER
from genraven.puzzles.spec import NUM_RULES, RULE_ID

NOTHING = [math.nan] * NUM_RULES


def test_dark_is_much_and_red_is_held_out() -> None:
    values = [0.0] * NUM_RULES
    values[RULE_ID["size.constant"]] = 0.5
    image = render_heatmap(values, title="", framed=[RULE_ID["size.constant"]], full=0.5)
    assert image.getpixel((_box(1, 0)[0] + 6, _box(1, 0)[1] + 6)) == FULL
    assert image.getpixel(_box(1, 0)[:2]) == ALERT
    assert image.getpixel((_box(0, 0)[0] + 6, _box(0, 0)[1] + 6)) == PAPER
    assert image.getpixel(_box(0, 0)[:2]) == FRAME


def test_every_rule_has_a_field_and_nothing_else_has() -> None:
    image = render_heatmap(NOTHING, title="")
    corners = [image.getpixel(_box(row, column)[:2]) for row in range(5) for column in range(10)]
    assert corners.count(FRAME) == NUM_RULES
    assert image.width > 10 * WIDTH and image.height > 5 * HEIGHT


def test_nothing_counted_looks_other_than_zero() -> None:
    assert render_heatmap(NOTHING, title="") != render_heatmap([0.0] * NUM_RULES, title="", full=0.0)


def test_a_value_for_each_rule() -> None:
    with pytest.raises(ValueError, match="expected 40 values.*got 39"):
        render_heatmap([0.0] * 39, title="")
