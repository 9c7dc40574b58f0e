"""The page's parts on all that was counted, and on what was learned before."""

from collections.abc import Sequence

from genraven.metrics.table import SCORES, label
from genraven.report.page import Block, Table
from genraven.report.points import Point, Variant, compare
from genraven.report.quality import DASH, mean, shown


def transfer(variants: Sequence[Variant]) -> list[Block]:
    """Completion from a trained model's weights beside that from nothing, by examples."""
    rows = []
    for begun in variants:
        if "init_from" not in begun.first.settings:
            continue
        fresh = next((one for one in variants if "init_from" not in one.first.settings and
                      (one.first.architecture, one.first.parameters)
                      == (begun.first.architecture, begun.first.parameters)), None)  # fmt: skip
        for n, point in begun.points.items():
            other = fresh.points.get(n) if fresh else None
            gap = compare(point, other, "completion") if other else None
            rows.append([begun.label, f"{n:,}", shown(point.interval("completion")),
                         shown(other.interval("completion") if other else None), shown(gap),
                         str(len(point.runs))])  # fmt: skip
    headings = ["model", "examples per rule", "completion from trained weights", "from nothing", "difference", "runs"]
    return [Table(headings, rows, "Does what was learned of other rules help with these?")] if rows else []


def every_score(variants: Sequence[Variant]) -> list[Block]:
    """All that was counted, of each point."""
    points = [(variant.label, n, point) for variant in variants for n, point in variant.points.items()]
    counted = [name for name in SCORES if any(_score(point, name) != DASH for _, _, point in points)]
    if not counted:
        return []
    rows = [[name, f"{n:,}", *(_score(point, score) for score in counted)] for name, n, point in points]
    units = {name: f" ({SCORES[name].unit})" if SCORES[name].unit else "" for name in counted}
    headings = ["model", "examples per rule", *(f"{label(name)}{units[name]}" for name in counted)]
    about = "; ".join(f"{label(name)}: {SCORES[name].counted_over}, {SCORES[name].about}" for name in counted)
    return [Table(headings, rows, f"Means of repeats. {about}.")]


def _score(point: Point, name: str) -> str:
    if SCORES[name].kind == "share":
        return shown(point.interval(name))
    values = [number.value for result in point.results if (number := result.numbers.get(name))]
    return f"{mean(values):.3f}" if values else DASH
