"""The page's parts on what training spends: curves along it, crossings, first reach, trained or not, cost."""

import math
from collections.abc import Sequence

from genraven.metrics.table import direction, label
from genraven.report import figures
from genraven.report.contest import by_budget, by_examples, duels
from genraven.report.english import DASH, headings, hours, sentence, short, shown, span
from genraven.report.figures import Kind, Line
from genraven.report.page import Block, Item, Items, Panel, Picture, Table, Text
from genraven.report.points import Point, Variant
from genraven.report.progress import TARGETS, Reach, best_and_last, end_of, reach
from genraven.report.quality import looks_of
from genraven.report.question import Question
from genraven.report.sentences import crossing_sentence
from genraven.report.spending import bill
from genraven.report.trust import MAX_ERROR

BUDGETS = ("epochs", "flops", "device_hours")
COSTS = ("device_hours", "flops", "money")


def along_training(variants: Sequence[Variant], samples: int, metric: str, prefix: str) -> list[Block]:
    """The score against epochs, FLOPs and device-hours of training, on one number of examples."""
    look, panels, rows = looks_of(variants), [], []
    found = [(variant, points) for variant in variants if (points := variant.along(samples, metric))]
    names = _names_of_lines([variant for variant, _ in found])
    axes = {axis: sentence("axis", name=axis) for axis in BUDGETS}
    for axis, xlabel in axes.items():
        lines, texts = [], []
        for (variant, points), name in zip(found, names, strict=True):
            by_cost = {cost: point for point in points if (cost := point.spent(axis))}
            if by_cost:
                kind: Kind = "line" if variant.is_steady else "broken"
                named = {cost: interval for cost, point in by_cost.items() if (interval := point.interval(metric))}
                lines.append(Line(name, named, look[variant.first.architecture or ""], kind))
                texts.append(f"{variant.label} {figures.in_words(named, short)}")
        if svg := figures.chart(lines, xlabel, label(metric)):
            alt = sentence("chart", score=label(metric), axis=xlabel, texts=texts, is_forecast=False)
            panels.append(Panel(f"{prefix}along-{axis}", svg, alt))
    for (variant, points), name in zip(found, names, strict=True):
        for point in points:
            spent = [point.spent(axis) for axis in ("puzzles", *BUDGETS)]
            rows.append([name, variant.label, f"{max(result.step for result in point.results):,}",
                         *(DASH if cost is None else short(cost) for cost in spent), shown(point.interval(metric)),
                         point.split])  # fmt: skip
    if not panels:
        return []
    table = Table(headings("along", [*axes.values(), label(metric)]), rows)
    return [Picture(panels, sentence("along", samples=samples), table)]


def _names_of_lines(variants: Sequence[Variant]) -> list[str]:
    """The architecture of each, with a number where several are of one."""
    architectures = [variant.first.architecture or "" for variant in variants]
    return [
        f"{name} {architectures[: i + 1].count(name)}" if architectures.count(name) > 1 else name
        for i, name in enumerate(architectures)
    ]


def crossings(variants: Sequence[Variant], samples: int, metric: str) -> list[Block]:
    """In examples, and, on one number of them, along the budgets of training."""
    texts = [_crossing_in("examples", None, crossing_sentence(duel, "examples"))
            for duel in duels(by_examples(variants, metric), metric)]  # fmt: skip
    for axis in BUDGETS:
        texts += [_crossing_in(axis, samples, crossing_sentence(duel, axis))
                 for duel in duels(by_budget(variants, samples, axis, metric), metric)]  # fmt: skip
    devices = sorted({run.device for variant in variants for run in variant.runs if run.device})
    if texts and any(point.split == "val" for variant in variants for point in variant.along(samples, metric)):
        texts.append(Item(sentence("along_of_validation")))
    if texts and len(devices) > 1:
        texts.append(Item(sentence("devices_differ", names=devices)))
    return [Text(sentence("crossings")), Items(texts)] if texts else []


def _crossing_in(axis: str, samples: int | None, text: str) -> Item:
    return Item(sentence("crossing_in", axis=sentence("axis", name=axis), samples=samples, text=text))


def first_reach(variants: Sequence[Variant], samples: int) -> list[Block]:
    """FLOPs and device-hours until scores are reached; runs that never did are counted so."""
    rows = []
    for variant in variants:
        point = variant.points.get(samples)
        for metric, target in TARGETS:
            having = point.having(metric) if point else None
            if having is None:
                continue
            cells = [_reached(reach(having.runs, metric, target, axis)) for axis in ("flops", "device_hours")]
            rows.append([variant.label, f"{label(metric)} {target:g}", *cells])
    return [Table(headings("reach"), rows, sentence("reach", samples=samples))] if rows else []


def _reached(found: Reach | None) -> str:
    if found is None:
        return sentence("not_known")
    if not found.costs:
        return sentence("never_reached", num_runs=found.num_runs, spent=short(found.spent))
    first, last = short(found.costs[0]), short(found.costs[-1])
    is_above = math.isinf(found.median)
    return sentence("reached", median=short(found.spent if is_above else found.median), is_above=is_above,
                    between=None if first == last else span([first, last]), num=len(found.costs),
                    num_runs=found.num_runs)  # fmt: skip


def trained_or_not(variants: Sequence[Variant], metric: str) -> list[Block]:
    """How each curve ends, and the best checkpoint beside the last."""
    up = direction(metric) > 0
    rows = []
    for variant in variants:
        for n, point in variant.points.items():
            end, best = end_of(variant, n, metric), best_and_last(point, metric)
            cells = [DASH, DASH] if best is None else [shown(best[0].interval(metric)), shown(best[1])]
            trend = sentence("trend", name=end.trend, is_up=up)
            rows.append([variant.label, f"{n:,}", _ended(point), trend, shown(end.change),
                         shown(point.interval(metric)), *cells])  # fmt: skip
    caption = sentence("trained_or_not", score=label(metric), is_up=up)
    return [Table(headings("trained_or_not"), rows, caption)] if rows else []


def _ended(point: Point) -> str:
    steps = sorted({run.step for run in point.runs if run.step is not None})
    stopped = [run for run in point.runs if run.is_cut]
    if not steps:
        return DASH
    planned = f"{point.first.max_steps:,}" if stopped and point.first.max_steps else None
    return sentence("stopped_at", steps=span([f"{step:,}" for step in steps]), planned=planned)


def against_cost(variants: Sequence[Variant], samples: int, question: Question, prefix: str) -> list[Block]:
    """Points at one number of examples by what their training cost, and what a year of use would."""
    look, panels = looks_of(variants), []
    points = [(variant, point) for variant in variants if (point := variant.points.get(samples))]
    points = [(variant, point) for variant, point in points if point.having(question.metric)]
    names = _names_of_lines([variant for variant, _ in points])
    axes = {cost: sentence("axis", name=cost) for cost in COSTS}
    for cost, xlabel in axes.items():
        lines = []
        for (variant, point), name in zip(points, names, strict=True):
            spent, interval = point.spent(cost), point.interval(question.metric)
            if spent and interval:
                lines.append(Line(name, {spent: interval}, look[variant.first.architecture or ""], "marks"))
        if svg := figures.chart(lines, xlabel, label(question.metric)):
            alt = sentence("spending_panel", score=label(question.metric), axis=xlabel, num=len(lines))
            panels.append(Panel(f"{prefix}cost-{cost}", svg, alt))
    if not panels:
        return []
    rows = [[name, *_bill_row(variant, point, question)] for (variant, point), name in zip(points, names, strict=True)]
    missing = [xlabel for cost, xlabel in axes.items() if not any(point.spent(cost) for _, point in points)]
    caption = sentence("spending", samples=samples, score=label(question.metric), missing=missing)
    table = Table(headings("spending", [label(question.metric)]), rows)
    return [Picture(panels, caption, table), Text(_formula(question))]


def _bill_row(variant: Variant, point: Point, question: Question) -> list[str]:
    of = bill(point, point, question.asked, question.prices)
    flops, money, total, each = point.spent("flops"), point.spent("money"), of.total, of.seconds_each
    return [
        variant.label, shown(point.interval(question.metric)),
        DASH if flops is None else short(flops),
        DASH if of.training_hours is None else hours(of.training_hours),
        DASH if money is None else f"{money:,.2f}", DASH if each is None else f"{each:.2g}",
        DASH if total is None or of.writing_hours is None else f"{total:,.2f}",
    ]  # fmt: skip


def _formula(question: Question) -> str:
    prices = question.prices
    known = [f"{name} {value:,}" for name, value in (("--price", prices.device_hour),
             ("--puzzles-per-year", prices.puzzles_per_year), ("--review-price", prices.review_price))
             if value is not None]  # fmt: skip
    return sentence("total", given=known, max_error=f"{MAX_ERROR:.0%}")
