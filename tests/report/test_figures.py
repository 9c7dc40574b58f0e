"""What a reader must find in a picture."""

from genraven.metrics.intervals import Interval
from genraven.report.figures import Line, chart

LOOK = ("#b34700", "o")


def test_every_line_is_named_at_its_end() -> None:
    points = {400.0: Interval(0.5, 0.4, 0.6), 4000.0: Interval(0.6, 0.5, 0.7)}
    kinds = ("line", "broken", "marks", "reference", "dots", "band")
    svg = chart([Line(f"a {kind}", points, LOOK, kind) for kind in kinds], "examples", "completion")
    assert svg is not None
    assert [kind for kind in kinds if f"<!-- a {kind} -->" in svg] == ["line", "broken", "marks", "reference"]


def test_ticks_of_values_that_are_near_each_other_do_not_overlap() -> None:
    svg = chart([Line("a", {x: Interval(0.5, 0.4, 0.6) for x in (336e3, 337e3)}, LOOK)], "parameters", "completion")
    assert svg is not None
    assert [tick for tick in ("336k", "337k", "200k", "500k") if f"<!-- {tick} -->" in svg] == ["200k", "500k"]
