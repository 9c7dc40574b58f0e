"""How well a confidence tells right completions from wrong ones.

N puzzles; scores (N,), the higher the surer; correct (N,) bool; probabilities (N,) of being correct.
"""

from collections.abc import Callable, Mapping
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


@dataclass(frozen=True)
class CalibrationError:
    """How far stated probabilities are from fractions, which is above 0 by chance alone."""

    value: float
    count: int
    """Number of puzzles."""
    by_chance: tuple[float, float]
    """The mean error of probabilities that are true, on as many puzzles, and what 95% of their errors stay within."""

    @property
    def in_words(self) -> str:
        """The error, beside what chance gives."""
        mean, most = self.by_chance
        return f"{self.value:.4f}; true probabilities have {mean:.4f} on as many, and in 95% at most {most:.4f}"

    @classmethod
    def of(cls, probabilities: ArrayLike, correct: ArrayLike, *, seed: int = 0) -> "CalibrationError":
        """As measured, and of outcomes drawn as probable as they are stated to be (Bröcker and Smith 2007)."""
        p, y = np.asarray(probabilities, np.float64), np.asarray(correct, bool)
        rng = np.random.default_rng(seed)
        drawn = np.concatenate(
            [_calibration_errors(p, rng.random((100, len(p))) < p) for _ in range(NUM_RESAMPLES // 100)]
        )
        return cls(calibration_error(p, y), len(y), (float(np.mean(drawn)), float(np.quantile(drawn, 0.95))))

    @classmethod
    def read(cls, found: Mapping[str, Any]) -> "CalibrationError | None":
        """Of ``as_json``; None of an older one, which had an interval that did not hold the truth."""
        return cls(found["value"], found["count"], tuple(found["by_chance"])) if "by_chance" in found else None

    def as_json(self) -> dict[str, Any]:
        """What is written to files: value, count, by_chance."""
        return {"value": self.value, "count": self.count, "by_chance": list(self.by_chance)}


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
    return float(_calibration_errors(np.asarray(probabilities, np.float64), np.asarray(correct)[None], num_bins)[0])


def _calibration_errors(p: Floats, correct: NDArray[Any], num_bins: int = NUM_BINS) -> Floats:
    """(R,) errors of outcomes (R, N). Puzzles with one probability are in random order, in expectation."""
    order = np.argsort(p)
    p, right = p[order], correct[:, order].astype(np.float64)
    _, first, count = np.unique(p, return_index=True, return_counts=True)
    right = np.repeat(np.add.reduceat(right, first, axis=1) / count, count, axis=1)
    starts = [bin_of[0] for bin_of in np.array_split(np.arange(len(p)), min(num_bins, len(p)))]
    apart = np.add.reduceat(p - right, starts, axis=1)  # summed within each bin
    return np.abs(apart).sum(1) / len(p)


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
    calibration_error: CalibrationError | None

    def as_json(self) -> dict[str, Any]:
        """Areas and calibration error as plain values for JSON."""
        return asdict(self) | {
            "area": self.area.as_json(),
            "calibration_error": self.calibration_error and self.calibration_error.as_json(),
        }


def trustworthiness(scores: ArrayLike, correct: ArrayLike, probabilities: ArrayLike | None = None) -> Trustworthiness:
    """Area, what it lies between, and the error of ``probabilities`` where there are some."""
    y = np.asarray(correct, bool)
    error = None if probabilities is None else CalibrationError.of(probabilities, y)
    return Trustworthiness(measured(area, scores, y), float((~y).mean()), area(y, y), error)
