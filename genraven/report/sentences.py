"""The question put to the runs, and the sentences of the answer."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from genraven.errors import InputError
from genraven.report.curves import LABELS, Curve, Estimate
from genraven.report.runs import Run

GOALS = {"completion": "completion", "generation": "novel_c3"}
FAMILIES = ("autoregressive", "diffusion")
DOES = {
    "completion": "completes {} of puzzles by their rule",
    "generation": "generates a new consistent puzzle {} of the time",
}


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


def names(runs: Sequence[Run]) -> tuple[str, ...]:
    """Of runs."""
    return tuple(run.name for run in runs)


def describe(run: Run) -> str:
    """Architecture and size of a run."""
    return f"{run.architecture or 'unknown architecture'}, {size(run.parameters)}"


def size(parameters: int | None) -> str:
    """Parameters in words."""
    if parameters is None:
        return "size not known"
    return f"{parameters / 1e3:.3g} k parameters" if parameters < 1e6 else f"{parameters / 1e6:.3g} M parameters"


def family_finding(family: str, at: Estimate | None, curve: Curve, examples: float, question: Question) -> Finding:
    """How good a family is at ``examples``, or why that is not known."""
    if at is None:
        if not curve:
            return Finding(f"No finished {family} run counts here: its {LABELS[question.metric]} is missing.")
        return Finding(f"The {family} family was measured with {min(curve):,} to {max(curve):,} examples per rule "
                       f"only, and not with {examples:,.0f}.", names(list(curve.values())))  # fmt: skip
    between = "" if len(at.runs) == 1 else " (between two measured sizes of data)"
    best = max(at.runs, key=lambda run: run.scores[question.metric].value)
    does = DOES[question.goal].format(f"{at.value:.3f}")
    count = min(run.scores[question.metric].count for run in at.runs)
    return Finding(f"With {examples:,.0f} examples per rule the best {family} run ({describe(best)}) "
                   f"{does}{between}; 95% interval {at.low:.3f} to {at.high:.3f}, {count:,} puzzles.",
                   names(at.runs))  # fmt: skip


def why_unclear(now: Mapping[str, Estimate | None], question: Question) -> Finding:
    """What would decide."""
    missing = [name for name, at in now.items() if at is None]
    if missing:
        families = " and the ".join(missing)
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
    return Finding("Their 95% intervals overlap: more puzzles (genraven evaluate --puzzles-per-rule) or more seeds "
                   f"could tell them apart.{cost}", names(runs))  # fmt: skip


def hours(device_hours: float) -> str:
    """Device-hours in words."""
    return f"{device_hours:.2g} device-hours" if device_hours < 10 else f"{device_hours:,.0f} device-hours"


def size_finding(choice: Run, family: str, runs: Sequence[Run], question: Question) -> Finding:
    """How large a model to train."""
    peers = [run for run in runs if run.family == family and run.samples_per_rule == choice.samples_per_rule]
    sizes = sorted({run.parameters for run in peers if run.parameters and run.is_evidence})
    score = choice.scores[question.metric]
    if len(sizes) < 2:
        text = f"Size: only {size(choice.parameters)} was measured at this size of data; a larger model may do better."
    elif choice.parameters == sizes[-1]:
        text = (f"Size: {describe(choice)} ({score}) is the largest of {len(sizes)} sizes measured and better than "
                "the smaller ones; a larger one may do better still.")  # fmt: skip
    else:
        text = (f"Size: {describe(choice)} ({score}) is enough; larger models, up to {size(sizes[-1])}, were not "
                "measurably better.")  # fmt: skip
    cost = "" if choice.device_hours is None else f" Its training took {hours(choice.device_hours)}."
    return Finding(text + cost, names([run for run in peers if run.is_evidence]))


def data_finding(family: str, curve: Curve, enough: int, still_rising: bool, question: Question) -> Finding:
    """How many examples are worth having."""
    ends = f"{curve[enough].scores[question.metric]} at {enough:,}"
    if len(curve) == 1:
        text = f"Data target: unknown, as only {enough:,} examples per rule were measured."
    elif still_rising:
        text = f"Data target: more than {enough:,} examples per rule; the {family} curve still rises there ({ends})."
    else:
        text = (f"Data target: about {enough:,} examples per rule; up to {max(curve):,} the {family} family gains "
                f"nothing measurable beyond ({ends}).")  # fmt: skip
    return Finding(text, names(list(curve.values())))


def overtaking(crossing: float, family: str, question: Question) -> Finding:
    """When the other family becomes the better one."""
    other = next(name for name in FAMILIES if name != family)
    when = ""
    if question.growth > 1:
        years = math.log(crossing / question.examples) / math.log(question.growth)
        when = f" At {question.growth:g} times a year you have these in about {_span(years)}."
    return Finding(f"The {other} family overtakes at about {crossing:,.0f} examples per rule.{when}")


def _span(years: float) -> str:
    return f"{years:.1f} years" if years >= 1.5 else f"{max(1, round(12 * years))} months"


def scope(runs: Sequence[Run]) -> Finding:
    """What the answer rests on, and where it ends."""
    finished = [run for run in runs if run.is_evidence]
    sizes = _range([size(n) for n in sorted(run.parameters for run in finished if run.parameters)])
    data = _range([f"{n:,}" for n in sorted(run.samples_per_rule for run in finished if run.samples_per_rule)])
    of = f"models of {sizes}" if sizes else "models of unknown size"
    return Finding(f"This rests on {len(finished)} finished runs of {of} on {data} examples per rule and says nothing "
                   "beyond. Intervals cover the puzzles counted, not the luck of a training.")  # fmt: skip


def _range(ascending: Sequence[str]) -> str:
    """From the first to the last, where they differ."""
    ends = dict.fromkeys([*ascending[:1], *ascending[-1:]])
    return " to ".join(ends)


def headline(
    family: str, choice: Run, later: str | None, crossing: float | None, future: int, question: Question
) -> str:
    """The answer in one sentence."""
    examples = f"{question.examples:,} examples per rule"
    now = f"Train the {family} family ({describe(choice)}) for {question.goal} with {examples}"
    if question.growth == 1:
        return now + "."
    ahead = f"{future:,} examples per rule in a year"
    if later is None:
        return f"{now}; for the {ahead} there is not enough evidence."
    if later == family:
        return f"{now}, and stay with it for the {ahead}."
    where = f" at about {crossing:,.0f} examples per rule" if crossing else ""
    return f"{now}; change to the {later} family{where}, since it wins with the {ahead}."


def unclear_headline(later: str | None, future: int, curves: Mapping[str, Curve], question: Question) -> str:
    """The same, where there is none."""
    if not any(curves.values()):
        return f"Not enough evidence: no finished run that counts here has scores of {LABELS[question.metric]}."
    text = f"Not enough evidence to choose a family for {question.goal} with {question.examples:,} examples per rule"
    if question.growth != 1 and later is not None:
        return f"{text}; with the {future:,} of a year from now the {later} family wins."
    return text + "."


def budget_notes(runs: Sequence[Run], question: Question) -> list[Finding]:
    """What the budget leaves out."""
    if question.budget is None:
        return []
    unit = "money" if question.in_money else "device-hours"
    finished = [run for run in runs if run.is_evidence]
    over = [run for run in finished if question.affords(run) is False]
    unknown = [run for run in finished if question.affords(run) is None]
    found = []
    if over:
        found.append(Finding(f"{len(over)} of {len(finished)} finished runs took more than {question.budget:g} "
                             f"{unit} and do not count here.", names(over)))  # fmt: skip
    if unknown:
        found.append(Finding(f"Of {len(unknown)} finished runs the cost in {unit} is not known, so they do not count "
                             "here.",
                             names(unknown)))  # fmt: skip
    return found
