"""The question put to the runs."""

import math
from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from genraven.errors import InputError
from genraven.report.points import Point
from genraven.report.runs import Run
from genraven.report.spending import Prices

GOALS = {"completion": "completion", "generation": "different_novel_c3"}
COPIES_TOO = "novel_c3"
"""What stands for generation where different puzzles were not counted: it counts the same one again."""
DOES = {
    "completion": "completes {} of puzzles by their rule",
    "different_novel_c3": "generates a new, consistent and different puzzle {} of the time",
    COPIES_TOO: "generates a new consistent puzzle, or one that it wrote before, {} of the time",
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
    prices: Prices = field(default_factory=Prices)
    counts_different: bool = True
    """Is generation asked for by different puzzles? ``of`` tells whether that can be."""

    def __post_init__(self) -> None:
        if self.goal not in GOALS:
            raise InputError(f"expected --goal to be {' or '.join(GOALS)}, got {self.goal!r}.")
        for name, value in (("examples", self.examples), ("growth", self.growth), ("budget", self.budget)):
            if value is not None and not 0 < value < math.inf:
                raise InputError(f"expected --{name} above 0, got {value}.")

    @property
    def metric(self) -> str:
        """The score that the goal is measured by."""
        return GOALS[self.goal] if self.goal == "completion" or self.counts_different else COPIES_TOO

    def of(self, runs: Iterable[Run]) -> "Question":
        """The same, put to ``runs``: by a score that all of them have which were asked for generated puzzles."""
        scored = [run.final.scores for run in runs if run.is_evidence and run.final]
        counted = all(GOALS["generation"] in scores for scores in scored if COPIES_TOO in scores)
        return replace(self, counts_different=counted)

    @property
    def unit(self) -> str:
        """Of the budget."""
        return "of money" if self.in_money else "device-hours"

    def affords(self, point: Point) -> bool | None:
        """Is the training within the budget? None where its cost is not known."""
        cost = point.spent("money" if self.in_money else "device_hours")
        return True if self.budget is None else None if cost is None else cost <= self.budget
