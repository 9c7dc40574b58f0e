"""The question put to the runs, and what bears on it."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from genraven.errors import InputError, check_number, setting
from genraven.metrics.table import SCORES, label
from genraven.report.contest import Field, by_examples, groups, winner
from genraven.report.english import sentence
from genraven.report.forecast import Forecast
from genraven.report.goals import GOALS, Goal, StandIn
from genraven.report.points import Point, Variant, forecast_from, variants
from genraven.report.runs import Run


@dataclass(frozen=True)
class Prices:
    """What is bought, and what it costs. None is not known, and left out.

    Raises:
        InputError: a number out of its range.
    """

    device_hour: float | None = None
    puzzles_per_year: int | None = None
    review_price: float | None = None
    """The price of a person's review of one puzzle."""

    def __post_init__(self) -> None:
        named = {"price": self.device_hour, "puzzles_per_year": self.puzzles_per_year,
                 "review_price": self.review_price}  # fmt: skip
        for name, value in named.items():
            if value is not None:
                check_number(setting(name), value)
                if not 0 <= value < math.inf:
                    raise InputError(f"expected {setting(name)} of 0 or more, got {value}.")


@dataclass(frozen=True)
class Question:
    """What somebody wants to know.

    Raises:
        InputError: no such goal, or a number out of its range.
    """

    goal: str
    """One of ``GOALS``."""
    examples: int
    """Examples of each rule that there are now."""
    growth: float = 1.0
    """Times as many examples in a year."""
    budget: float | None = None
    """That a training may take, in device-hours; in money when ``in_money``."""
    in_money: bool = False
    prices: Prices = field(default_factory=Prices)
    by_stand_in: bool = False
    """Is the goal's stand-in asked for? ``of`` tells whether it has to be."""

    def __post_init__(self) -> None:
        if self.goal not in GOALS:
            raise InputError(f"expected {setting('goal')} to be {' or '.join(GOALS)}, got {self.goal!r}.")
        for name, value in (("examples", self.examples), ("growth", self.growth), ("budget", self.budget)):
            if value is not None:
                check_number(setting(name), value)
                if not 0 < value < math.inf:
                    raise InputError(f"expected a finite {setting(name)} above 0, got {value}.")

    @property
    def asked(self) -> Goal:
        """The goal that is asked for."""
        return GOALS[self.goal]

    @property
    def stand_in(self) -> StandIn | None:
        """What is asked for instead of the goal's own score, if anything is."""
        return self.asked.stand_in if self.by_stand_in else None

    @property
    def metric(self) -> str:
        """The score that the goal is measured by."""
        return (self.stand_in or self.asked).score

    def does(self, value: str) -> str:
        """What a family does whose score is ``value``."""
        words = (self.stand_in or self.asked).does
        return words.format(value) if words else sentence(
            "does", score=self.metric, value=value, label=label(self.metric))  # fmt: skip

    def of(self, runs: Iterable[Run]) -> "Question":
        """The same, put to ``runs``: by a score that all of them have which have the goal's or its stand-in.

        How many of some puzzles are different depends on how many there are: of other numbers it is the stand-in, too.
        """
        other, score = self.asked.stand_in, self.asked.score
        results = [run.final for run in runs if run.is_evidence and run.final]
        missing = other and any(one.measured(other.score) and not one.measured(score) for one in results)
        counts = {one.scores[score].count for one in results if score in one.scores}
        is_uneven = other and SCORES[score].by == "variety" and len(counts) > 1
        return replace(self, by_stand_in=bool(missing or is_uneven))

    def affords(self, point: Point) -> bool | None:
        """Is the training within the budget? None where its cost is not known."""
        cost = point.spent("money" if self.in_money else "device_hours")
        return True if self.budget is None else None if cost is None else cost <= self.budget


@dataclass(frozen=True)
class Evidence:
    """What bears on a question: the points that stand for each family, within the budget, by number of examples."""

    variants: Sequence[Variant]
    names: Sequence[str]
    """Of all families that have a run, finished or not."""
    fields: Mapping[int, Field]
    question: Question

    def around(self, examples: float) -> list[int]:
        """The number of examples itself, or the two on both sides, at which all families were measured; else none."""
        whole = [size for size, field in self.fields.items() if all(name in field for name in self.names)]
        if examples in whole:
            return [int(examples)]
        left, right = [size for size in whole if size < examples], [size for size in whole if size > examples]
        return [max(left), min(right)] if left and right else []

    def nearest(self, examples: float) -> int | None:
        """Of these, the one that is the fewest times more or fewer; None where there is none."""
        return min(self.around(examples), key=lambda size: abs(math.log(size / examples)), default=None)

    def winner(self, examples: float) -> str | None:
        """The family that wins there: where only both sides were measured, on both."""
        found = {winner(self.fields[size], self.names, self.question.metric) for size in self.around(examples)}
        return found.pop() if len(found) == 1 else None

    def measured(self, family: str) -> list[int]:
        """Numbers of examples."""
        return [size for size, field in self.fields.items() if family in field]

    def uncounted(self, family: str) -> list[str]:
        """Names of runs that have the score, from a number of examples that is not known."""
        return [run.name for run in self._scored(family) if not run.samples_per_rule]

    def beyond_budget(self, family: str) -> tuple[int, int]:
        """How many runs have the score but cost more than the budget, and of how many the cost is not known.

        (0, 0) where some are within it.
        """
        if self.question.budget is None or self.measured(family):
            return 0, 0
        runs = [run for run in self._scored(family) if run.samples_per_rule is not None]
        axis = "money" if self.question.in_money else "device_hours"
        unknown = sum(run.spent(axis, run.final.step) is None for run in runs if run.final)
        return len(runs) - unknown, unknown

    def _scored(self, family: str) -> list[Run]:
        runs = [run for variant in self.variants for run in variant.runs if run.family == family]
        return [run for run in runs if run.final and run.final.measured(self.question.metric)]

    def forecast(self, family: str) -> Forecast:
        """The forecast of the goal's score."""
        return forecast_from(
            {size: self.fields[size][family].point for size in self.measured(family)}, self.question.metric
        )


def gather(runs: Sequence[Run], question: Question) -> Evidence:
    """The evidence of ``runs``, all of one data set."""
    found = variants(runs)
    all_names = sorted({*groups(found), *(run.family for run in runs if run.family)})
    fields = by_examples(found, question.metric, lambda variant, samples: _affordable(variant, samples, question))
    return Evidence(found, all_names, fields, question)


def _affordable(variant: Variant, samples: int, question: Question) -> Point | None:
    """The end of its training, or of a steady one the last checkpoint within the budget."""
    end = variant.points.get(samples)
    if end is None or question.affords(end):
        return end
    along = variant.along(samples, question.metric) if variant.is_steady else []
    return next((point for point in reversed(along) if question.affords(point)), None)
