"""What several runs on the same puzzles say together: means, intervals, differences, crossings.

R repeats (other weights, noise and training puzzles), P puzzles; outcomes (..., R, P) are 1 where a run got a puzzle
right, 0 where not. Leading dimensions are calculated side by side.

Runs and puzzles are crossed random effects, x[r, p] = mean + run[r] + puzzle[p] + rest[r, p], since all repeats answer
the same puzzles. The mean of R x P answers then has variance var(run)/R + var(puzzle)/P + var(rest)/(R P), of which the
spread of the runs' means over R holds the first and the third. So (standard two-way analysis of variance, Searle,
Casella and McCulloch 1992, section 4.5):

- half of a t interval over the runs' means, with R - 1 degrees of freedom, and
- half of a normal interval of the puzzles, with var(puzzle) = (MS_puzzle - MS_rest) / R, not below 0,

join by the root of their sum of squares (recovery of variances, Zou and Donner 2008). Of a fraction the joined half is
laid out on the scale of log odds (delta method; Korn and Graubard 1998), on which fractions near 0 and 1 spread evenly:
on their own scale the interval of three runs there held the truth 90 times of 100. Three runs may agree by luck: no
interval is narrower than Wilson's of all answers pooled (differences: Newcombe's 1998, from two of Wilson's).
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, logit, ndtri, stdtrit

from genraven.metrics.intervals import CONFIDENCE, Interval, wilson

Floats = NDArray[np.float64]
MIN_REPEATS = 3
"""Repeats of each family that a verdict needs."""


@dataclass(frozen=True)
class Repeats:
    """One score of all repeats of a point."""

    means: Floats
    """(..., R), each run's score."""
    num_puzzles: float
    """That each run was scored on, or as many independent draws as would tell as much."""
    outcomes: Floats | None = None
    """(..., R, P); None where only their counts are known."""
    are_shared: bool = True
    """Were all runs scored on the same puzzles?"""
    is_fraction: bool = True
    """Else any number, such as a loss, of which only the spread over runs is known."""
    is_bound: bool = False
    """Of a number: what is meant may be anywhere below."""

    @classmethod
    def of(cls, outcomes: Any, *, are_shared: bool = True) -> "Repeats":
        """Of outcomes (..., R, P)."""
        outcomes = np.asarray(outcomes, np.float64)
        return cls(outcomes.mean(-1), outcomes.shape[-1], outcomes, are_shared)

    @property
    def num_runs(self) -> int:
        """The number R of runs."""
        return self.means.shape[-1]

    @property
    def standard_error(self) -> Any:
        """Of the mean; of one run that of its puzzles."""
        if self.num_runs > 1:
            return np.sqrt(self.means.var(-1, ddof=1) / self.num_runs + _puzzle_variance(self))
        return np.sqrt(self.means[..., 0] * (1 - self.means[..., 0]) / self.num_puzzles)

    def interval(self, confidence: float = CONFIDENCE) -> Interval:
        """Mean and interval. Of one run it is Wilson's, and knows nothing of other seeds; a number has none then."""
        if not self.is_fraction:
            mean = self.means.mean(-1)
            half = _half(self.means, 0.0, confidence) if self.num_runs > 1 else np.inf
            return Interval(mean, mean - half, mean + half)
        value, count = self.means.mean(-1), self.num_runs * self.num_puzzles
        low, high = wilson(value, count, confidence)
        if self.num_runs > 1:
            within = (value * count + 0.5) / (count + 1)  # off 0 and 1
            half = _half(self.means, _puzzle_variance(self), confidence) / (within * (1 - within))
            low, high = np.minimum(low, expit(logit(within) - half)), np.maximum(high, expit(logit(within) + half))
        return Interval(value, low, high)


def mean_of_all(values: Sequence[float | None]) -> float | None:
    """None of none, and where one is not known."""
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known and len(known) == len(values) else None


def of_values(values: Sequence[float], confidence: float = CONFIDENCE) -> Interval | None:
    """Mean and t interval of one number of each run, such as a loss; None of fewer than two runs."""
    numbers = Repeats(np.asarray(values, np.float64), 1, None, are_shared=False, is_fraction=False)
    return numbers.interval(confidence) if numbers.num_runs > 1 else None


def difference_of_values(a: Sequence[float], b: Sequence[float], confidence: float = CONFIDENCE) -> Interval | None:
    """``a`` less ``b``, as ``of_values``; None where either has fewer than two runs."""
    if min(len(a), len(b)) < 2:
        return None
    runs_a, runs_b = (Repeats(np.asarray(x, np.float64), 1, None, are_shared=False, is_fraction=False) for x in (a, b))
    return difference(runs_a, runs_b, are_paired=False, confidence=confidence)


def difference(
    a: Repeats,
    b: Repeats,
    *,
    are_paired: bool,
    confidence: float = CONFIDENCE,
    recipes: tuple[int, int] = (1, 1),
) -> Interval:
    """``a`` less ``b``.

    Where repeats chose a recipe, the luck that made it the best flatters what they score on other puzzles, too. So the
    mistakes allowed on each side are shared out among the recipes that its claim was chosen of (Bonferroni): the low
    end, which says that ``a`` is ahead, among those of ``a``, the high end among those of ``b``.

    Args:
        a: of one family.
        b: of the other, on the same puzzles where both are shared.
        are_paired: run r of both learned from the same training puzzles, so that these cancel.
        confidence: of the interval.
        recipes: of how many each is the best by its own runs; 1 where nothing was chosen.
    """
    (low, _), (_, high) = (_ends(a, b, are_paired, 1 - (1 - confidence) / num) for num in recipes)
    value = a.means.mean(-1) - b.means.mean(-1)
    if a.is_fraction:
        return Interval(value, np.maximum(low, -1.0), np.minimum(high, 1.0))
    return Interval(value, -np.inf if a.is_bound else low, np.inf if b.is_bound else high)


def _ends(a: Repeats, b: Repeats, are_paired: bool, confidence: float) -> tuple[Any, Any]:
    value = a.means.mean(-1) - b.means.mean(-1)
    are_several = min(a.num_runs, b.num_runs) > 1
    low, high = _newcombe(a, b, confidence) if a.is_fraction else (value, value) if are_several else (-np.inf, np.inf)
    if are_several:
        half = _paired_half(a, b, confidence) if are_paired else _apart_half(a, b, confidence)
        low, high = np.minimum(low, value - half), np.maximum(high, value + half)
    return low, high


def enough_runs(a: Repeats, b: Repeats, *, are_paired: bool, recipes: tuple[int, int], most: int) -> int | None:
    """The fewest runs of each, up to ``most``, by which ``difference`` would be sure, if means and spreads stay.

    More runs tell more of how runs differ, and nothing more of the puzzles that they share: so None may mean more
    puzzles.
    """
    value = float(a.means.mean(-1) - b.means.mean(-1))
    confidence = 1 - (1 - CONFIDENCE) / recipes[0 if value > 0 else 1]
    of_runs = (a.means - b.means).var(-1, ddof=1) if are_paired else a.means.var(-1, ddof=1) + b.means.var(-1, ddof=1)
    of_puzzles = _variance_of_pairs(a, b) if are_paired else _puzzle_variance(a) + _puzzle_variance(b)
    for num in range(MIN_REPEATS, most + 1):
        half = _joined_half(of_runs / num, num - 1, of_puzzles, confidence)
        pooled = (0.0, 0.0)
        if a.is_fraction:
            of_a, of_b = (replace(x, num_puzzles=x.num_puzzles * num / x.num_runs) for x in (a, b))
            pooled = _newcombe(of_a, of_b, confidence)
        if half < abs(value) and pooled[0] * pooled[1] >= 0:
            return num
    return None


def _half(means: Floats, puzzle_variance: Any, confidence: float) -> Any:
    """Of the joined interval: ``puzzle_variance`` is that of the mean of all puzzles."""
    num_runs = means.shape[-1]
    return _joined_half(means.var(-1, ddof=1) / num_runs, num_runs - 1, puzzle_variance, confidence)


def _joined_half(run_variance: Any, freedom: Any, puzzle_variance: Any, confidence: float) -> Any:
    """Of variances of the mean: over runs by Student's t with ``freedom`` degrees, over puzzles by the normal law."""
    t, z = stdtrit(freedom, 0.5 + confidence / 2), ndtri(0.5 + confidence / 2)
    return np.sqrt(t**2 * run_variance + z**2 * puzzle_variance)


def _puzzle_variance(x: Repeats) -> Any:
    """Of the mean, for the puzzles that all runs share; its largest possible value where only counts are known."""
    if not x.are_shared:
        return 0.0
    if x.outcomes is None:
        return x.means.mean(-1) * (1 - x.means.mean(-1)) / x.num_puzzles
    return _between_puzzles(x.outcomes)


def _between_puzzles(outcomes: Floats) -> Any:
    num_runs, num_puzzles = outcomes.shape[-2:]
    if num_puzzles < 2:
        return np.zeros(outcomes.shape[:-2])
    of_runs = num_puzzles * outcomes.mean(-1).var(-1, ddof=1)
    of_puzzles = num_runs * outcomes.mean(-2).var(-1, ddof=1)
    total = outcomes.reshape(*outcomes.shape[:-2], -1).var(-1) * num_runs * num_puzzles
    freedom = (num_runs - 1) * (num_puzzles - 1)
    rest = (total - (num_runs - 1) * of_runs - (num_puzzles - 1) * of_puzzles) / freedom
    return np.maximum(of_puzzles - rest, 0.0) / num_runs / num_puzzles


def _paired_half(a: Repeats, b: Repeats, confidence: float) -> Any:
    return _half(a.means - b.means, _variance_of_pairs(a, b), confidence)


def _variance_of_pairs(a: Repeats, b: Repeats) -> Any:
    """Of the mean of paired differences, for the puzzles that all runs share."""
    if a.outcomes is not None and b.outcomes is not None and a.outcomes.shape == b.outcomes.shape:
        return _between_puzzles(a.outcomes - b.outcomes) if a.are_shared and b.are_shared else 0.0
    # Shared puzzles that are hard for one are hard for the other: as if they were not is the wider interval.
    return _puzzle_variance(a) + _puzzle_variance(b)


def _apart_half(a: Repeats, b: Repeats, confidence: float) -> Any:
    """With Welch's degrees of freedom (1947)."""
    of_a, of_b = (x.means.var(-1, ddof=1) / x.num_runs for x in (a, b))
    of_all = np.maximum(of_a + of_b, np.finfo(float).tiny)
    freedom = of_all**2 / np.maximum(of_a**2 / (a.num_runs - 1) + of_b**2 / (b.num_runs - 1), np.finfo(float).tiny)
    freedom = np.clip(freedom, min(a.num_runs, b.num_runs) - 1, a.num_runs + b.num_runs - 2)
    return _joined_half(of_all, freedom, _puzzle_variance(a) + _puzzle_variance(b), confidence)


def _newcombe(a: Repeats, b: Repeats, confidence: float) -> tuple[Any, Any]:
    """Of two pooled fractions (Newcombe 1998, method 10)."""
    p, q = a.means.mean(-1), b.means.mean(-1)
    (low_p, high_p), (low_q, high_q) = (
        wilson(fraction, x.num_runs * x.num_puzzles, confidence) for fraction, x in ((p, a), (q, b))
    )
    below, above = np.hypot(p - low_p, high_q - q), np.hypot(high_p - p, q - low_q)
    return p - q - below, p - q + above


# Crossings -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Crossing:
    """Where the lead changes along an axis, or where it could. None is an open end."""

    before: int
    """1 where the first of the two is ahead at smaller values, -1 where the other is, 0 where nothing is sure."""
    after: int
    low: float | None
    """The largest value at which the one before is surely ahead."""
    high: float | None
    """The smallest above it at which the other is."""
    since: float | None = None
    """The smallest at which anybody surely is ahead, where it is always the same."""
    unsure: tuple[float, ...] = ()
    """Those from there to ``low`` at which nobody surely is."""

    @property
    def is_sure(self) -> bool:
        """Was one surely ahead at a smaller value, and the other at a larger?"""
        return self.before * self.after < 0


def per_point(num_points: int, mistakes: float = 1 - CONFIDENCE) -> float:
    """The confidence of each of ``num_points`` two-sided intervals with which crossings are tested.

    Where the curves do not cross, one of the two is ahead nowhere. A crossing is claimed only if it looked ahead
    somewhere, an event on one side of one of the intervals: with ``mistakes`` / ``num_points`` on each side, false
    claims are at most ``mistakes`` (Bonferroni over the points; of both directions only the false one has to fail).
    """
    return 1 - 2 * mistakes / num_points


def crossing(values: Sequence[float], signs: Sequence[int]) -> Crossing:
    """The first change of the sure lead, ``signs`` of differences at ascending ``values``; else what is left open."""
    sure = [(value, int(sign)) for value, sign in zip(values, signs, strict=True) if sign]
    if not sure:
        return Crossing(0, 0, None, None)
    for (low, before), (high, after) in zip(sure, sure[1:], strict=False):
        if before != after:
            return Crossing(before, after, low, high)
    sign, since, last = sure[0][1], sure[0][0], sure[-1][0]
    unsure = tuple(value for value, one in zip(values, signs, strict=True) if not one and since < value < last)
    return Crossing(sign, sign, last, None, since=since, unsure=unsure)
