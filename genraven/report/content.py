"""What the report says: the answer first, then the evidence, one part for each data set."""

import json
import os
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from genraven.report import figures
from genraven.report.curves import LABELS, by_architecture, collapses, curve, shown
from genraven.report.page import Block, Cell, Items, Link, Page, Panel, Picture, Section, Table, Text
from genraven.report.published import SOURCE, published
from genraven.report.recommend import recommend
from genraven.report.runs import Run
from genraven.report.sentences import FAMILIES, Question, describe, hours, size

QUALITIES = ("completion", "c3", "novel_c3")
COSTS = {"device_hours": "device-hours of training", "flops": "FLOPs of training", "money": "money for training"}
INTERVALS = "Bars and brackets are 95% Wilson intervals."


def compose(runs: Sequence[Run], notes: Sequence[str], ask: Callable[[Sequence[Run]], Question], home: Path) -> Page:
    """The whole page.

    Args:
        runs: of any state and any data sets.
        notes: what was passed over.
        ask: the question for the runs of one data set.
        home: the folder of the page, from which runs are linked that lie within.
    """
    finished = Counter(run.dataset for run in runs if run.is_evidence)
    datasets = sorted({run.dataset for run in runs}, key=lambda dataset: (-finished[dataset], dataset))
    sections: list[Section] = []
    for number, dataset in enumerate(datasets, 1):
        group = [run for run in runs if run.dataset == dataset]
        mark = f"{number}. " if len(datasets) > 1 else ""
        sections += _part(group, ask(group), mark, home, prefix=f"{number}-" if mark else "")
    if len(datasets) > 1:
        listed = [(dataset or "data not known", ()) for dataset in datasets]
        said = Text("The runs learn from different data sets, which are not compared with each other. In order:")
        sections.insert(0, Section(f"{len(datasets)} data sets", [said, Items(listed)]))
    if notes:
        sections.append(Section("Passed over", [Items([(note, ()) for note in notes])]))
    return Page("Diffusion or autoregressive? What these runs say", sections)


def default_examples(runs: Iterable[Run], metric: str) -> int | None:
    """The most examples per rule that all families were measured with; else the most of any; None without runs."""
    measured = [set(curve([run for run in runs if run.family == name], metric)) for name in FAMILIES]
    shared, either = set.intersection(*measured), set.union(*measured)
    return max(shared or either, default=None)


def _part(runs: list[Run], question: Question, mark: str, home: Path, prefix: str) -> list[Section]:
    """All sections of one data set."""
    evidence = [
        (_samples(runs, prefix), "Quality against examples"),
        (_sizes(runs, question, prefix), "Quality against model size"),
        (_collapses(runs), "Where it collapses"),
        (_rules(runs, question, prefix), "Rules generated and rules completed"),
        (_costs(runs, question, prefix), "Quality against cost"),
        (_samplers(runs), "Samplers and steps"),
        (_table(runs, home), "All runs"),
    ]
    return [_answer(runs, question, mark), *(Section(mark + title, blocks) for blocks, title in evidence if blocks)]


def _answer(runs: Sequence[Run], question: Question, mark: str) -> Section:
    advice = recommend(runs, question)
    budget = (
        ""
        if question.budget is None
        else (f", trained with at most {question.budget:g} " + ("of money" if question.in_money else "device-hours"))
    )
    asked = (f"Asked: {question.goal}, {question.examples:,} examples per rule, times {question.growth:g} in a "
             f"year{budget}. {runs[0].dataset.capitalize() or 'Data set not known'}.")  # fmt: skip
    items = Items([(finding.text, finding.runs) for finding in advice.findings])
    return Section(mark + advice.headline, [items, Text(asked)], is_answer=True)


def _samples(runs: Sequence[Run], prefix: str) -> list[Block]:
    study, panels, lines = published(), [], []
    for metric in QUALITIES:
        svg = figures.against_samples(runs, study, metric)
        if svg:
            panels.append(Panel(f"{prefix}examples-{metric}", svg, f"{LABELS[metric]} against examples per rule: "
                                + _told(runs, metric)))  # fmt: skip
    for name, group in by_architecture(runs).items():
        for n in sorted({run.samples_per_rule for run in group if run.samples_per_rule and run.is_evidence}):
            best = {metric: curve(group, metric).get(n) for metric in QUALITIES}
            scores = [shown(run.scores[metric] if run else None) for metric, run in best.items()]
            counts = {run.scores[metric].count for metric, run in best.items() if run}
            lines.append([name, f"{n:,}", *scores, " / ".join(f"{count:,}" for count in sorted(counts))])
    if not panels:
        return []
    caption = ("Look for the line that is highest at the examples you have, and for lines that cross. Each line "
               f"joins the best run of an architecture; dots are its other runs. {INTERVALS} Dashed, hollow: the "
               f"study ({SOURCE}; circles GPT-2, squares Mamba, triangles SiT, diamonds DiT, triangles on their tip "
               "EDM), its best models at 40 rules and a million steps, without counts and without novel "
               "C3.")  # fmt: skip
    table = Table(["architecture", "examples per rule", *(LABELS[metric] for metric in QUALITIES), "puzzles"], lines,
                  "The same in numbers: the best run for each score.")  # fmt: skip
    return [Picture(panels, caption), table]


def _told(runs: Sequence[Run], metric: str) -> str:
    """A picture in words: each curve's values."""
    told = []
    for name, group in by_architecture(runs).items():
        points = curve(group, metric)
        if points:
            told.append(f"{name} " + ", ".join(f"{run.scores[metric].value:.2f} at {n:,}" for n, run in points.items()))
    return "; ".join(told)


def _sizes(runs: Sequence[Run], question: Question, prefix: str) -> list[Block]:
    measured = sorted({run.samples_per_rule for run in runs if run.samples_per_rule and run.is_evidence})
    if not measured:
        return []
    samples = min(measured, key=lambda n: (abs(n - question.examples), n))
    panels = []
    for metric in QUALITIES:
        svg = figures.against_parameters(runs, published(), metric, samples)
        if svg:
            at = [run for run in runs if run.samples_per_rule == samples and run.is_evidence and metric in run.scores]
            told = "; ".join(f"{describe(run)} {run.scores[metric].value:.2f}" for run in at)
            panels.append(Panel(f"{prefix}size-{metric}", svg, f"{LABELS[metric]} against parameters: {told}"))
    caption = (f"Runs on {samples:,} examples per rule, the measured number nearest to the question's. Does a larger "
               f"model of the same colour help? {INTERVALS} Hollow: the study's models at the nearest size of data, "
               "which are far larger and learned 40 rules.")  # fmt: skip
    return [Picture(panels, caption)] if panels else []


def _collapses(runs: Sequence[Run]) -> list[Block]:
    found = collapses(runs)
    if not any(run.is_evidence for run in runs):
        return []
    if not found:
        return [Text("No finished run fell below half of what its model reaches with more examples, none memorised "
                     "half of its consistent puzzles, and no signal crossed its threshold in training.")]  # fmt: skip
    lines = [
        [
            item.run.architecture or "–",
            size(item.run.parameters),
            _count(item.run.samples_per_rule),
            item.kind,
            item.detail,
        ]
        for item in found
    ]
    caption = ("Falls: surely below half of what the same model reaches with more examples. Memorises: surely less "
               "than half of C3 is new. While training: a signal of the collapse watch.")  # fmt: skip
    return [Table(["architecture", "size", "examples per rule", "what", "seen"], lines, caption)]


def _count(number: float | None) -> str:
    return "–" if number is None else f"{number:,.0f}"


def _rules(runs: Sequence[Run], question: Question, prefix: str) -> list[Block]:
    panels, said = [], []
    for name, group in by_architecture(runs).items():
        with_rules = [run for run in group if run.is_evidence and run.per_rule and question.metric in run.scores]
        best = max(with_rules, key=lambda run: run.scores[question.metric].value, default=None)
        svg = figures.per_rule(best) if best else None
        if best is None or svg is None:
            continue
        told = "; ".join(f"{rule} {c3.value:.2f}, {done.value:.2f}" for rule, (c3, done) in best.per_rule.items())
        panels.append(Panel(f"{prefix}rules-{name}", svg, f"{best.name}: C3 and completion of each rule: {told}"))
        said.append(f"{best.name}: {_correlation(best)}")
    if not panels:
        return []
    caption = ("One panel for the best run of each architecture, one mark for each rule. Does a model complete best "
               f"what it generates most? Pearson's r: {'; '.join(said)}. "
               "The study saw about 0.8 in its models.")  # fmt: skip
    return [Picture(panels, caption)]


def _correlation(run: Run) -> str:
    r = run.correlation
    if not r:
        return "none, since one of the two does not vary or there are fewer than three rules"
    interval = r.get("interval95")
    between = f", 95% interval {interval[0]:.2f} to {interval[1]:.2f}" if interval else ", too few for an interval"
    return f"{r['value']:.2f} over {r['count']} rules{between}"


def _costs(runs: Sequence[Run], question: Question, prefix: str) -> list[Block]:
    panels, best = [], ""
    for cost, label in COSTS.items():
        svg = figures.against_cost(runs, question.metric, cost, label)
        if svg:
            known = {
                run.name: (getattr(run, cost), run.scores[question.metric].value)
                for run in runs
                if run.is_evidence and question.metric in run.scores and getattr(run, cost)
            }
            front = ", ".join(figures.pareto_front(known))
            panels.append(
                Panel(f"{prefix}cost-{cost}", svg, f"{LABELS[question.metric]} against {label}; front: {front}")
            )
            best = best or f" By {label}: {front}."
    missing = [label for cost, label in COSTS.items() if not any(getattr(run, cost) for run in runs)]
    absent = f" Not known of any run: {', '.join(missing)}." if missing else ""
    caption = (f"Each mark is a run, of training cost and {LABELS[question.metric]}; up and to the left is better. "
               "The grey step is the Pareto front: no run on it is beaten by a cheaper one. "
               f"{INTERVALS}{best}{absent}")  # fmt: skip
    return [Picture(panels, caption)] if panels else []


def _samplers(runs: Sequence[Run]) -> list[Block]:
    """Every result of the runs that were evaluated in several ways."""
    lines = []
    for run in runs:
        ways = {json.dumps(result["sampling"], sort_keys=True): result for result in run.evaluations}
        if len(ways) < 2:
            continue
        for result in ways.values():
            sampling, passes = result["sampling"], result.get("network_passes_per_puzzle") or {}
            cells = [_metric(result, metric) for metric in QUALITIES]
            took = (result.get("seconds") or {}).get("generate")
            lines.append([run.name, sampling.get("sampler") or "–", _count(sampling.get("num_sampling_steps")),
                          _count(passes.get("generate")), *cells, "–" if took is None else f"{took:.1f}"])  # fmt: skip
    headings = ["run", "sampler", "steps", "network passes a puzzle", *(LABELS[metric] for metric in QUALITIES),
                "seconds to generate"]  # fmt: skip
    return [Table(headings, lines, "Runs that were evaluated in several ways.")] if lines else []


def _metric(result: object, metric: str) -> str:
    assert isinstance(result, dict)
    cell = result["metrics"].get(metric)
    return "–" if cell is None else "{:.3f} [{:.3f}, {:.3f}]".format(cell["value"], *cell["interval95"])


def _table(runs: Sequence[Run], home: Path) -> list[Block]:
    lines: list[list[Cell]] = []
    for run in sorted(runs, key=lambda run: (run.architecture or "~", run.parameters or 0, run.samples_per_rule or 0)):
        count = max((score.count for score in run.scores.values()), default=None)
        lines.append([
            _link(run, home), run.state if run.state != "new" else "never started", run.architecture or "–",
            size(run.parameters).removesuffix(" parameters"), _count(run.samples_per_rule), _count(run.step),
            *(shown(run.scores.get(metric)) for metric in QUALITIES), _count(count), run.split or "–",
            "–" if run.device_hours is None else hours(run.device_hours).removesuffix(" device-hours"),
            "–" if run.flops is None else figures.short(run.flops),
            "–" if run.money is None else f"{run.money:.2f}", ", ".join(run.collapse) or "–", run.message,
        ])  # fmt: skip
    headings = ["run", "state", "architecture", "size", "examples per rule", "step",
                *(LABELS[metric] for metric in QUALITIES), "puzzles", "of", "device-hours", "FLOPs", "money",
                "collapse", "message"]  # fmt: skip
    done = sum(run.is_evidence for run in runs)
    splits = {run.split for run in runs if run.is_evidence}
    note = (
        " Scores of val are of the last validation: genraven evaluate scores test puzzles." if "val" in splits else ""
    )
    caption = (f"{done} of {len(runs)} runs have finished and have scores; only these are compared. A dash is what "
               f"is missing. Brackets are 95% Wilson intervals.{note}")  # fmt: skip
    return [Table(headings, lines, caption)]


def _link(run: Run, home: Path) -> Cell:
    if run.path is None or not run.path.resolve().is_relative_to(home.resolve()):
        return run.name
    return Link(run.name, Path(os.path.relpath(run.path.resolve(), home.resolve())).as_posix())
