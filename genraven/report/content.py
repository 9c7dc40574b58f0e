"""What the report says: the answer first, then the evidence, one part for each data set."""

import json
import os
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

from genraven.escaping import address
from genraven.metrics.table import label
from genraven.networks.prior import STRUCTURED
from genraven.progress import Progress, watched
from genraven.report import budgets, quality
from genraven.report.carry_over import laws
from genraven.report.collapse import collapsed
from genraven.report.contest import by_examples, groups
from genraven.report.corrupted import against_clean, corrupted_givens
from genraven.report.dataset import CLEAN, CORRUPTION
from genraven.report.english import DASH, count, headings, hours, sentence, short, shown
from genraven.report.evaluation import written_out
from genraven.report.likelihood import likelihood
from genraven.report.page import Block, Cell, Facts, Item, Items, Link, Page, Section, Table, Text
from genraven.report.points import Variant, amount, distinct, size, variants
from genraven.report.quality import main_scores
from genraven.report.question import Question
from genraven.report.recommend import Advice, recommend
from genraven.report.runs import Result, Run
from genraven.report.selective import selective
from genraven.run_folder import BEST

Ask = Callable[[Sequence[Run]], Question]
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
    with Progress("compare", len(ordered), "dataset") as bar:
        for number, key in enumerate(bar.over(ordered), 1):
            group = datasets[key]
            mark = f"{number}. " if len(ordered) > 1 else ""
            sections += _part(group, ask(group).of(group), mark, home, prefix=f"{number}-" if mark else "")
    if len(ordered) > 1:
        corrupted = against_clean([(dict(key), datasets[key]) for key in ordered])
        said = sentence("datasets_differ", are_of_one_prior=len(priors) == 1, with_corrupted=bool(corrupted))
        listed = [Item(f"{i}: {text}") for i, text in enumerate(_apart([dict(key) for key in ordered]), 1)]
        heading = sentence("datasets", num=len(ordered), are_of_one_prior=len(priors) == 1)
        sections.insert(0, Section(heading, [Text(said), Items(listed), *corrupted]))
    if notes:
        sections.append(Section(_title("passed_over"), [Items([Item(note) for note in notes])]))
    return Page(sentence("page_title"), sections)


def _title(name: str) -> str:
    return sentence("title", name=name)


def _apart(datasets: Sequence[dict[str, str]]) -> list[str]:
    """Each in the words in which they differ."""
    words = dict.fromkeys(word for one in datasets for word in one)
    differing = [word for word in words if len({one.get(word) for one in datasets}) > 1]
    unknown = sentence("not_known")
    return [_data({word: one.get(word, unknown) for word in differing}) for one in datasets]


def _data(words: Mapping[str, str]) -> str:
    return "; ".join(f"{sentence('data_word', name=name)} {_brief(text)}" for name, text in words.items())


def _brief(text: str) -> str:
    names = text.split(", ")
    return text if len(names) <= MANY else sentence("many_rules", num=len(names))


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
    detail: list[Block] = [Items(advice.findings)] if advice.findings else []
    parts = [(detail, "detail")]
    if samples is not None:
        parts += _measured(found, samples, question, prefix)
    parts += [
        (_decodings(runs, question.metric), "decodings"),
        ([*_apart_from_seeds(found), *_copies(runs)], "apart"),
        (_table(runs, question.metric, home), "runs"),
    ]
    return [
        _answer(runs, advice, question, mark),
        *(Section(mark + _title(name), blocks) for blocks, name in parts if blocks),
    ]


def _measured(found: Sequence[Variant], samples: int, question: Question, prefix: str) -> list[tuple[list[Block], str]]:
    """The evidence, in parts, each with the name of its title."""
    metric = question.metric
    parts: dict[str, Callable[[], list[Block]]] = {
        "examples": lambda: quality.against_examples(found, metric, prefix),
        "crossings": lambda: budgets.crossings(found, samples, metric),
        "forecasts": lambda: quality.forecasts(found, question, prefix),
        "along": lambda: budgets.along_training(found, samples, metric, prefix),
        "trained": lambda: budgets.trained_or_not(found, metric),
        "reach": lambda: budgets.first_reach(found, samples),
        "laws": lambda: laws(found, samples, question),
        "sizes": lambda: quality.against_size(found, samples, metric, prefix),
        "collapse": lambda: collapsed(found),
        "rules": lambda: quality.by_rule(found, samples, metric, prefix),
        "selective": lambda: selective(found),
        "corrupted_givens": lambda: corrupted_givens(found),
        "likelihood": lambda: likelihood(found, samples),
        "transfer": lambda: quality.transfer(found),
        "spending": lambda: budgets.against_cost(found, samples, question, prefix),
        "every_score": lambda: quality.every_score(found),
    }
    return [(make(), name) for name, make in watched(parts.items())]


def _answer(runs: Sequence[Run], advice: Advice, question: Question, mark: str) -> Section:
    """What a manager reads: the answer, how sure, what it would cost, what to measure next."""
    parts = {"sure": advice.sure, "switching": advice.switching, "cost": advice.cost, "next_steps": advice.next_steps}
    facts = [(_title(name), found) for name, found in parts.items() if found]
    known = runs[0].contest if runs[0].dataset else {"data_set": sentence("not_known"), **runs[0].contest}
    asked = sentence(
        "asked",
        goal=question.goal,
        examples=question.examples,
        in_all=_in_all(runs, question),
        growth=None if question.growth == 1 else f"{question.growth:g}",
        budget=None if question.budget is None else f"{question.budget:g}",
        in_money=question.in_money,
        data=_data(known),
    )
    meant = [Text(sentence("structured"))] if runs[0].prior == STRUCTURED else []
    return Section(mark + advice.headline, [Facts(facts), Text(asked), *meant], is_answer=True)


def _in_all(runs: Sequence[Run], question: Question) -> str | None:
    numbers = {run.num_rules for run in runs if run.num_rules}
    return f"{question.examples * numbers.pop():,}" if len(numbers) == 1 else None


def _apart_from_seeds(found: Sequence[Variant]) -> list[Block]:
    """Which models and recipes there are, and what sets apart those of one architecture and size."""
    models = [f"{variant.first.architecture}, {size(variant.first.parameters)}" for variant in found]
    rows = []
    for model, variant in zip(models, found, strict=True):
        settings = variant.label.removeprefix(model).lstrip(", ")
        if settings or models.count(model) > 1:
            rows.append([model, settings or sentence("apart_in_nothing"), str(len(variant.runs))])
    return [Table(headings("apart"), rows, sentence("apart"))] if rows else []


def _copies(runs: Sequence[Run]) -> list[Block]:
    """Trainings that are there twice."""
    evidence = [run for run in runs if run.is_evidence]
    kept = {id(run) for run in distinct(evidence)}
    names = [run.name for run in evidence if id(run) not in kept]
    return [Text(sentence("copies", names=names))] if names else []


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
    lines = [_decoded(run, result, shown_scores) for run, result in found]
    return [Table(headings("decodings", map(label, shown_scores)), lines, sentence("decodings"))] if lines else []


def _decoded(run: Run, result: Result, scores: Sequence[str]) -> list[Cell]:
    way = ", ".join(f"{name} {value}" for name, value in written_out(result.decoding).items() if value is not None)
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
            _link(run, home), run.state if run.state != "new" else sentence("never_started"),
            run.architecture or DASH, run.prior, amount(run.parameters) or size(None), _examples(run), count(run.step),
            *(shown(final.measured(metric) if final else None) for metric in scores),
            count(max(counts, default=None)), final.split if final else DASH, _seeds(run),
            DASH if run.device_hours is None else hours(run.device_hours),
            DASH if run.flops is None else short(run.flops),
            DASH if run.money is None else f"{run.money:.2f}", ", ".join(run.collapse) or DASH, run.message,
        ])  # fmt: skip
    splits = {run.final.split for run in runs if run.is_evidence and run.final}
    caption = sentence("runs", num_ended=sum(run.is_evidence for run in runs), num_runs=len(runs),
                       with_validation="val" in splits)  # fmt: skip
    return [Table(headings("runs", map(label, scores)), lines, caption)]


def _examples(run: Run) -> str:
    """The number of examples per rule in words."""
    samples = count(run.samples_per_rule)
    return sentence("of_stream", samples=samples) if run.is_stream else samples


def _seeds(run: Run) -> str:
    seeds = run.seeds
    return " ".join(DASH if seed is None else str(seed) for seed in (seeds.weights, seeds.noise, seeds.data))


def _link(run: Run, home: Path) -> Cell:
    if run.path is None or not run.path.resolve().is_relative_to(home.resolve()):
        return run.name
    return Link(run.name, address(os.path.relpath(run.path.resolve(), home.resolve())))
