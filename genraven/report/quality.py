"""The page's parts on quality: against examples and size, forecast, rules, transfer, every score."""

import math
from collections.abc import Iterable, Mapping, Sequence

from genraven.metrics.intervals import Interval
from genraven.metrics.table import SCORES, label, main_names
from genraven.networks.prior import GENERAL
from genraven.report import figures
from genraven.report.contest import Choice, by_examples, groups
from genraven.report.english import DASH, count, headings, sentence, shown
from genraven.report.figures import Line, looks
from genraven.report.forecast import Forecast
from genraven.report.goals import GOALS
from genraven.report.page import Block, Facts, Item, Panel, Picture, Table, Text
from genraven.report.points import Point, Variant, compare, forecast_from
from genraven.report.published import SOURCE, Published, beside, published
from genraven.report.question import Question
from genraven.report.runs import INIT, Result

FURTHEST = 4
"""Times the most examples that a family was measured with: no further does the table of forecasts look."""

DIFFERENT = GOALS["generation"].score


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


def _beside(variants: Sequence[Variant]) -> list[Published]:
    """The study's models that learned what these did, which are all of one data set and prior."""
    return beside(variants[0].first.dataset, variants[0].first.prior) if variants else []


def standing_for(fields: Mapping[int, Mapping[str, Choice]], name: str) -> dict[int, Choice]:
    """By examples, who stands for one family or architecture."""
    return {size: field[name] for size, field in fields.items() if name in field}


# Examples ------------------------------------------------------------------------------------------------------------


def against_examples(variants: Sequence[Variant], asked: str, prefix: str) -> list[Block]:
    """Each architecture's curve, all other points and runs as dots, the study's dashed."""
    look, panels, rows, xlabel = looks_of(variants), [], [], sentence("axis", name="examples")
    for metric in main_and(asked):
        lines = _study_lines(_beside(variants), metric, look)
        fields, texts = by_examples(variants, metric, by="architecture"), []
        for name in groups(variants, "architecture"):
            chosen = {size: choice.point for size, choice in standing_for(fields, name).items()}
            points = {float(n): interval for n, point in chosen.items() if (interval := point.interval(metric))}
            lines += [Line(name, points, look[name]), *_dots(variants, name, metric, look[name])]
            texts += [f"{name} {figures.in_words(points, count)}"] if points else []
        if texts and (svg := figures.chart(lines, xlabel, label(metric))):
            alt = sentence("chart", score=label(metric), axis=xlabel, texts=texts, is_forecast=False)
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
    is_beside, is_general = bool(_beside(variants)), variants[0].first.prior == GENERAL
    caption = sentence("examples", source=SOURCE, is_beside=is_beside, is_general=is_general)
    table = Table(headings("examples", map(label, main)), rows, sentence("examples_rows"))
    return [Picture(panels, caption, table)]


def _in_all(point: Point) -> int | None:
    rules = point.first.num_rules
    return point.samples * rules if point.samples and rules else None


def num_runs(point: Point) -> str:
    """How many there are, and how many have a main score that not all have."""
    having = {metric: len(found.runs) for metric in main_names() if (found := point.having(metric))}
    fewer = [
        sentence("fewer_runs", score=label(metric), num=num) for metric, num in having.items() if num < len(point.runs)
    ]
    return ", ".join([str(len(point.runs)), *fewer])


def _puzzles(point: Point) -> str:
    counts = {
        fraction.count for result in point.results for metric in main_names() if (fraction := result.scores.get(metric))
    }
    return sentence("puzzles", counts=list(map(count, sorted(counts))), are_several=len(point.runs) > 1)


def _dots(variants: Sequence[Variant], name: str, metric: str, look: tuple[str, str]) -> list[Line]:
    return [
        Line(name, {float(run.samples_per_rule): Interval.exactly(measured.value)}, look, "dots")
        for variant in variants
        if variant.first.architecture == name
        for run in variant.runs
        if run.samples_per_rule and run.final and (measured := run.final.measured(metric))
    ]


def _study_lines(rows: Iterable[Published], metric: str, look: Mapping[str, tuple[str, str]]) -> list[Line]:
    best: dict[str, dict[float, Interval]] = {}
    for row in rows:
        value = row.scores.get(metric)
        known = best.setdefault(row.architecture, {}).get(row.samples_per_rule)
        if value is not None and (known is None or value > known.value):
            best[row.architecture][row.samples_per_rule] = Interval.exactly(value)
    return [_study_line(name, dict(sorted(points.items())), look) for name, points in best.items()]


def _study_line(architecture: str, points: Mapping[float, Interval], look: Mapping[str, tuple[str, str]]) -> Line:
    return Line(sentence("of_study", architecture=architecture), points, look[architecture], "reference")


# Forecast ------------------------------------------------------------------------------------------------------------


def forecasts(variants: Sequence[Variant], question: Question, prefix: str) -> list[Block]:
    """Each family's line beyond what was measured, where it has proved itself."""
    metric, fields = question.metric, by_examples(variants, question.metric)
    look = looks(groups(variants))
    lines, rows, texts, xlabel = [], [], [], sentence("axis", name="examples")
    for name in groups(variants):
        chosen = {n: choice.point for n, choice in standing_for(fields, name).items()}
        if not chosen:
            continue
        one = forecast_from(chosen, metric)
        points = {float(n): interval for n, point in chosen.items() if (interval := point.interval(metric))}
        lines.append(Line(name, points, look[name]))
        if one.is_shown and one.line:
            lines.append(Line(name, _ahead(one), look[name], "band"))
        did = one.refusal or sentence("forecast_shown")
        rows.append((name, one, did))
        texts.append(f"{name}: {did}")
    if not rows or not any(line.kind == "band" for line in lines):
        return [Text(sentence("forecasts_not_shown", texts=texts))] if texts else []
    svg = figures.chart(lines, xlabel, label(metric))
    assert svg is not None
    alt = sentence("chart", score=label(metric), axis=xlabel, texts=texts, is_forecast=True)
    last = max(max(one.scores) for _, one, _ in rows)
    future = 2 * last, FURTHEST * last
    columns = [sentence("forecast_at", examples=f"{n:,.0f}") for n in future]
    of_families = [[name, *(_forecast_at(one, n) for n in future), did] for name, one, did in rows]
    panel = Panel(f"{prefix}forecast", svg, alt)
    return [Picture([panel], sentence("forecasts"), Table(headings("forecasts", columns), of_families))]


def _forecast_at(one: Forecast, examples: float) -> str:
    """A dash further from what was measured than the table looks."""
    at = one.line.at(examples) if one.line and one.is_shown and examples <= FURTHEST * max(one.scores) else None
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
    look, panels, rows, xlabel = looks_of(variants), [], [], sentence("axis", name="parameters")
    having = [(variant, variant.points[samples]) for variant in variants if samples in variant.points]
    having = [(variant, point) for variant, point in having if variant.first.parameters]
    for metric in main_and(asked):
        lines, texts = _study_marks(_beside(variants), metric, samples, look), []
        for variant, point in having:
            interval, name = point.interval(metric), variant.first.architecture or ""
            if interval:
                lines.append(Line(name, {float(variant.first.parameters or 0): interval}, look[name], "marks"))
                texts.append(f"{variant.label} {interval.value:.2f}")
        if texts and (svg := figures.chart(lines, xlabel, label(metric))):
            alt = sentence("chart", score=label(metric), axis=xlabel, texts=texts, is_forecast=False)
            panels.append(Panel(f"{prefix}size-{metric}", svg, alt))
    main = main_scores((result for _, point in having for result in point.results), asked)
    for variant, point in having:
        rows.append([variant.label, *(shown(point.interval(metric)) for metric in main), num_runs(point)])
    caption = sentence("sizes", samples=samples, is_beside_study=bool(_beside(variants)))
    return [Picture(panels, caption, Table(headings("sizes", map(label, main)), rows))] if panels else []


def _study_marks(
    found: Iterable[Published], metric: str, samples: int, look: Mapping[str, tuple[str, str]]
) -> list[Line]:
    rows = [row for row in found if row.parameters and metric in row.scores]
    near = min({row.samples_per_rule for row in rows}, key=lambda n: abs(math.log(n / samples)), default=0)
    return [
        _study_line(row.architecture, {float(row.parameters or 0): Interval.exactly(row.scores[metric])}, look)
        for row in rows
        if row.samples_per_rule == near
    ]


# Rules ---------------------------------------------------------------------------------------------------------------


def by_rule(variants: Sequence[Variant], samples: int, metric: str, prefix: str) -> list[Block]:
    """One panel for each architecture: completion of each rule against how often it is generated."""
    field = by_examples(variants, metric, by="architecture").get(samples, {})
    panels, said, rows = [], [], []
    for name, choice in field.items():
        fractions = _per_rule(choice.point)
        if not fractions:
            continue
        texts = [f"{rule} {c3:.2f}, {done:.2f}" for rule, (c3, done) in fractions.items()]
        alt = sentence("rules_panel", model=choice.label, texts=texts)
        panels.append(Panel(f"{prefix}rules-{name}", figures.per_rule(fractions, looks_of(variants)[name]), alt))
        said.append(f"{choice.label}: {_correlations(choice.point)}")
        rows += [[choice.label, rule, f"{c3:.3f}", f"{done:.3f}"] for rule, (c3, done) in fractions.items()]
    caption = sentence("rules", samples=samples, correlations=said, is_beside_study=bool(_beside(variants)))
    return [Picture(panels, caption, Table(headings("rules"), rows))] if panels else []


def _per_rule(point: Point) -> dict[str, tuple[float, float]]:
    """C3 and completion of each rule that all repeats were scored on."""
    of_runs = [result.per_rule for result in point.results]
    shared = [rule for rule in of_runs[0] if all(rule in found for found in of_runs)]
    return {rule: (mean(found[rule][0].value for found in of_runs), mean(found[rule][1].value for found in of_runs))
            for rule in shared}  # fmt: skip


def mean(values: Iterable[float]) -> float:
    """The mean of one or more values."""
    listed = list(values)
    return sum(listed) / len(listed)


def _correlations(point: Point) -> str:
    found = [result.correlation for result in point.results if result.correlation]
    values = [f"{r['value']:.2f}" for r in found]
    return sentence("correlations", values=values, num_rules=found[0]["count"] if found else 0)


# Transfer, every score -----------------------------------------------------------------------------------------------


def transfer(variants: Sequence[Variant]) -> list[Block]:
    """Completion from a trained model's weights beside that from nothing, by examples."""
    rows = []
    for begun in variants:
        if INIT not in begun.first.settings:
            continue
        fresh = next((one for one in variants if one.is_from_nothing_as(begun)), None)
        for n, point in begun.points.items():
            other = fresh.points.get(n) if fresh else None
            gap = compare(point, other, "completion") if other else None
            rows.append([begun.label, f"{n:,}", shown(point.interval("completion")),
                         shown(other.interval("completion") if other else None), shown(gap),
                         str(len(point.runs))])  # fmt: skip
    return [Table(headings("transfer"), rows, sentence("transfer"))] if rows else []


def every_score(variants: Sequence[Variant]) -> list[Block]:
    """All that was counted, of each point."""
    points = [(variant.label, n, point) for variant in variants for n, point in variant.points.items()]
    counted = [name for name in SCORES if any(_score(point, name) != DASH for _, _, point in points)]
    if not counted:
        return []
    rows = [[name, f"{n:,}", *(_score(point, score) for score in counted)] for name, n, point in points]
    units = {name: f" ({SCORES[name].unit})" if SCORES[name].unit else "" for name in counted}
    columns = [f"{label(name)}{units[name]}" for name in counted]
    about = [(label(name), [Item(sentence("score", over=SCORES[name].counted_over, about=SCORES[name].about))])
             for name in counted]  # fmt: skip
    return [Table(headings("every_score", columns), rows, sentence("every_score")), Facts(about)]


def _score(point: Point, name: str) -> str:
    if SCORES[name].kind == "fraction":
        return shown(point.interval(name))
    values = [number.value for result in point.results if (number := result.numbers.get(name))]
    return f"{mean(values):.3f}" if values else DASH
