"""What the report says: the answer first, then the evidence, one part for each data set."""

import json
import os
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from genraven.escaping import address
from genraven.metrics.table import label
from genraven.networks.prior import STRUCTURED
from genraven.report import budgets, quality
from genraven.report.certainty import certainty, spoilt_givens
from genraven.report.contest import by_examples, groups
from genraven.report.dataset import CLEAN, CORRUPTION
from genraven.report.every_score import every_score, transfer
from genraven.report.likelihood import likelihood
from genraven.report.page import Block, Cell, Facts, Item, Items, Link, Page, Section, Table, Text
from genraven.report.points import Variant, distinct, size, variants
from genraven.report.quality import DASH, count, main_scores, shown
from genraven.report.question import Question
from genraven.report.recommend import Advice, recommend
from genraven.report.runs import Result, Run
from genraven.report.sentences import Finding, first_upper, hours, short
from genraven.report.spoilt_data import against_clean
from genraven.run_folder import BEST

Ask = Callable[[Sequence[Run]], Question]
MEANT = (
    "A structured prior means that the network is given, of each panel, the five sets of attribute values that a rule "
    "speaks of; a rule held out is then a known relation on a new attribute."
)
NO_CONTEST = (
    "A structured model is never held against a general one: they differ in what they were given, whatever their "
    "families."
)
MANY = 8
"""Rules, more than which are counted instead of named."""


def compose(runs: Sequence[Run], notes: Sequence[str], ask: Ask, home: Path) -> Page:
    """The whole page.

    Args:
        runs: of any state and any data sets.
        notes: what was passed over.
        ask: the question for the runs of one data set.
        home: the folder of the page, from which runs are linked that lie within.
    """
    datasets: dict[tuple[tuple[str, str], ...], list[Run]] = {}
    for run in runs:
        datasets.setdefault(tuple(sorted(run.contest.items())), []).append(run)
    finished = Counter({key: sum(run.is_evidence for run in group) for key, group in datasets.items()})
    ordered = sorted(datasets, key=lambda key: (-finished[key], dict(key).get(CORRUPTION) != CLEAN, key))
    priors = {run.prior for run in runs}
    sections: list[Section] = []
    for number, key in enumerate(ordered, 1):
        group = datasets[key]
        mark = f"{number}. " if len(ordered) > 1 else ""
        sections += _part(group, ask(group).of(group), mark, home, prefix=f"{number}-" if mark else "")
    if len(ordered) > 1:
        spoilt = against_clean([(dict(key), datasets[key]) for key in ordered])
        but = ", but for what spoilt data cost" if spoilt else ""
        never = "" if len(priors) == 1 else f"{NO_CONTEST} "
        said = Text(f"The runs learn or are asked different things, which are not compared with each other{but}. "
                    f"{never}They differ in:")  # fmt: skip
        listed = [Item(f"{i}: {text}") for i, text in enumerate(_apart([dict(key) for key in ordered]), 1)]
        kinds = "data sets" if len(priors) == 1 else "groups of runs"
        sections.insert(0, Section(f"{len(ordered)} {kinds}", [said, Items(listed), *spoilt]))
    if notes:
        sections.append(Section("Passed over", [Items([Item(note) for note in notes])]))
    return Page("Diffusion or autoregressive? What these runs say", sections)


def _apart(datasets: Sequence[dict[str, str]]) -> list[str]:
    """Each in the words in which they differ."""
    words = dict.fromkeys(word for one in datasets for word in one)
    differing = [word for word in words if len({one.get(word) for one in datasets}) > 1]
    return ["; ".join(f"{word} {_brief(one.get(word, 'not known'))}" for word in differing) for one in datasets]


def _brief(text: str) -> str:
    names = text.split(", ")
    return text if len(names) <= MANY else f"{len(names)} rules"


def default_examples(runs: Iterable[Run], metric: str) -> int | None:
    """The most examples per rule that all families were measured with; else the most of any; None without runs."""
    found = variants(runs)
    fields = by_examples(found, metric)
    shared = [samples for samples, field in fields.items() if len(field) == len(groups(found))]
    return max(shared or fields, default=None)


def _part(runs: list[Run], question: Question, mark: str, home: Path, prefix: str) -> list[Section]:
    """All sections of one data set."""
    found = variants(runs)
    samples = quality.nearest(found, question.examples)
    advice = recommend(runs, question)
    detail: list[Block] = [Items([_item(finding) for finding in advice.findings])] if advice.findings else []
    parts = [(detail, "In more detail")]
    if samples is not None:
        parts += _measured(found, samples, question, prefix)
    parts += [
        (_decodings(runs, question.metric), "Ways of decoding"),
        ([*_apart_from_seeds(found), *_copies(runs)], "Never averaged together"),
        (_table(runs, question.metric, home), "All runs"),
    ]
    return [
        _answer(runs, advice, question, mark),
        *(Section(mark + title, blocks) for blocks, title in parts if blocks),
    ]


def _measured(found: Sequence[Variant], samples: int, question: Question, prefix: str) -> list[tuple[list[Block], str]]:
    """The evidence, in parts."""
    metric = question.metric
    return [
        (quality.against_examples(found, metric, prefix), "Quality against examples"),
        (budgets.crossings(found, samples, metric), "Where one family overtakes the other"),
        (quality.forecasts(found, question, prefix), "With more examples than were measured"),
        (budgets.along_training(found, samples, metric, prefix), "Quality along the training"),
        (budgets.trained_or_not(found, metric), "Trained or not?"),
        (budgets.first_reach(found, samples), "What it takes to reach a score"),
        (quality.against_size(found, samples, metric, prefix), "Quality against model size"),
        (quality.collapsed(found), "Where it collapses"),
        (quality.by_rule(found, samples, metric, prefix), "Rules generated and rules completed"),
        (certainty(found), "Which model knows when it is wrong?"),
        (spoilt_givens(found), "When given cells are wrong"),
        (likelihood(found, samples), "Likelihood"),
        (transfer(found), "Transfer"),
        (budgets.against_cost(found, samples, question, prefix), "Quality against cost"),
        (every_score(found), "Every score"),
    ]


def _item(finding: Finding) -> Item:
    return Item(finding.text, finding.runs)


def _answer(runs: Sequence[Run], advice: Advice, question: Question, mark: str) -> Section:
    """What a manager reads: the answer, how sure, what it would cost, what to measure next."""
    parts = {"How sure": advice.sure, "When switching pays": advice.switching, "What it would cost": advice.cost,
             "What to measure next": advice.next_steps}  # fmt: skip
    facts = [(word, [_item(finding) for finding in found]) for word, found in parts.items() if found]
    budget = "" if question.budget is None else f", trained with at most {question.budget:g} {question.unit}"
    words = runs[0].contest if runs[0].dataset else {"data set": "not known", **runs[0].contest}
    told = "; ".join(f"{word} {_brief(text)}" for word, text in words.items())
    growth = "" if question.growth == 1 else f", times {question.growth:g} in a year"
    asked = (f"Asked: {question.goal}, {question.examples:,} examples per rule{_in_all(runs, question)}{growth}"
             f"{budget}. {first_upper(told)}.")  # fmt: skip
    meant = [Text(MEANT)] if runs[0].prior == STRUCTURED else []
    return Section(mark + advice.headline, [Facts(facts), Text(asked), *meant], is_answer=True)


def _in_all(runs: Sequence[Run], question: Question) -> str:
    numbers = {run.num_rules for run in runs if run.num_rules}
    return f" ({question.examples * numbers.pop():,} in all)" if len(numbers) == 1 else ""


def _apart_from_seeds(found: Sequence[Variant]) -> list[Block]:
    """Which models and recipes there are, and what sets apart those of one architecture and size."""
    models = [f"{variant.first.architecture}, {size(variant.first.parameters)}" for variant in found]
    rows = []
    for model, variant in zip(models, found, strict=True):
        settings = variant.label.removeprefix(model).lstrip(", ")
        if settings or models.count(model) > 1:
            rows.append([model, settings or "none of the settings named here", str(len(variant.runs))])
    caption = "Runs that differ in more than their seeds and number of examples are not repeats. They differ in:"
    return [Table(["model", "settings", "runs"], rows, caption)] if rows else []


def _copies(runs: Sequence[Run]) -> list[Block]:
    """Trainings that are there twice."""
    evidence = [run for run in runs if run.is_evidence]
    kept = {id(run) for run in distinct(evidence)}
    names = [run.name for run in evidence if id(run) not in kept]
    said = "Of the same settings, examples and seeds as another run, so the same training, and counted once: "
    return [Text(f"{said}{', '.join(names)}.")] if names else []


def _decodings(runs: Sequence[Run], asked: str) -> list[Block]:
    """The results at the end of those runs that were evaluated in several ways."""
    found: list[tuple[Run, Result]] = []
    for run in runs:
        tested = [result for result in run.results if result.checkpoint not in ("", BEST)
                  and not result.given_corruption and run.final and result.split == run.final.split]  # fmt: skip
        tested.sort(key=lambda result: (result.step, result.puzzles_per_rule))
        ways = {json.dumps(dict(result.decoding), sort_keys=True, default=str): result for result in tested}
        if len(ways) > 1:
            found += [(run, result) for result in ways.values()]
    shown_scores = main_scores((result for _, result in found), asked)
    headings = ["run", "decoding", "network passes a puzzle", *map(label, shown_scores), "seconds to generate"]
    lines = [_decoded(run, result, shown_scores) for run, result in found]
    return [Table(headings, lines, "Runs that were evaluated in several ways.")] if lines else []


def _decoded(run: Run, result: Result, scores: Sequence[str]) -> list[Cell]:
    way = ", ".join(f"{name} {value}" for name, value in result.decoding.items() if value is not None)
    took = result.seconds.get("generate")
    return [run.name, way or DASH, count(result.passes.get("generate")),
            *(shown(result.measured(metric)) for metric in scores),
            DASH if took is None else f"{took:.1f}"]  # fmt: skip


def _table(runs: Sequence[Run], asked: str, home: Path) -> list[Block]:
    lines: list[list[Cell]] = []
    scores = main_scores((run.final for run in runs if run.final), asked)
    for run in sorted(runs, key=lambda run: (run.architecture or "~", run.parameters or 0, run.samples_per_rule or 0)):
        final = run.final
        counts = [final.scores[metric].count for metric in scores if metric in final.scores] if final else []
        lines.append([
            _link(run, home), run.state if run.state != "new" else "never started", run.architecture or DASH, run.prior,
            size(run.parameters).removesuffix(" parameters"), _examples(run), count(run.step),
            *(shown(final.measured(metric) if final else None) for metric in scores),
            count(max(counts, default=None)), final.split if final else DASH, _seeds(run),
            DASH if run.device_hours is None else hours(run.device_hours).removesuffix(" device-hours"),
            DASH if run.flops is None else short(run.flops),
            DASH if run.money is None else f"{run.money:.2f}", ", ".join(run.collapse) or DASH, run.message,
        ])  # fmt: skip
    headings = ["run", "state", "architecture", "prior", "size", "examples per rule", "step", *map(label, scores),
                "puzzles", "of", "seeds", "device-hours", "FLOPs", "money", "collapse", "message"]  # fmt: skip
    done = sum(run.is_evidence for run in runs)
    splits = {run.final.split for run in runs if run.is_evidence and run.final}
    note = (
        " Scores of val are of the last validation: genraven evaluate scores test puzzles." if "val" in splits else ""
    )
    caption = (f"{done} of {len(runs)} runs have ended with scores, finished or stopped by a limit; only these are "
               "compared. A dash is what is missing. Brackets are 95% Wilson intervals. Seeds: of weights, noise, "
               f"data.{note}")  # fmt: skip
    return [Table(headings, lines, caption)]


def _examples(run: Run) -> str:
    """Per rule."""
    return count(run.samples_per_rule) + " of a stream" * run.is_stream


def _seeds(run: Run) -> str:
    seeds = run.seeds
    return " ".join(DASH if seed is None else str(seed) for seed in (seeds.weights, seeds.noise, seeds.data))


def _link(run: Run, home: Path) -> Cell:
    if run.path is None or not run.path.resolve().is_relative_to(home.resolve()):
        return run.name
    return Link(run.name, address(os.path.relpath(run.path.resolve(), home.resolve())))
