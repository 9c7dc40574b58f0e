"""The page's parts on what training spends: curves along it, crossings, first reach, trained or not, cost."""

import math
from collections.abc import Sequence

from genraven.metrics.table import direction, label
from genraven.report import figures
from genraven.report.contest import by_budget, by_examples, duels
from genraven.report.figures import Kind, Line
from genraven.report.page import Block, Item, Items, Panel, Picture, Table, Text
from genraven.report.points import Point, Variant
from genraven.report.progress import TARGETS, Reach, best_and_last, end_of, reach
from genraven.report.quality import DASH, INTERVALS, looks_of, shown
from genraven.report.question import Question
from genraven.report.sentences import AXES, crossing_sentence, hours, short
from genraven.report.spending import bill
from genraven.report.trust import MAX_ERROR

BUDGETS = ("epochs", "flops", "device_hours")
CLAIMED = (
    "A crossing is claimed only where one is surely ahead at a smaller and the other at a larger value, by three "
    "repeats or more of each, corrected for the recipes that each was chosen of. Where there is none, chance makes one "
    "up in at most 5 of 100 such comparisons."
)
COSTS = {"device_hours": AXES["device_hours"], "flops": AXES["flops"], "money": "money for training"}


def along_training(variants: Sequence[Variant], samples: int, metric: str, prefix: str) -> list[Block]:
    """The score against epochs, FLOPs and device-hours of training, on one number of examples."""
    look, panels, rows = looks_of(variants), [], []
    found = [(variant, points) for variant in variants if (points := variant.along(samples, metric))]
    names = _names_of_lines([variant for variant, _ in found])
    for axis in BUDGETS:
        lines, told = [], []
        for (variant, points), name in zip(found, names, strict=True):
            by_cost = {cost: point for point in points if (cost := point.spent(axis))}
            if by_cost:
                kind: Kind = "line" if variant.is_steady else "broken"
                named = {cost: interval for cost, point in by_cost.items() if (interval := point.interval(metric))}
                lines.append(Line(name, named, look[variant.first.architecture or ""], kind))
                told.append(f"{variant.label} " + ", ".join(f"{i.value:.2f} at {short(x)}" for x, i in named.items()))
        if svg := figures.chart(lines, AXES[axis], label(metric)):
            alt = f"{label(metric)} against {AXES[axis]}: {'; '.join(told)}"
            panels.append(Panel(f"{prefix}along-{axis}", svg, alt))
    for (variant, points), name in zip(found, names, strict=True):
        for point in points:
            spent = [point.spent(axis) for axis in ("puzzles", *BUDGETS)]
            rows.append([name, variant.label, f"{max(result.step for result in point.results):,}",
                         *(DASH if cost is None else short(cost) for cost in spent), shown(point.interval(metric)),
                         point.split])  # fmt: skip
    if not panels:
        return []
    caption = (f"On {samples:,} examples per rule, means of repeats at the steps they have in common. Solid: the rate "
               "is constant and weights are averaged, so each point is what a training of that length gives. Dotted: "
               f"the rate decays, and only the end is. What each line is stands below. {INTERVALS}")  # fmt: skip
    headings = ["line", "model", "step", "puzzles seen", *(AXES[axis] for axis in BUDGETS), label(metric), "of"]
    return [Picture(panels, caption, Table(headings, rows))]


def _names_of_lines(variants: Sequence[Variant]) -> list[str]:
    """The architecture of each, with a number where several are of one."""
    architectures = [variant.first.architecture or "" for variant in variants]
    return [
        f"{name} {architectures[: i + 1].count(name)}" if architectures.count(name) > 1 else name
        for i, name in enumerate(architectures)
    ]


def crossings(variants: Sequence[Variant], samples: int, metric: str) -> list[Block]:
    """In examples, and, on one number of them, along the budgets of training."""
    told = [Item(f"In {AXES['examples']}: {crossing_sentence(duel, 'examples')}")
            for duel in duels(by_examples(variants, metric), metric)]  # fmt: skip
    for axis in BUDGETS:
        told += [Item(f"In {AXES[axis]}, on {samples:,} examples per rule: {crossing_sentence(duel, axis)}")
                 for duel in duels(by_budget(variants, samples, axis, metric), metric)]  # fmt: skip
    devices = sorted({run.device for variant in variants for run in variant.runs if run.device})
    if told and any(point.split == "val" for variant in variants for point in variant.along(samples, metric)):
        told.append(Item("Along a training scores are those of validation puzzles, by which models are chosen, too."))
    if told and len(devices) > 1:
        told.append(Item(f"Device-hours are of different devices, and not comparable: {', '.join(devices)}."))
    return [Text(CLAIMED), Items(told)] if told else []


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
    caption = (f"On {samples:,} examples per rule, the first time that each repeat was seen there; median, and least "
               "to most of those that reached it.")  # fmt: skip
    return [Table(["model", "score", "FLOPs", "device-hours"], rows, caption)] if rows else []


def _reached(found: Reach | None) -> str:
    if found is None:
        return "not known"
    if not found.costs:
        return f"never in {found.num_runs} of {found.num_runs} runs, up to {short(found.spent)}"
    median = f"above {short(found.spent)}" if math.isinf(found.median) else short(found.median)
    ends = " to ".join(dict.fromkeys(short(cost) for cost in (found.costs[0], found.costs[-1])))
    between = f" ({ends})" if " to " in ends else ""
    return f"{median}{between}, {len(found.costs)} of {found.num_runs} runs"


def trained_or_not(variants: Sequence[Variant], metric: str) -> list[Block]:
    """How each curve ends, and the best checkpoint beside the last."""
    up = direction(metric) > 0
    trend = {"gains": "rises" if up else "falls", "loses": "falls" if up else "rises"}
    rows = []
    for variant in variants:
        for n, point in variant.points.items():
            end, best = end_of(variant, n, metric), best_and_last(point, metric)
            cells = [DASH, DASH] if best is None else [shown(best[0].interval(metric)), shown(best[1])]
            rows.append([variant.label, f"{n:,}", _ended(point), trend.get(end.trend, end.trend), shown(end.change),
                         shown(point.interval(metric)), *cells])  # fmt: skip
    caption = (f"Does {label(metric)} still {'rise' if up else 'fall'} at the end? Change: from the last point within "
               "three quarters of the training to its end. Unknown: its middle was not scored. The best checkpoint was "
               "chosen on validation puzzles; where it is surely better than the last, the model was trained for too "
               "long.")  # fmt: skip
    headings = ["model", "examples per rule", "ended", "trend", "change", "last checkpoint", "best checkpoint",
                "best less last"]  # fmt: skip
    return [Table(headings, rows, caption)] if rows else []


def _ended(point: Point) -> str:
    steps = sorted({run.step for run in point.runs if run.step is not None})
    stopped = [run for run in point.runs if run.is_cut]
    if not steps:
        return DASH
    at = f"at step {steps[0]:,}" + (f" to {steps[-1]:,}" if len(steps) > 1 else "")
    planned = f" of {point.first.max_steps:,}, by a limit" if stopped and point.first.max_steps else ""
    return at + planned


def against_cost(variants: Sequence[Variant], samples: int, question: Question, prefix: str) -> list[Block]:
    """Points at one number of examples by what their training cost, and what a year of use would."""
    look, panels = looks_of(variants), []
    points = [(variant, point) for variant in variants if (point := variant.points.get(samples))]
    points = [(variant, point) for variant, point in points if point.having(question.metric)]
    names = _names_of_lines([variant for variant, _ in points])
    for cost, xlabel in COSTS.items():
        lines = []
        for (variant, point), name in zip(points, names, strict=True):
            spent, interval = point.spent(cost), point.interval(question.metric)
            if spent and interval:
                lines.append(Line(name, {spent: interval}, look[variant.first.architecture or ""], "marks"))
        if svg := figures.chart(lines, xlabel, label(question.metric)):
            many = f"{len(lines)} point{'s' * (len(lines) > 1)}"
            alt = f"{label(question.metric)} against {xlabel}, {many}, in numbers below"
            panels.append(Panel(f"{prefix}cost-{cost}", svg, alt))
    if not panels:
        return []
    rows = [[name, *_bill_row(variant, point, question)] for (variant, point), name in zip(points, names, strict=True)]
    headings = ["mark", "model", label(question.metric), "FLOPs", "device-hours", "money", "device-seconds a puzzle",
                "first year's total"]  # fmt: skip
    missing = [xlabel for cost, xlabel in COSTS.items() if not any(point.spent(cost) for _, point in points)]
    absent = f" Not known of any run: {', '.join(missing)}." if missing else ""
    caption = (f"On {samples:,} examples per rule. Each mark is the mean of a model's repeats, of the cost of one "
               f"training and {label(question.metric)}; up and to the left is better. {INTERVALS}{absent}")  # fmt: skip
    return [Picture(panels, caption, Table(headings, rows)), Text(_formula(question))]


def _bill_row(variant: Variant, point: Point, question: Question) -> list[str]:
    of = bill(point, point, question.asked, question.prices)
    flops, money, total, each = point.spent("flops"), point.spent("money"), of.total, of.seconds_each
    return [
        variant.label, shown(point.interval(question.metric)),
        DASH if flops is None else short(flops),
        DASH if of.training_hours is None else hours(of.training_hours).removesuffix(" device-hours"),
        DASH if money is None else f"{money:,.2f}", DASH if each is None else f"{each:.2g}",
        DASH if total is None or of.writing_hours is None else f"{total:,.2f}",
    ]  # fmt: skip


def _formula(question: Question) -> str:
    prices = question.prices
    known = [f"{name} {value:,}" for name, value in (("--price", prices.device_hour),
             ("--puzzles-per-year", prices.puzzles_per_year), ("--review-price", prices.review_price))
             if value is not None]  # fmt: skip
    given = f"Given: {', '.join(known)}." if known else "Give --price and --puzzles-per-year to see it."
    return ("First year's total = training + puzzles a year x cost of a puzzle written + share sent to review x price "
            f"of a review. {given} The share sent to review is what `genraven calibrate` found at {MAX_ERROR:.0%} "
            "error for puzzles like its own, and a puzzle is then written as it was calibrated, several candidates "
            "with their confidence, which `genraven evaluate --trust` times. Of models that were not calibrated, "
            "review is left out, and a puzzle is written once. Where no writing was timed there is no "
            "total.")  # fmt: skip
