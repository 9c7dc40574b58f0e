"""How well a confidence tells right completions from wrong ones.

N puzzles; scores (N,), the higher the surer; correct (N,) bool; probabilities (N,) of being correct.
"""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from genraven.metrics.intervals import Interval

Floats = NDArray[np.float64]
NUM_BINS, NUM_RESAMPLES = 15, 1000


@dataclass(frozen=True)
class Measured(Interval):
    """A number with its 95% interval over ``count`` puzzles."""

    count: int

    def as_json(self) -> dict[str, Any]:
        """As rates are written: value, count, interval95."""
        return {"value": self.value, "count": self.count, "interval95": [self.low, self.high]}


def risk_coverage(scores: ArrayLike, correct: ArrayLike) -> tuple[Floats, Floats]:
    """((N,), (N,)): fractions of the puzzles, surest first, and the fraction of wrong ones among them.

    Puzzles with one score are in random order, in expectation (Geifman & El-Yaniv 2017).
    """
    values, wrong = np.asarray(scores, np.float64), ~np.asarray(correct, bool)
    _, group = np.unique(-values, return_inverse=True)  # 0 for the surest
    mean = np.bincount(group, wrong) / np.bincount(group)
    ranks = np.arange(1, len(values) + 1)
    return ranks / len(values), np.cumsum(mean[np.sort(group)]) / ranks


def area(scores: ArrayLike, correct: ArrayLike) -> float:
    """Mean risk over all coverages: 0 is best, and scores that say nothing have the fraction of wrong completions."""
    return float(risk_coverage(scores, correct)[1].mean())


def calibration_error(probabilities: ArrayLike, correct: ArrayLike, num_bins: int = NUM_BINS) -> float:
    """Mean distance of stated from actual fractions, over bins of as many puzzles each (Naeini et al. 2015)."""
    p, y = np.asarray(probabilities, np.float64), np.asarray(correct, np.float64)
    order = np.argsort(p, kind="stable")
    bins = np.array_split(order, min(num_bins, len(order)))
    return float(sum(abs(p[b].mean() - y[b].mean()) * len(b) for b in bins) / len(order))


def measured(
    statistic: Callable[[Any, Any], float], scores: ArrayLike, correct: ArrayLike, *, seed: int = 0
) -> Measured:
    """``statistic`` of (scores, correct) with its 95% bootstrap interval over puzzles."""
    s, y = np.asarray(scores, np.float64), np.asarray(correct, bool)
    value = statistic(s, y)
    if len(y) < 2:
        return Measured(value, float("nan"), float("nan"), len(y))
    interval = stats.bootstrap(
        (s, y),
        statistic,
        paired=True,
        vectorized=False,
        n_resamples=NUM_RESAMPLES,
        method="percentile",
        rng=np.random.default_rng(seed),
    ).confidence_interval
    return Measured(value, float(interval.low), float(interval.high), len(y))


@dataclass(frozen=True)
class Trustworthiness:
    """How far a model knows when it is wrong."""

    area: Measured
    """Under the curve of risk against coverage."""
    random_area: float
    """That of scores that say nothing: the fraction of wrong completions."""
    best_area: float
    """The area of scores that separate wrong completions from right ones."""
    calibration_error: Measured | None

    def as_json(self) -> dict[str, Any]:
        """Areas and calibration error as plain values for JSON."""
        return asdict(self) | {
            "area": self.area.as_json(),
            "calibration_error": self.calibration_error and self.calibration_error.as_json(),
        }


def trustworthiness(scores: ArrayLike, correct: ArrayLike, probabilities: ArrayLike | None = None) -> Trustworthiness:
    """Area, what it lies between, and the error of ``probabilities`` where there are some."""
    y = np.asarray(correct, bool)
    error = None if probabilities is None else measured(calibration_error, probabilities, y)
    return Trustworthiness(measured(area, scores, y), float((~y).mean()), area(y, y), error)
