"""What a choice costs: training, and a year of puzzles written and reviewed."""

import math
from dataclasses import dataclass

from genraven.errors import InputError
from genraven.report.goals import Goal
from genraven.report.points import Point
from genraven.report.trust import seconds_to_write, share_to_review


@dataclass(frozen=True)
class Prices:
    """What is bought, and what it costs. None is not known, and left out.

    Raises:
        InputError: a number out of its range.
    """

    device_hour: float | None = None
    puzzles_per_year: int | None = None
    review_price: float | None = None
    """Of one puzzle, by a person."""

    def __post_init__(self) -> None:
        named = {"price": self.device_hour, "puzzles-per-year": self.puzzles_per_year,
                 "review-price": self.review_price}  # fmt: skip
        for name, value in named.items():
            if value is not None and not 0 <= value < math.inf:
                raise InputError(f"expected --{name} of 0 or more, got {value}.")


@dataclass(frozen=True)
class Bill:
    """In device-hours, and in money where a price is known."""

    training_hours: float | None
    seconds_each: float | None
    """Device-seconds that a puzzle takes, written as it is used: where completions are reviewed, with all the
    candidates and confidences that tell which; else once."""
    writing_hours: float | None
    """Of a year's puzzles."""
    review_share: float | None
    """Of the completions, left to people so that at most ``MAX_ERROR`` of the others are wrong."""
    reviewing: float | None
    """Money for a year; None where the share or the price is not known."""
    price: float | None

    @property
    def total(self) -> float | None:
        """Money: training + puzzles a year x cost of a puzzle written + share sent to review x price of a review.

        Without what is not known; None where not even training is.
        """
        if self.price is None or self.training_hours is None:
            return None
        return self.price * (self.training_hours + (self.writing_hours or 0.0)) + (self.reviewing or 0.0)

    @property
    def left_out(self) -> list[str]:
        """What of the total is not known."""
        parts = {"writing": self.writing_hours, "review": self.reviewing}
        return [name for name, value in parts.items() if value is None]


def bill(point: Point, training: Point, goal: Goal, prices: Prices) -> Bill:
    """Of training once as ``training`` was, and writing a year's puzzles with ``point``, which came of it."""
    each, number = seconds_per_puzzle(point, goal), prices.puzzles_per_year
    share, reviewing = None, None
    if goal.is_reviewed:
        trusts = [run.trust_in(result) for run, result in zip(point.runs, point.results, strict=True)]
        share = share_to_review(trusts)
        each = each if share is None else seconds_to_write(trusts)
    if number is not None and prices.review_price is not None and share is not None:
        reviewing = number * share * prices.review_price
    writing = None if each is None or number is None else number * each / 3600
    return Bill(training.spent("device_hours"), each, writing, share, reviewing, prices.device_hour)


def seconds_per_puzzle(point: Point, goal: Goal) -> float | None:
    """Device-seconds of a puzzle written once, the mean of the evaluations; None where they were not timed."""
    task, metric = goal.task, goal.times
    if task is None or metric is None:
        return None
    known = [
        result.seconds[task] * result.devices / result.scores[metric].count
        for result in point.results
        if result.seconds.get(task) is not None and metric in result.scores
    ]
    return sum(known) / len(known) if known else None
