"""Which family to invest in: a pure function of a table of runs and a question.

A family is as good at N examples as its best run within the budget there, whatever its architecture and size. It wins
where its 95% interval lies above that of every other family; where they overlap, or nothing was measured, the answer is
that the evidence is not enough.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

from genraven.errors import InputError
from genraven.report.curves import LABELS, Curve, Estimate, curve, estimate, plateau
from genraven.report.runs import Run

GOALS = {"completion": "completion", "generation": "novel_c3"}
FAMILIES = ("autoregressive", "diffusion")
DOES = {
    "completion": "completes {} of puzzles by their rule",
    "generation": "generates a new consistent puzzle {} of the time",
}
Verdict = Literal["train", "train, then switch", "not enough evidence"]


@dataclass(frozen=True)
class Question:
    """What somebody wants to know.

    Raises:
        InputError: no such goal, or a number out of its range.
    """

    goal: str
    """``completion`` or ``generation``."""
    examples: int
    """Per rule, now."""
    growth: float = 1.0
    """Times as many examples in a year."""
    budget: float | None = None
    """That a training may take, in device-hours; in money when ``in_money``."""
    in_money: bool = False

    def __post_init__(self) -> None:
        if self.goal not in GOALS:
            raise InputError(f"expected --goal to be {' or '.join(GOALS)}, got {self.goal!r}.")
        for name, value in (("examples", self.examples), ("growth", self.growth), ("budget", self.budget)):
            if value is not None and not 0 < value < math.inf:
                raise InputError(f"expected --{name} above 0, got {value}.")

    @property
    def metric(self) -> str:
        """The score that the goal is measured by."""
        return GOALS[self.goal]

    def affords(self, run: Run) -> bool | None:
        """Is the run's training within the budget? None where its cost is not known."""
        cost = run.money if self.in_money else run.device_hours
        return True if self.budget is None else None if cost is None else cost <= self.budget


@dataclass(frozen=True)
class Finding:
    """A sentence, and the names of the runs it rests on."""

    text: str
    runs: tuple[str, ...] = ()


@dataclass(frozen=True)
class Advice:
    """The answer."""

    verdict: Verdict
    headline: str
    findings: tuple[Finding, ...]
    family: str | None = None
    """To train now."""
    run: Run | None = None
    """Whose model to train: the smallest of the family that is not measurably worse than its best."""
    data_target: int | None = None
    """Examples per rule above which the family gains nothing that was measurable."""
    later: str | None = None
    """The winner with the examples of a year from now."""
    crossing: float | None = None
    """Examples per rule where the other family overtakes."""


def recommend(runs: Sequence[Run], question: Question) -> Advice:
    """The advice that ``runs``, all of one data set, give."""
    affordable = [run for run in runs if question.affords(run)]
    notes = _budget_notes(runs, question)
    curves = {name: curve([run for run in affordable if run.family == name], question.metric) for name in FAMILIES}
    now = _estimates(curves, question.examples, question)
    measured = [_measured(name, now[name], curves[name], question.examples, question) for name in FAMILIES]
    family = _winner(now)
    future_examples = round(question.examples * question.growth)
    future = _estimates(curves, future_examples, question)
    later = _winner(future) if question.growth != 1 else family
    findings = [*measured, *notes]
    if question.growth != 1:
        findings += [_measured(name, future[name], curves[name], future_examples, question) for name in FAMILIES]
    if family is None:
        findings += [_why_unclear(now, question)]
        return Advice("not enough evidence", _unclear_headline(later, future_examples, question), tuple(findings),
                      later=later)  # fmt: skip
    choice = _smallest_as_good(affordable, family, curves[family], question)
    enough, still_rising = plateau(curves[family], question.metric)
    crossing = _crossing(curves, family, question)
    findings += [
        _size(choice, family, affordable, question),
        _data(family, curves[family], enough, still_rising, question),
    ]
    findings += [_overtaking(crossing, family, question)] if crossing else []
    findings += [_scope(affordable)]
    switches = later not in (None, family)
    headline = _headline(family, choice, later, crossing, future_examples, question)
    return Advice("train, then switch" if switches else "train", headline, tuple(findings), family, choice, enough,
                  later, crossing)  # fmt: skip


def _estimates(curves: Mapping[str, Curve], examples: float, question: Question) -> dict[str, Estimate | None]:
    return {name: estimate(curve, examples, question.metric) for name, curve in curves.items()}


def _winner(estimates: Mapping[str, Estimate | None]) -> str | None:
    """The family above all others beyond doubt; None where there is none, or one of them is not known."""
    known = {name: e for name, e in estimates.items() if e is not None}
    if len(known) < len(estimates):
        return None
    best = max(known, key=lambda name: known[name].value)
    return best if all(known[best].low > e.high for name, e in known.items() if name != best) else None


def _names(runs: Sequence[Run]) -> tuple[str, ...]:
    return tuple(run.name for run in runs)


def describe(run: Run) -> str:
    """Architecture and size of a run."""
    return f"{run.architecture or 'unknown architecture'}, {size(run.parameters)}"


def size(parameters: int | None) -> str:
    """Parameters in words."""
    if parameters is None:
        return "size not known"
    return f"{parameters / 1e6:.3g} M parameters"


def _budget_notes(runs: Sequence[Run], question: Question) -> list[Finding]:
    if question.budget is None:
        return []
    unit = "money" if question.in_money else "device-hours"
    finished = [run for run in runs if run.is_evidence]
    over = [run for run in finished if question.affords(run) is False]
    unknown = [run for run in finished if question.affords(run) is None]
    found = []
    if over:
        found.append(Finding(f"{len(over)} of {len(finished)} finished runs took more than {question.budget:g} {unit} and "
                             "do not count here.", _names(over)))  # fmt: skip
    if unknown:
        found.append(Finding(f"What {len(unknown)} runs cost in {unit} is not known, so they do not count here.",
                             _names(unknown)))  # fmt: skip
    return found


def _measured(family: str, at: Estimate | None, curve: Curve, examples: float, question: Question) -> Finding:
    if at is None:
        if not curve:
            return Finding(f"No finished {family} run counts here: its {LABELS[question.metric]} is missing.")
        return Finding(f"The {family} family was measured with {min(curve):,} to {max(curve):,} examples per rule only, "
                       f"and not with {examples:,.0f}.", _names(list(curve.values())))  # fmt: skip
    between = "" if len(at.runs) == 1 else " (between two measured sizes of data)"
    best = max(at.runs, key=lambda run: run.scores[question.metric].value)
    does = DOES[question.goal].format(f"{at.value:.3f}")
    count = min(run.scores[question.metric].count for run in at.runs)
    return Finding(f"With {examples:,.0f} examples per rule the best {family} run ({describe(best)}) {does}{between}; "
                   f"95% interval {at.low:.3f} to {at.high:.3f}, {count:,} puzzles.", _names(at.runs))  # fmt: skip


def _why_unclear(now: Mapping[str, Estimate | None], question: Question) -> Finding:
    missing = [name for name, at in now.items() if at is None]
    if missing:
        families = " and ".join(missing)
        return Finding(f"To decide, train and evaluate the {families} family at sizes of data on both sides of "
                       f"{question.examples:,} examples per rule.")  # fmt: skip
    known = [at for at in now.values() if at is not None]
    runs = tuple(run for at in known for run in at.runs)
    cheapest = min(runs, key=lambda run: run.device_hours if run.device_hours is not None else math.inf)
    cost = (
        ""
        if cheapest.device_hours is None
        else (f" The cheapest of these is {describe(cheapest)}, {hours(cheapest.device_hours)}.")
    )
    return Finding(f"Their 95% intervals overlap: more puzzles (genraven evaluate --puzzles-per-rule) or more seeds could "
                   f"tell them apart.{cost}", _names(runs))  # fmt: skip


def hours(device_hours: float) -> str:
    """Device-hours in words."""
    return f"{device_hours:.2g} device-hours" if device_hours < 10 else f"{device_hours:,.0f} device-hours"


def _smallest_as_good(runs: Sequence[Run], family: str, curve: Curve, question: Question) -> Run:
    """Of the family's runs at the measured size of data next to the question's."""
    metric = question.metric
    nearest = min(curve, key=lambda n: abs(math.log(n / question.examples)))
    best = curve[nearest].scores[metric]
    peers = [
        run
        for run in runs
        if run.family == family and run.samples_per_rule == nearest and run.is_evidence and metric in run.scores
        if run.scores[metric].high >= best.low
    ]
    return min(peers, key=lambda run: (run.parameters or math.inf, -run.scores[metric].value))


def _size(choice: Run, family: str, runs: Sequence[Run], question: Question) -> Finding:
    peers = [run for run in runs if run.family == family and run.samples_per_rule == choice.samples_per_rule]
    sizes = sorted({run.parameters for run in peers if run.parameters and run.is_evidence})
    score = choice.scores[question.metric]
    if len(sizes) < 2:
        text = f"Size: only {size(choice.parameters)} was measured at this size of data; a larger model may do better."
    elif choice.parameters == sizes[-1]:
        text = (f"Size: {describe(choice)} ({score}) is the largest of {len(sizes)} sizes measured and better than the "
                "smaller ones; a larger one may do better still.")  # fmt: skip
    else:
        text = (f"Size: {describe(choice)} ({score}) is enough; larger models, up to {size(sizes[-1])}, were not "
                "measurably better.")  # fmt: skip
    cost = "" if choice.device_hours is None else f" Its training took {hours(choice.device_hours)}."
    return Finding(text + cost, _names([run for run in peers if run.is_evidence]))


def _data(family: str, curve: Curve, enough: int, still_rising: bool, question: Question) -> Finding:
    ends = f"{curve[enough].scores[question.metric]} at {enough:,}"
    if len(curve) == 1:
        text = f"Data target: unknown, as only {enough:,} examples per rule were measured."
    elif still_rising:
        text = f"Data target: more than {enough:,} examples per rule; the {family} curve still rises there ({ends})."
    else:
        text = (f"Data target: about {enough:,} examples per rule; up to {max(curve):,} the {family} family gains nothing "
                f"measurable beyond ({ends}).")  # fmt: skip
    return Finding(text, _names(list(curve.values())))


def _crossing(curves: Mapping[str, Curve], family: str, question: Question) -> float | None:
    """Examples, more than now, at which the other family's curve passes that of ``family`` and then clearly wins."""
    other = next(name for name in curves if name != family)
    points = sorted({question.examples, *(n for c in curves.values() for n in c if n > question.examples)})
    estimates = [(n, _estimates(curves, n, question)) for n in points]
    known = [(n, e) for n, e in estimates if None not in e.values()]
    gaps = [(n, e[family].value - e[other].value, _winner(e)) for n, e in known]  # type: ignore[union-attr]
    for (left, a, _), (right, b, _) in pairwise(gaps):
        if a > 0 >= b and any(winner == other for n, _, winner in gaps if n >= right):
            return float(left * (right / left) ** (a / (a - b)))
    return None


def _overtaking(crossing: float, family: str, question: Question) -> Finding:
    other = next(name for name in FAMILIES if name != family)
    when = ""
    if question.growth > 1:
        years = math.log(crossing / question.examples) / math.log(question.growth)
        when = f" At {question.growth:g} times a year you have these in about {_span(years)}."
    return Finding(f"The {other} family overtakes at about {crossing:,.0f} examples per rule.{when}")


def _span(years: float) -> str:
    return f"{years:.1f} years" if years >= 1.5 else f"{max(1, round(12 * years))} months"


def _scope(runs: Sequence[Run]) -> Finding:
    finished = [run for run in runs if run.is_evidence]
    sizes = sorted(run.parameters for run in finished if run.parameters)
    data = sorted(run.samples_per_rule for run in finished if run.samples_per_rule)
    span = (
        f"models of {sizes[0] / 1e6:.3g} to {sizes[-1] / 1e6:.3g} M parameters" if sizes else "models of unknown size"
    )
    return Finding(f"This rests on {len(finished)} finished runs of {span} on {data[0]:,} to {data[-1]:,} examples per "
                   "rule and says nothing beyond. Intervals cover the puzzles counted, not the luck of a training.")  # fmt: skip


def _headline(
    family: str, choice: Run, later: str | None, crossing: float | None, future: int, question: Question
) -> str:
    now = f"Train the {family} family ({describe(choice)}) for {question.goal} with {question.examples:,} examples per rule"
    if question.growth == 1:
        return now + "."
    ahead = f"{future:,} examples per rule in a year"
    if later is None:
        return f"{now}; for the {ahead} there is not enough evidence."
    if later == family:
        return f"{now}, and stay with it for the {ahead}."
    where = f" at about {crossing:,.0f} examples per rule" if crossing else ""
    return f"{now}; change to the {later} family{where}, since it wins with the {ahead}."


def _unclear_headline(later: str | None, future: int, question: Question) -> str:
    text = f"Not enough evidence to choose a family for {question.goal} with {question.examples:,} examples per rule"
    if question.growth != 1 and later is not None:
        return f"{text}; with the {future:,} of a year from now the {later} family wins."
    return text + "."
