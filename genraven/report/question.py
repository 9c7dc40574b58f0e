"""The question put to the runs."""

import math
from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from genraven.errors import InputError
from genraven.report.goals import GOALS, Goal, StandIn
from genraven.report.points import Point
from genraven.report.runs import Run
from genraven.report.spending import Prices


@dataclass(frozen=True)
class Question:
    """What somebody wants to know.

    Raises:
        InputError: no such goal, or a number out of its range.
    """

    goal: str
    """One of ``GOALS``."""
    examples: int
    """Per rule, now."""
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
            raise InputError(f"expected --goal to be {' or '.join(GOALS)}, got {self.goal!r}.")
        for name, value in (("examples", self.examples), ("growth", self.growth), ("budget", self.budget)):
            if value is not None and not 0 < value < math.inf:
                raise InputError(f"expected --{name} above 0, got {value}.")

    @property
    def asked(self) -> Goal:
        """The goal."""
        return GOALS[self.goal]

    @property
    def stand_in(self) -> StandIn | None:
        """What is asked for instead of the goal's own score, if anything is."""
        return self.asked.stand_in if self.by_stand_in else None

    @property
    def metric(self) -> str:
        """The score that the goal is measured by."""
        return (self.stand_in or self.asked).score

    @property
    def does(self) -> str:
        """What a family does, with a place for the value of the score."""
        return (self.stand_in or self.asked).does

    def of(self, runs: Iterable[Run]) -> "Question":
        """The same, put to ``runs``: by a score that all of them have which have the goal's or its stand-in."""
        other = self.asked.stand_in
        results = [run.final for run in runs if run.is_evidence and run.final]
        missing = other and any(one.measured(other.score) and not one.measured(self.asked.score) for one in results)
        return replace(self, by_stand_in=bool(missing))

    @property
    def unit(self) -> str:
        """Of the budget."""
        return "of money" if self.in_money else "device-hours"

    def affords(self, point: Point) -> bool | None:
        """Is the training within the budget? None where its cost is not known."""
        cost = point.spent("money" if self.in_money else "device_hours")
        return True if self.budget is None else None if cost is None else cost <= self.budget
