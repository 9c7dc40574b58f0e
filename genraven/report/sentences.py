"""The sentences of the answer."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from genraven.metrics.table import direction, label
from genraven.report.contest import Choice, Duel, Field, ahead, can_decide, lead
from genraven.report.points import Point
from genraven.report.progress import End
from genraven.report.question import Question
from genraven.report.statistics import MIN_REPEATS


@dataclass(frozen=True)
class Finding:
    """A sentence, and the names of the runs it rests on."""

    text: str
    runs: tuple[str, ...] = ()


def names(*points: Point) -> tuple[str, ...]:
    """Of runs."""
    return tuple(dict.fromkeys(run.name for point in points for run in point.runs))


def the(family: str) -> str:
    """A family in a sentence."""
    return f"the {family} family"


def repeats(point: Point) -> str:
    """How many, and of what kind."""
    num = len(point.runs)
    if num == 1:
        return "one seed: no interval over seeds, only of its puzzles"
    known = {run.seeds.data for run in point.runs}
    same = ", all of the same training puzzles" if len(known) == 1 and None not in known else ""
    return f"mean of {num} repeats{same}"


def within(point: Point) -> str:
    """The budget that a score is about."""
    spent = point.spent("device_hours")
    if spent is not None:
        return f"within {hours(spent)} of training"
    return "" if point.first.step is None else f"within {point.first.step:,} steps of training"


def hours(device_hours: float) -> str:
    """Device-hours in words."""
    return f"{device_hours:.2g} device-hours" if device_hours < 10 else f"{device_hours:,.0f} device-hours"


def standing(family: str, choice: Choice, question: Question) -> Finding:
    """How good a family is at a measured number of examples."""
    interval = choice.point.interval(question.metric)
    assert interval is not None
    does = question.does.format(f"{interval.value:.3f}")
    between = f"; 95% interval {interval.low:.3f} to {interval.high:.3f}" if interval.is_known else ""
    return Finding(f"With {choice.point.samples:,} examples per rule {the(family)} ({choice.label}) {does}{between} "
                   f"({repeats(choice.point)}){chosen(choice)}.", names(choice.point))  # fmt: skip


def chosen(choice: Choice) -> str:
    """Why this one stands for its family."""
    if not choice.num_others:
        return ""
    how = "the best on validation puzzles" if choice.by_validation else (
        "the most trained, as not all have validation scores to choose by")  # fmt: skip
    flattered = ", by the same runs, which flatters its mean" if choice.num_recipes > 1 else ""
    return f", chosen of {choice.num_others + 1} as {how}{flattered}"


def not_measured(
    family: str, measured: Sequence[int], examples: float, question: Question, uncounted: Sequence[str] = ()
) -> Finding:
    """Why a family's score is not known; ``uncounted`` are its runs that have it, from unknown numbers of examples."""
    if not measured and uncounted:
        return Finding(f"No finished {family} run counts here: from how many examples per rule "
                       f"{len(uncounted)} of them learned is not known.", tuple(uncounted))  # fmt: skip
    if not measured:
        return Finding(f"No finished {family} run counts here: its {label(question.metric)} is missing.")
    return Finding(f"{the(family).capitalize()} was measured with {span(measured)} examples per rule only, and not "
                   f"with {examples:,.0f}.")  # fmt: skip


def span(numbers: Sequence[float]) -> str:
    """From the least to the most."""
    ends = dict.fromkeys(f"{number:,.0f}" for number in (min(numbers), max(numbers)))
    return " to ".join(ends)


def how_sure(fields: Sequence[Field], family: str | None, question: Question) -> Finding:
    """What the answer rests on: the differences at the numbers of examples that bear on it."""
    told, runs = [], []
    for one in fields:
        first, second, *_ = ahead(one, question.metric)
        gap = lead(one[first], one[second], question.metric)
        samples = one[first].point.samples
        about = f" at {samples:,} examples" if len(fields) > 1 else ""
        told.append(f"{first} {one[first].point.value(question.metric):.2f} against {second} "
                    f"{one[second].point.value(question.metric):.2f}{about}: a difference of {gap}")  # fmt: skip
        runs += [one[first].point, one[second].point]
    numbers = sorted({len(point.runs) for point in runs})
    text = f"{first_upper(label(question.metric))}: {'; '.join(told)} (95% {_over(numbers)}{_of_recipes(fields)})."
    if family is not None:
        return Finding(f"Beyond chance. {text}", names(*runs))
    if not all(can_decide(*one.values()) for one in fields):
        text = f"No verdict: it takes {MIN_REPEATS} repeats or more on each side. {_leaning(fields, question)}{text}"
        return Finding(text, names(*runs))
    return Finding(f"No verdict: the difference may be chance. {text}", names(*runs))


def caution(question: Question) -> list[Finding]:
    """What a score says less than the goal asks, where it stands in."""
    return [Finding(question.stand_in.caution)] if question.stand_in else []


def first_upper(text: str) -> str:
    """``text`` as the beginning of a sentence."""
    return text[:1].upper() + text[1:]


def _over(numbers: Sequence[int]) -> str:
    """What an interval is over, with so many runs on the sides."""
    if max(numbers) == 1:
        return "of the puzzles alone: one seed each, no interval over seeds"
    return f"over runs and puzzles; {span(numbers)} repeats each"


def _of_recipes(fields: Sequence[Field]) -> str:
    """For what choice the differences are corrected."""
    most = {name: max(one[name].num_recipes for one in fields if name in one) for one in fields for name in one}
    if max(most.values()) == 1:
        return ""
    return f"; corrected for the choice among {' and '.join(f'{num} {name}' for name, num in most.items())} recipes"


def _leaning(fields: Sequence[Field], question: Question) -> str:
    leaders = {ahead(one, question.metric)[0] for one in fields}
    return f"So far {the(leaders.pop())} looks ahead. " if len(leaders) == 1 else ""


def trained(ends: Mapping[str, End], choices: Field, metric: str) -> Finding:
    """Do the curves still rise at their ends? Then the answer is one about their budget."""
    by_trend: dict[str, list[str]] = {}
    for name, end in ends.items():
        by_trend.setdefault(end.trend, []).append(name)
    to_better, to_worse = ("rising", "falling") if direction(metric) > 0 else ("falling", "rising")
    told = {
        "gains": f"still {to_better} at the end",
        "level": "level at the end",
        "loses": f"{to_worse} at the end: an earlier checkpoint was better",
        "unclear": "not surely level at the end",
        "unknown": "not known to have been trained out, as only its end was scored",
    }
    text = "; ".join(f"{' and '.join(found)} {told[trend]}" for trend, found in by_trend.items())
    budgets = [spent for name in ends if (spent := choices[name].training.spent("device_hours")) is not None]
    between = " to ".join(dict.fromkeys(f"{spent:.2g}" for spent in (min(budgets), max(budgets)))) if budgets else ""
    about = f" So this is about {between} device-hours of training." if between and set(by_trend) != {"level"} else ""
    changes = [f"{name} {end.change}" for name, end in ends.items() if end.change]
    since = f" (change of {label(metric)} over the last quarter or more: {', '.join(changes)})" if changes else ""
    return Finding(f"Trained or not: {text}{since}.{about}", names(*(choices[name].point for name in ends)))


def data_finding(family: str, sizes: Sequence[int], enough: int, rises: bool, question: Question) -> Finding:
    """How many examples are worth having."""
    if len(sizes) == 1:
        return Finding(f"Data target: unknown, as only {enough:,} examples per rule were measured.")
    if rises:
        return Finding(f"Data target: more than {enough:,} examples per rule; {the(family)} is surely better there "
                       "than with fewer.")  # fmt: skip
    return Finding(f"Data target: about {enough:,} examples per rule; up to {max(sizes):,} {the(family)} gains nothing "
                   "sure beyond.")  # fmt: skip


AXES = {
    "examples": "examples per rule",
    "epochs": "epochs",
    "flops": "FLOPs of training",
    "device_hours": "device-hours of training",
}


def crossing_sentence(duel: Duel, axis: str) -> str:
    """Where the lead changes, or why that is not known."""
    unit, it = AXES[axis], duel.crossing
    if not duel.values:
        return f"{duel.first} and {duel.second}: unknown, as no point has {MIN_REPEATS} repeats or more of both."
    ends = dict.fromkeys(_amount(value) for value in (duel.values[0], duel.values[-1]))
    measured = f"{' to '.join(ends)} {unit}"
    if it.is_sure and it.low is not None and it.high is not None:
        return (f"{the(duel.name(it.after)).capitalize()} overtakes {the(duel.name(it.before))} between "
                f"{_amount(it.low)} and {_amount(it.high)} {unit}.")  # fmt: skip
    if not it.before or it.low is None:
        return f"{duel.first} and {duel.second}: no sure lead, so no crossing, in the range measured ({measured})."
    leader, last, first = the(duel.name(it.before)), _amount(it.low), it.since or duel.values[0]
    below = f"below {_amount(first)} or " if first > duel.values[0] else ""
    where = f"If they cross, then {below}above {last} {unit}."
    if it.low >= duel.values[-1]:
        return f"None in the range measured ({measured}): {leader} is ahead wherever one surely is. {where}"
    span = f"at {last}" if first == it.low else f"between {_amount(first)} and {last}"
    return (f"None sure in the range measured ({measured}): {leader} is surely ahead {span} alone, all "
            f"{len(duel.values)} points tested together. {where}")  # fmt: skip


def _amount(value: float) -> str:
    return f"{value:,.0f}" if 100 <= value < 1e6 else short(value)


def short(value: float) -> str:
    """``400``, ``10k``, ``1.2M``; small numbers with two digits."""
    for factor, letter in ((1e18, "E"), (1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= factor:
            return f"{value / factor:.3g}{letter}"
    return f"{value:.2g}" if value < 100 else f"{value:.0f}"


def year_note(crossing: float, question: Question) -> str:
    """When a number of examples is reached."""
    if question.growth <= 1 or crossing <= question.examples:
        return ""
    years = math.log(crossing / question.examples) / math.log(question.growth)
    when = f"{years:.1f} years" if years >= 1.5 else f"{max(1, round(12 * years))} months"
    return f" At {question.growth:g} times a year you have these in about {when}."


def headline(family: str, choice: Choice, later: str | None, where: str, future: int, question: Question) -> str:
    """The answer in one sentence."""
    about = within(choice.training)
    now = (f"Train the {family} family ({choice.label}) for {question.goal} with {question.examples:,} examples per "
           "rule" + (f", {about}" if about else ""))  # fmt: skip
    if question.growth == 1:
        return now + "."
    in_a_year = f"{future:,} examples per rule in a year"
    if later is None:
        return f"{now}; for the {in_a_year} there is not enough evidence."
    if later == family:
        return f"{now}, and stay with it for the {in_a_year}."
    return f"{now}; change to {the(later)}{where}, since it wins with the {in_a_year}."


def unclear_headline(later: str | None, future: int, is_measured: bool, question: Question) -> str:
    """The same, where there is none."""
    if not is_measured:
        return (f"Not enough evidence: no finished run that counts here has scores of {label(question.metric)} and a "
                "known number of examples per rule.")  # fmt: skip
    text = f"Not enough evidence to choose a family for {question.goal} with {question.examples:,} examples per rule"
    if question.growth != 1 and later is not None:
        return f"{text}; with the {future:,} of a year from now {the(later)} wins."
    return text + "."
