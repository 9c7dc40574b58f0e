"""The page's parts on quality: against examples and size, forecast, collapse, rules, transfer, every score."""

import math
from collections.abc import Iterable, Mapping, Sequence

from genraven.metrics.intervals import Interval
from genraven.metrics.table import label, main_names
from genraven.networks.prior import GENERAL
from genraven.report import figures
from genraven.report.collapse import collapses
from genraven.report.contest import Choice, by_examples, groups
from genraven.report.figures import Line, looks
from genraven.report.forecast import Forecast
from genraven.report.goals import GOALS
from genraven.report.page import Block, Panel, Picture, Table, Text
from genraven.report.points import Point, Variant, foretell
from genraven.report.published import SOURCE, Published, published
from genraven.report.question import Question
from genraven.report.runs import Result

INTERVALS = "Bars and brackets are 95% intervals over runs and puzzles; of one run, over its puzzles alone."
DASH = "–"
DIFFERENT = GOALS["generation"].score


def shown(interval: object) -> str:
    """A score in a table; a dash where it is missing."""
    return DASH if interval is None else str(interval)


def count(number: float | None) -> str:
    """A whole number; a dash where it is missing."""
    return DASH if number is None else f"{number:,.0f}"


def main_and(asked: str) -> tuple[str, ...]:
    """The main scores, and the one that is asked for."""
    return tuple(dict.fromkeys([*main_names(), asked]))


def main_scores(results: Iterable[Result], asked: str) -> tuple[str, ...]:
    """The scores for short tables; without different puzzles, where these were not yet counted when all were scored."""
    counted = any(DIFFERENT in result.scores for result in results)
    return tuple(metric for metric in main_and(asked) if counted or metric != DIFFERENT)


def looks_of(variants: Sequence[Variant]) -> dict[str, tuple[str, str]]:
    """Colours and marks of these architectures and of the study's."""
    return looks([*groups(variants, "architecture"), *(row.architecture for row in published())])


def _is_beside_study(variants: Sequence[Variant]) -> bool:
    """Are they of the prior that the study's models have?"""
    return all(variant.first.prior == GENERAL for variant in variants)


def standing_for(fields: Mapping[int, Mapping[str, Choice]], name: str) -> dict[int, Choice]:
    """By examples, who stands for one family or architecture."""
    return {size: field[name] for size, field in fields.items() if name in field}


# Examples ------------------------------------------------------------------------------------------------------------


def against_examples(variants: Sequence[Variant], asked: str, prefix: str) -> list[Block]:
    """Each architecture's curve, all other points and runs as dots, the study's dashed."""
    look, panels, rows = looks_of(variants), [], []
    for metric in main_and(asked):
        lines = _study_lines(metric, look) if _is_beside_study(variants) else []
        fields, told = by_examples(variants, metric, by="architecture"), []
        for name in groups(variants, "architecture"):
            chosen = {size: choice.point for size, choice in standing_for(fields, name).items()}
            points = {float(n): interval for n, point in chosen.items() if (interval := point.interval(metric))}
            lines += [Line(name, points, look[name]), *_dots(variants, name, metric, look[name])]
            told += [f"{name} {', '.join(f'{i.value:.2f} at {n:,.0f}' for n, i in points.items())}"] if points else []
        if told and (svg := figures.chart(lines, "examples per rule", label(metric))):
            alt = f"{label(metric)} against examples per rule: {'; '.join(told)}"
            panels.append(Panel(f"{prefix}examples-{metric}", svg, alt))
    results = [result for variant in variants for point in variant.points.values() for result in point.results]
    main = main_scores(results, asked)
    for variant in variants:
        for n, point in variant.points.items():
            scores = [shown(point.interval(metric)) for metric in main]
            rows.append([variant.label, f"{n:,}", count(_in_all(point)), *scores, num_runs(point), _puzzles(point),
                         point.split])  # fmt: skip
    if not panels:
        return []
    caption = ("Look for the line that is highest at the examples you have, and for lines that cross. Each line joins "
               "the means of an architecture's repeats, of the model and checkpoint chosen on validation puzzles; "
               f"dots are single runs at their ends. {INTERVALS}")  # fmt: skip
    if _is_beside_study(variants):
        caption += (f" Dashed, hollow: the study ({SOURCE}), its best models at 40 rules and a million steps, without "
                    "counts and without novel C3.")  # fmt: skip
    headings = ["model", "examples per rule", "in all", *map(label, main), "runs", "puzzles", "of"]
    of_all = "Every model and recipe: means of repeats at the end of their trainings."
    return [Picture(panels, caption, Table(headings, rows, of_all))]


def _in_all(point: Point) -> int | None:
    rules = point.first.num_rules
    return point.samples * rules if point.samples and rules else None


def num_runs(point: Point) -> str:
    """How many there are, and how many have a main score that not all have."""
    having = {metric: len(found.runs) for metric in main_names() if (found := point.having(metric))}
    fewer = [f"{label(metric)} of {num}" for metric, num in having.items() if num < len(point.runs)]
    return ", ".join([str(len(point.runs)), *fewer])


def _puzzles(point: Point) -> str:
    counts = {
        share.count for result in point.results for metric in main_names() if (share := result.scores.get(metric))
    }
    return " / ".join(f"{number:,}" for number in sorted(counts)) + (" each" if len(point.runs) > 1 else "")


def _dots(variants: Sequence[Variant], name: str, metric: str, look: tuple[str, str]) -> list[Line]:
    return [
        Line(
            name, {float(run.samples_per_rule): Interval(measured.value, measured.value, measured.value)}, look, "dots"
        )
        for variant in variants
        if variant.first.architecture == name
        for run in variant.runs
        if run.samples_per_rule and run.final and (measured := run.final.measured(metric))
    ]


def _study_lines(metric: str, look: Mapping[str, tuple[str, str]]) -> list[Line]:
    best: dict[str, dict[float, Interval]] = {}
    for row in published():
        value = row.scores.get(metric)
        known = best.setdefault(row.architecture, {}).get(row.samples_per_rule)
        if value is not None and (known is None or value > known.value):
            best[row.architecture][row.samples_per_rule] = Interval(value, value, value)
    return [
        Line(_of_study(name), dict(sorted(points.items())), look[name], "reference") for name, points in best.items()
    ]


def _of_study(architecture: str) -> str:
    return f"{architecture}, study"


# Forecast ------------------------------------------------------------------------------------------------------------


def forecasts(variants: Sequence[Variant], question: Question, prefix: str) -> list[Block]:
    """Each family's line beyond what was measured, where it has proved itself."""
    metric, fields = question.metric, by_examples(variants, question.metric)
    look = looks(groups(variants))
    lines, rows, told = [], [], []
    for name in groups(variants):
        chosen = {n: choice.point for n, choice in standing_for(fields, name).items()}
        if not chosen:
            continue
        one = foretell(chosen, metric)
        points = {float(n): interval for n, point in chosen.items() if (interval := point.interval(metric))}
        lines.append(Line(name, points, look[name]))
        if one.is_shown and one.line:
            lines.append(Line(name, _ahead(one), look[name], "band"))
        rows.append([name, *(_told(one, n) for n in _future(one, question)), one.refusal or "shown"])
        told.append(f"{name}: {one.refusal or 'shown'}")
    if not rows or not any(line.kind == "band" for line in lines):
        return [Text("No forecast is shown. " + ". ".join(told) + ".")] if told else []
    svg = figures.chart(lines, "examples per rule", label(metric))
    assert svg is not None
    alt = f"{label(metric)} against examples per rule, measured and forecast: {'; '.join(told)}"
    caption = ("Dotted, with its 80% interval: what a straight line in log odds over the logarithm of examples says of "
               "sizes not measured. Shown where it foretold the largest measured size, that one hidden.")  # fmt: skip
    last = max(max(line.points) for line in lines if line.kind == "line")
    headings = ["family", *(f"{n:,.0f} examples" for n in (2 * last, 4 * last)), "how it did"]
    return [Picture([Panel(f"{prefix}forecast", svg, alt)], caption, Table(headings, rows))]


def _future(one: Forecast, question: Question) -> tuple[float, float]:
    last = max(one.scores)
    return 2 * last, 4 * last


def _told(one: Forecast, examples: float) -> str:
    at = one.line.at(examples) if one.line and one.is_shown else None
    return DASH if at is None else f"{at.value:.2f} [{at.low:.2f}, {at.high:.2f}]"


def _ahead(one: Forecast) -> dict[float, Interval]:
    last = max(one.scores)
    assert one.line is not None
    return {last * 2.0 ** (k / 4): one.line.at(last * 2.0 ** (k / 4)) for k in range(13)}


# Size ----------------------------------------------------------------------------------------------------------------


def nearest(variants: Sequence[Variant], examples: int) -> int | None:
    """The measured number of examples next to the question's."""
    sizes = {n for variant in variants for n in variant.points}
    return min(sizes, key=lambda n: (abs(math.log(n / examples)), n), default=None)


def against_size(variants: Sequence[Variant], samples: int, asked: str, prefix: str) -> list[Block]:
    """Points at one number of examples by parameters, the study's hollow."""
    look, panels, rows = looks_of(variants), [], []
    having = [(variant, variant.points[samples]) for variant in variants if samples in variant.points]
    having = [(variant, point) for variant, point in having if variant.first.parameters]
    for metric in main_and(asked):
        lines, told = _study_marks(metric, samples, look) if _is_beside_study(variants) else [], []
        for variant, point in having:
            interval, name = point.interval(metric), variant.first.architecture or ""
            if interval:
                lines.append(Line(name, {float(variant.first.parameters or 0): interval}, look[name], "marks"))
                told.append(f"{variant.label} {interval.value:.2f}")
        if told and (svg := figures.chart(lines, "parameters", label(metric))):
            alt = f"{label(metric)} against parameters: {'; '.join(told)}"
            panels.append(Panel(f"{prefix}size-{metric}", svg, alt))
    main = main_scores((result for _, point in having for result in point.results), asked)
    for variant, point in having:
        rows.append([variant.label, *(shown(point.interval(metric)) for metric in main), num_runs(point)])
    caption = (f"Models on {samples:,} examples per rule, the measured number nearest to the question's. Does a larger "
               f"one of the same colour help? {INTERVALS}")  # fmt: skip
    if _is_beside_study(variants):
        caption += (" Hollow: the study's models at the nearest number of examples, which are far larger and learned "
                    "40 rules.")  # fmt: skip
    table = Table(["model", *map(label, main), "runs"], rows)
    return [Picture(panels, caption, table)] if panels else []


def _study_marks(metric: str, samples: int, look: Mapping[str, tuple[str, str]]) -> list[Line]:
    rows: list[Published] = [row for row in published() if row.parameters and metric in row.scores]
    near = min({row.samples_per_rule for row in rows}, key=lambda n: abs(math.log(n / samples)), default=0)
    return [
        Line(_of_study(row.architecture), {float(row.parameters or 0): Interval(*[row.scores[metric]] * 3)},
             look[row.architecture], "reference")
        for row in rows
        if row.samples_per_rule == near
    ]  # fmt: skip


# Collapse, rules -----------------------------------------------------------------------------------------------------


def collapsed(variants: Sequence[Variant]) -> list[Block]:
    """A table, or that there was none."""
    if not variants:
        return []
    rows = [[one.label, count(one.point.samples), one.kind, one.detail] for one in collapses(variants)]
    if not rows:
        return [Text("No model fell below half of what it reaches with more examples, none memorised half of its "
                     "consistent puzzles, none is seen to have written half of its new ones again, and no signal "
                     "crossed its threshold in training.")]  # fmt: skip
    caption = ("Falls: surely below half of what the same model reaches with more examples. Memorises: surely less "
               "than half of C3 is new. Repeats itself: surely less than half of novel C3 is different. While "
               "training: a signal of the collapse watch.")  # fmt: skip
    return [Table(["model", "examples per rule", "what", "seen"], rows, caption)]


def by_rule(variants: Sequence[Variant], samples: int, metric: str, prefix: str) -> list[Block]:
    """One panel for each architecture: completion of each rule against how often it is generated."""
    field = by_examples(variants, metric, by="architecture").get(samples, {})
    panels, said, rows = [], [], []
    for name, choice in field.items():
        shares = _per_rule(choice.point)
        if not shares:
            continue
        told = "; ".join(f"{rule} {c3:.2f}, {done:.2f}" for rule, (c3, done) in shares.items())
        alt = f"{choice.label}: C3 and completion of each rule: {told}"
        panels.append(Panel(f"{prefix}rules-{name}", figures.per_rule(shares, looks_of(variants)[name]), alt))
        said.append(f"{choice.label}: {_correlations(choice.point)}")
        rows += [[choice.label, rule, f"{c3:.3f}", f"{done:.3f}"] for rule, (c3, done) in shares.items()]
    caption = (f"One panel for each architecture on {samples:,} examples per rule, one mark for each rule, means of "
               f"repeats. Does a model complete best what it generates most? Pearson's r: "
               f"{'; '.join(said)}.")  # fmt: skip
    if _is_beside_study(variants):
        caption += " The study saw about 0.8 in its models."
    table = Table(["model", "rule", "C3", "completion"], rows)
    return [Picture(panels, caption, table)] if panels else []


def _per_rule(point: Point) -> dict[str, tuple[float, float]]:
    """C3 and completion of each rule that all repeats were scored on."""
    of_runs = [result.per_rule for result in point.results]
    shared = [rule for rule in of_runs[0] if all(rule in found for found in of_runs)]
    return {rule: (mean(found[rule][0].value for found in of_runs), mean(found[rule][1].value for found in of_runs))
            for rule in shared}  # fmt: skip


def mean(values: Iterable[float]) -> float:
    """Of one value or more."""
    listed = list(values)
    return sum(listed) / len(listed)


def _correlations(point: Point) -> str:
    found = [result.correlation for result in point.results if result.correlation]
    if not found:
        return "none, since one of the two does not vary or there are fewer than three rules"
    values = ", ".join(f"{r['value']:.2f}" for r in found)
    return f"{values} over {found[0]['count']} rules"
