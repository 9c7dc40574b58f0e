"""A check: a few runs of one's own set beside the study that answers. It gives no verdict of its own."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from genraven.errors import InputError, setting
from genraven.report.contest import ahead, lead, winner
from genraven.report.goals import GOALS
from genraven.report.question import Question
from genraven.report.runs import Run
from launch.advice import words
from launch.advice.studies import Body, Put, bodies_of, own_runs


class Outcome(Enum):
    """What a check says to a study at one number of examples."""

    AGREES = "agrees"
    DISAGREES = "disagrees"
    OPEN = "open"
    """The difference may be chance."""
    ALONE = "alone"
    """The study has not measured it."""


@dataclass(frozen=True)
class Side:
    """The two best families at one number of examples, as one body of evidence has them."""

    ahead: str
    behind: str
    examples: int
    values: tuple[float, float]
    """Theirs, in that order."""
    is_sure: bool
    """Of a study: by three repeats or more. Of a check: by its puzzles alone."""
    num_repeats: int
    """Repeats of the family that has the fewest."""


@dataclass(frozen=True)
class Compared:
    """One goal at one number of examples."""

    goal: str
    examples: int
    check: Side
    study: Side | None

    @property
    def outcome(self) -> Outcome:
        """What the check says to the study."""
        if self.study is None:
            return Outcome.ALONE
        if not self.check.is_sure or self.study.values[0] == self.study.values[1]:  # a tie has no leader
            return Outcome.OPEN
        return Outcome.AGREES if self.check.ahead == self.study.ahead else Outcome.DISAGREES

    def __str__(self) -> str:
        return words.said("compared", goal=self.goal, examples=self.examples, outcome=self.outcome.value,
                          check=self.check, study=self.study)  # fmt: skip


@dataclass(frozen=True)
class Check:
    """All that was compared, and how much smaller the check was."""

    runs: tuple[Run, ...]
    """The runs of the check itself."""
    study: str
    compared: tuple[Compared, ...]
    seen: tuple[float | None, float | None]
    """Puzzles that one of its trainings saw, and one of the study's: means; None where that is not known."""

    @property
    def outcome(self) -> Outcome:
        """Of all together: one that disagrees is enough for that, and so is one that agrees where none disagrees."""
        found = {one.outcome for one in self.compared}
        order = (Outcome.DISAGREES, Outcome.AGREES, Outcome.OPEN)
        return next((one for one in order if one in found), Outcome.ALONE)

    @property
    def sentences(self) -> list[str]:
        """The outcome, what it rests on, and how far it goes."""
        numbers = {one.value: sum(found.outcome is one for found in self.compared) for one in Outcome}
        here, there = (None if seen is None else words.with_unit(seen, "").strip() for seen in self.seen)
        repeats = min((one.check.num_repeats for one in self.compared), default=0)
        return [words.said("checked", study=self.study, outcome=self.outcome.value, numbers=numbers),
                *map(str, self.compared),
                words.said("is_no_verdict", repeats=repeats, here=here, there=there)]  # fmt: skip


def check_runs(folder: Path) -> Body:
    """The runs of a check, which are of one data set and prior.

    Raises:
        InputError: they are of several, or of none.
    """
    bodies = bodies_of(folder.name, own_runs(folder, setting("check")))
    if len(bodies) != 1:
        raise InputError(f"expected {setting('check')} to hold runs of one data set and prior, got {len(bodies)} "
                         f"in {folder}: name a folder that holds one.")  # fmt: skip
    return bodies[0]


def questions(own: Body, goal: str) -> list[tuple[int, float]]:
    """What a check asks by what it measured, as examples and growth: from its fewest to its most, or of these alone.

    Raises:
        InputError: it has no number of examples with both families.
    """
    sizes = own.put(Question(goal, 1)).sizes
    if not sizes:
        raise InputError(f"expected {setting('check')} to hold runs of both families with the same number of "
                         f"examples, scored for {goal}, got none in {own.study}: train and "
                         "evaluate what is missing.")  # fmt: skip
    return list(dict.fromkeys([(sizes[0], sizes[-1] / sizes[0]), (sizes[-1], 1.0)]))


def compare(own: Body, study: Body, goal: str) -> Check:
    """A check beside the study of its data and prior, for the goal that was asked for and then for all others."""
    found = [one for name in dict.fromkeys([goal, *GOALS]) for one in _compared(name, own, study)]
    return Check(own.runs, study.study, tuple(found), (_seen(own.runs), _seen(study.runs)))


def _compared(goal: str, own: Body, study: Body) -> list[Compared]:
    check, known = (body.put(Question(goal, 1)) for body in (own, study))
    found = []
    for examples in check.sizes:
        sides = [_side(known, size, is_check=False) for size in known.evidence.around(examples)]
        beside = sides[0] if len({side.ahead for side in sides}) == 1 else None
        found.append(Compared(goal, examples, _side(check, examples, is_check=True), beside))
    return found


def _side(put: Put, examples: int, *, is_check: bool) -> Side:
    field, metric = put.evidence.fields[examples], put.evidence.question.metric
    first, second = ahead(field, metric)[:2]
    one, other = field[first], field[second]
    values = one.point.value(metric), other.point.value(metric)
    is_sure = bool(lead(one, other, metric).sign) if is_check else bool(winner(field, put.evidence.names, metric))
    return Side(first, second, examples, values, is_sure, min(len(one.point.runs), len(other.point.runs)))


def _seen(runs: Sequence[Run]) -> float | None:
    known = [run.puzzles for run in runs if run.puzzles]
    return sum(known) / len(known) if known else None
