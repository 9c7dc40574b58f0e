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
