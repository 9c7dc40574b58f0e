"""Where a model collapses for want of examples."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from genraven.metrics.table import label
from genraven.report.english import count, headings, sentence
from genraven.report.page import Block, Table, Text
from genraven.report.points import Point, Variant

WATCHED = ("novel_c3", "completion")


@dataclass(frozen=True)
class Collapse:
    """A point that came out far worse than its model can."""

    label: str
    point: Point
    kind: Literal["falls", "memorises", "repeats", "signal"]
    """``falls`` below half of what more examples give, ``memorises`` (half of C3 or more is not new), ``repeats``
    itself (half of novel C3 or more is of puzzles that it wrote before), or, of a run, a ``signal`` that crossed its
    threshold while training."""
    detail: str


def collapsed(variants: Sequence[Variant]) -> list[Block]:
    """The page's part: a table, or that there was none."""
    if not variants:
        return []
    rows = [[one.label, count(one.point.samples), sentence("collapse_kind", name=one.kind), one.detail]
            for one in collapses(variants)]  # fmt: skip
    return [Table(headings("collapses"), rows, sentence("collapses")) if rows else Text(sentence("no_collapse"))]


def collapses(variants: Iterable[Variant]) -> list[Collapse]:
    """Every collapse, models in order, fewest examples first; beyond the 95% intervals."""
    found = []
    for variant in variants:
        points = list(variant.points.values())
        found += [one for metric in WATCHED for one in _falls(variant.label, points, metric)]
        for point in points:
            c3, novel = point.interval("c3"), point.interval("novel_c3")
            if c3 and novel and novel.high < 0.5 * c3.low:
                found.append(Collapse(variant.label, point, "memorises", sentence("memorised", c3=c3, novel=novel)))
            different = point.interval("different_novel_c3")
            if novel and different and different.high < 0.5 * novel.low:
                detail = sentence("repeated", novel=novel, different=different)
                found.append(Collapse(variant.label, point, "repeats", detail))
            found += _signals(variant.label, point)
    return found


def _falls(name: str, points: Sequence[Point], metric: str) -> list[Collapse]:
    found = []
    for place, point in enumerate(points):
        own = point.interval(metric)
        more = [(other, interval) for other in points[place + 1 :] if (interval := other.interval(metric))]
        above = [(other, interval) for other, interval in more if own and own.high < 0.5 * interval.low]
        if own and above:
            other, interval = above[-1]
            detail = sentence("fell", score=label(metric), own=own, more=other.samples, of_more=interval)
            found.append(Collapse(name, point, "falls", detail))
    return found


def _signals(name: str, point: Point) -> list[Collapse]:
    crossed: dict[str, list[str]] = {}
    for run in point.runs:
        for signal, crossing in run.collapse.items():
            value, threshold = (_brief(crossing.get(key)) for key in ("value", "threshold"))
            text = sentence("crossed", value=value, threshold=threshold, step=crossing.get("step"))
            crossed.setdefault(signal, []).append(text)
    return [
        Collapse(name, point, "signal", sentence("signals", name=signal, num_runs=len(point.runs), texts=texts))
        for signal, texts in crossed.items()
    ]


def _brief(value: object) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)
