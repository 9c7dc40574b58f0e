"""Along a training: when a score is reached, does it still rise at the end, was the best checkpoint earlier."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from genraven.metrics.intervals import Interval
from genraven.metrics.table import direction
from genraven.report.points import Point, Variant, best_checkpoints, compare
from genraven.report.runs import Run

TARGETS = (("completion", 0.5), ("completion", 0.9), ("c3", 0.5))
EARLIER = 0.75
"""A curve's end is compared with the last point within this fraction of the training."""
FLAT = 0.03
"""A change whose whole interval is within this is none."""
Trend = Literal["gains", "level", "loses", "unclear", "unknown"]


@dataclass(frozen=True)
class Reach:
    """What it took repeats to reach a score for the first time."""

    costs: tuple[float, ...]
    """The costs of those that reached it, ascending."""
    num_runs: int
    spent: float
    """By those that never did, the most; else by any."""

    @property
    def median(self) -> float:
        """Infinite where half of the runs or more never reached it."""
        costs = [*self.costs, *[math.inf] * (self.num_runs - len(self.costs))]
        middle = costs[(len(costs) - 1) // 2 : len(costs) // 2 + 1]
        return sum(middle) / len(middle)


def reach(runs: Sequence[Run], metric: str, target: float, axis: str) -> Reach | None:
    """``axis`` spent until ``metric`` was first seen at ``target`` or better; None where the cost is not known."""
    costs, never, spent = [], [], []
    for run in runs:
        seen = [(run.spent(axis, result.step), result.measured(metric)) for result in run.series(metric)]
        series = [(cost, measured.value) for cost, measured in seen if measured]
        known = [(cost, value) for cost, value in series if cost is not None]
        if not known:
            return None
        spent.append(known[-1][0])
        reached = [cost for cost, value in known if direction(metric) * (value - target) >= 0]
        costs += reached[:1]
        never += [] if reached else [known[-1][0]]
    return Reach(tuple(sorted(costs)), len(runs), max(never or spent)) if runs else None


@dataclass(frozen=True)
class End:
    """How a curve ends."""

    trend: Trend
    change: Interval | None = None
    """From the last point within three quarters of the training to its end."""


def end_of(variant: Variant, samples: int, metric: str) -> End:
    """Of the training on ``samples`` examples per rule; unknown where its middle was not scored."""
    along = variant.along(samples, metric)
    before = [point for point in along[:-1] if _step(point) <= EARLIER * _step(along[-1])]
    if not before:
        return End("unknown")
    change = compare(along[-1], before[-1], metric)
    assert change is not None
    if change.sign:
        return End("gains" if direction(metric) * change.sign > 0 else "loses", change)
    return End("level" if change.low > -FLAT and change.high < FLAT else "unclear", change)


def _step(point: Point) -> float:
    return float(np.mean([result.step for result in point.results]))


def best_and_last(point: Point, metric: str) -> tuple[Point, Interval] | None:
    """The point of the best checkpoints, and how much better they are; None where not both are scored."""
    best = best_checkpoints(point, metric)
    change = compare(best, point, metric) if best else None
    return (best, change) if best and change else None
