"""The page's part on laws.

FLOPs to a score, FLOPs from which a family is ahead, quality at equal evaluations, the worth of repeated examples.
"""

from collections.abc import Mapping, Sequence
from itertools import combinations

from genraven.metrics.intervals import Interval
from genraven.metrics.table import SCORES, direction, label
from genraven.report.contest import Choice, by_examples
from genraven.report.english import sentence, short
from genraven.report.laws import Curve, Seen, Worth, ahead_from, has_proved_itself, ratio, worth
from genraven.report.page import Block, Item, Items, Text
from genraven.report.points import Point, Variant, compare
from genraven.report.question import Question
from genraven.report.runs import Result
from genraven.report.statistics import MIN_REPEATS

MIN_CURVE = 4
"""Points of a curve: three for a line, and one that it has to predict."""
EQUAL = 1.1
"""Numbers of evaluations that differ by less are one."""


def laws(variants: Sequence[Variant], samples: int, question: Question) -> list[Block]:
    """What of the evidence carries over to other numbers of examples; what does not is said, with its reason."""
    metric, field = question.metric, by_examples(variants, question.metric).get(samples, {})
    if SCORES[metric].kind != "fraction" or len(field) < 2:
        return []
    ends = {name: _variant(choice, variants, samples) for name, choice in field.items()}
    pairs = list(combinations(sorted(ends), 2))
    items = [Item(law(first, second, ends, samples, metric)) for law in (_ratio, _ahead) for first, second in pairs]
    items += [Item(text) for first, second in pairs
              for text in _at_equal_evaluations(first, second, field, question)]  # fmt: skip
    items += [Item(_worth(name, ends[name], metric)) for name in sorted(ends)]
    return [Text(sentence("laws")), Items(items)]


def _variant(choice: Choice, variants: Sequence[Variant], samples: int) -> Variant:
    return next(variant for variant in variants if variant.points.get(samples) is choice.end)


# FLOPs to a score ----------------------------------------------------------------------------------------------------


def _ratio(first: str, second: str, ends: Mapping[str, Variant], samples: int, metric: str) -> str:
    names = {"first": first, "second": second, "score": label(metric)}
    curves = {name: _curves(ends[name], samples, metric) for name in (first, second)}
    for name, found in curves.items():
        if why := _unfit(ends[name], found) or ("" if has_proved_itself(found) else "missed"):
            return sentence("no_ratio", **names, why=_why(name, why))
    reached = ratio(curves[first], curves[second])
    if reached is None:
        return sentence("no_ratio", **names, why=_why(first, "no_target"))
    return sentence("ratio", **names, target=f"{reached.target:g}", **reached.times.written(".2f"))


def _unfit(variant: Variant, curves: Sequence[Curve]) -> str:
    """The name of the reason why no line can be laid through its curves, if any."""
    if not variant.is_steady:
        return "not_steady"
    if not curves or min(map(len, curves)) < MIN_CURVE:
        return "few_points"
    return "few_repeats" if len(curves) < MIN_REPEATS else ""


def _why(name: str, reason: str) -> str:
    return sentence("no_curve", name=name, reason=reason, min_points=MIN_CURVE, min_repeats=MIN_REPEATS)


def _curves(variant: Variant, samples: int, metric: str) -> list[Curve]:
    """Of each repeat: the score by FLOPs of training, at the steps that all have."""
    points = {round(cost): point for point in variant.along(samples, metric) if (cost := point.spent("flops"))}
    runs = range(len(next(iter(points.values())).runs)) if points else []
    return [{cost: _value(point, i, metric) for cost, point in points.items()} for i in runs]


def _value(point: Point, run: int, metric: str) -> float:
    measured = point.results[run].measured(metric)
    assert measured is not None
    return measured.value


# FLOPs from which a family is ahead ---------------------------------------------------------------------------------


def _ahead(first: str, second: str, ends: Mapping[str, Variant], samples: int, metric: str) -> str:
    """Either family may overtake the other."""
    curves = {name: _curves(ends[name], samples, metric) for name in (first, second)}
    names = {"first": first, "second": second, "score": label(metric), "samples": f"{samples:,}"}
    for name, found in curves.items():
        if why := _unfit(ends[name], found):
            return sentence("no_crossing", **names, why=_why(name, why))
    reason = ""
    for behind, ahead in ((first, second), (second, first)):
        crossing = ahead_from(curves[behind], curves[ahead], direction(metric))
        if isinstance(crossing, Interval):
            bounds = {name: short(getattr(crossing, name)) for name in ("value", "low", "high")}
            return sentence("ahead", **{**names, "first": behind, "second": ahead}, **bounds)
        reason = crossing
    return sentence("no_crossing", **names, why=_why("", reason))


# Equal evaluations ---------------------------------------------------------------------------------------------------


def _at_equal_evaluations(first: str, second: str, field: Mapping[str, Choice], question: Question) -> list[str]:
    """The families where both were scored at about as many evaluations of the network a puzzle: the most of them."""
    task = question.asked.task
    if task is None:
        return []
    ways = [_by_evaluations(field[name].point, task, question.metric) for name in (first, second)]
    equal = [(a, b) for a in ways[0] for b in ways[1] if max(a, b) / min(a, b) <= EQUAL]
    if not equal:
        return [sentence("no_equal", first=first, second=second, own=[_least_to_most(way) for way in ways])]
    a, b = max(equal)
    gap = compare(ways[0][a], ways[1][b], question.metric)
    assert gap is not None
    values = [f"{way[n].value(question.metric):.3f}" for way, n in zip(ways, (a, b), strict=True)]
    return [sentence("equal", first=first, second=second, score=label(question.metric), passes=_passes(a),
                     values=values, gap=str(gap))]  # fmt: skip


def _by_evaluations(point: Point, task: str, metric: str) -> dict[float, Point]:
    """The same weights, decoded with other numbers of evaluations of the network a puzzle.

    Of several ways of decoding with one number, that counts which is most like the way that ``point`` reports.
    """
    found: dict[tuple[int, str, float], dict[str, Result]] = {}
    for run, own in zip(point.runs, point.results, strict=True):
        for one in (*run.results, own):  # which comes last, so that it counts
            is_alike = (one.step, one.split, one.checkpoint) == (own.step, own.split, own.checkpoint)
            if is_alike and not one.given_corruption and one.passes.get(task) and one.measured(metric):
                found.setdefault((*_changed(one, own), float(one.passes[task])), {})[run.name] = one
    points: dict[float, Point] = {}
    for (*_, passes), results in sorted(found.items(), key=lambda pair: pair[0]):
        if passes not in points and (decoded := point.at(results)):
            points[passes] = decoded
    return points


def _changed(one: Result, own: Result) -> tuple[int, str]:
    """In how many settings ``one`` was decoded otherwise than ``own``, and in which."""
    settings = {**own.decoding, **one.decoding}
    changed = sorted((name, str(value)) for name, value in settings.items() if own.decoding.get(name) != value)
    return len(changed), str(changed)


def _least_to_most(ways: Mapping[float, Point]) -> str:
    return " to ".join(dict.fromkeys(_passes(n) for n in (min(ways), max(ways)))) if ways else ""


def _passes(num: float) -> str:
    """A number of evaluations, which is less than one where a cache spares a part of the network."""
    return f"{num:,.0f}" if num >= 10 else f"{num:.2g}"


# Repeated examples ---------------------------------------------------------------------------------------------------


def _worth(name: str, variant: Variant, metric: str) -> str:
    model, found = f"{name} ({variant.label})", worth(_seen(variant, metric)) if variant.is_steady else "not_steady"
    if isinstance(found, Worth):
        return sentence("worth", name=model, score=label(metric), **found.repeats.written(".3g"))
    return sentence("no_worth", name=model, reason=found)


def _seen(variant: Variant, metric: str) -> list[list[Seen]]:
    """Of each repeat: its scores on all numbers of examples, along the trainings."""
    by_size = {size: variant.along(size, metric) for size in variant.points}
    by_size = {size: points for size, points in by_size.items() if points and points[-1].first.num_rules}
    num = min((len(points[-1].runs) for points in by_size.values()), default=0)
    repeats: list[list[Seen]] = [[] for _ in range(num)]
    for size, points in by_size.items():
        unique = float(size * (points[-1].first.num_rules or 1))
        for point in points:
            epochs = point.spent("epochs")
            for i in range(num if epochs else 0):
                repeats[i].append(Seen(unique, float(epochs or 0), _value(point, i, metric)))
    return repeats
