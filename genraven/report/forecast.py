"""A forecast that can be wrong: the score with more examples than were measured, shown only where it has proved itself.

The simplest curve that the points carry: log odds of the score on a straight line over the logarithm of the number of
examples, by least squares, with the t interval of a new point; points that lie on a line by luck are no more exact than
they were measured. It has proved itself where, with the largest measured
size hidden, its 80% interval there is narrower than 0.3, holds what was measured, and its middle is nearer to that than
"the same as the last" is.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, logit, stdtrit

from genraven.metrics.intervals import Interval
from genraven.report.english import sentence

CONFIDENCE, WIDEST, MIN_SIZES = 0.8, 0.3, 4
EDGE = 0.002  # log odds are taken of scores this far from 0 and 1 at least
NUM_DRAWS = 4000


@dataclass(frozen=True)
class Line:
    """Log odds over log examples, fitted to (examples, score)."""

    slope: float
    middle: tuple[float, float]
    """Means of both."""
    sd: float
    """Of the residuals, or of the measurements where these are less exact."""
    num_points: int
    spread: float
    """Sum of squares of log examples about their mean."""

    @classmethod
    def fit(cls, scores: Mapping[int, float], errors: Mapping[int, float]) -> "Line":
        """To three points or more with these standard errors."""
        fractions = np.clip(list(scores.values()), EDGE, 1 - EDGE)
        x, y = np.log(list(scores)), logit(fractions)
        spread = float(((x - x.mean()) ** 2).sum())
        slope = float(((x - x.mean()) * (y - y.mean())).sum() / spread)
        rest = y - y.mean() - slope * (x - x.mean())
        measured = np.array([errors[size] for size in scores]) / (fractions * (1 - fractions))
        sd = max(np.sqrt((rest**2).sum() / (len(x) - 2)), np.sqrt((measured**2).mean()))
        return cls(slope, (float(x.mean()), float(y.mean())), float(sd), len(x), spread)

    def at(self, examples: float) -> Interval:
        """The score there, with its 80% interval."""
        centre, half = self.at_logs(np.log(examples)), self._half(np.log(examples))
        t = stdtrit(self.num_points - 2, 0.5 + CONFIDENCE / 2)
        return Interval(centre, centre - t * half, centre + t * half).through(expit)

    def draws(self, log_examples: NDArray[np.float64], seed: int) -> NDArray[np.float64]:
        """(draws, N) log odds of lines that the points allow."""
        random = np.random.default_rng(seed)
        scale = self.sd * np.sqrt((self.num_points - 2) / random.chisquare(self.num_points - 2, (NUM_DRAWS, 1)))
        level = scale / np.sqrt(self.num_points) * random.normal(size=(NUM_DRAWS, 1))
        slope = scale / np.sqrt(self.spread) * random.normal(size=(NUM_DRAWS, 1))
        return self.at_logs(log_examples) + level + slope * (log_examples - self.middle[0])

    def at_logs(self, log_examples: NDArray[np.float64]) -> NDArray[np.float64]:
        """Log odds on the line."""
        return self.middle[1] + self.slope * (log_examples - self.middle[0])

    def _half(self, log_examples: NDArray[np.float64]) -> NDArray[np.float64]:
        return self.sd * np.sqrt(1 + 1 / self.num_points + (log_examples - self.middle[0]) ** 2 / self.spread)


@dataclass(frozen=True)
class Forecast:
    """A fitted line, and why it is not shown where it is not."""

    scores: Mapping[int, float]
    """Measured: the mean at each number of examples per rule."""
    line: Line | None
    refusal: str = ""

    @property
    def is_shown(self) -> bool:
        """Has it proved itself?"""
        return not self.refusal


def forecast(scores: Mapping[int, float], errors: Mapping[int, float]) -> Forecast:
    """Of the scores, with their standard errors, at ascending numbers of examples."""
    if len(scores) < MIN_SIZES:
        return Forecast(scores, None, sentence("forecast_needs", min_sizes=MIN_SIZES, num=len(scores)))
    *before, last = scores
    hidden, truth = Line.fit({size: scores[size] for size in before}, errors).at(last), scores[last]
    line, failure = Line.fit(scores, errors), ""
    if hidden.high - hidden.low >= WIDEST:
        failure = "wide"
    elif not hidden.low <= truth <= hidden.high:
        failure = "missed"
    elif abs(hidden.value - truth) >= abs(scores[before[-1]] - truth):
        failure = "no_nearer"
    else:
        return Forecast(scores, line)
    text = sentence("forecast_failed", hidden=last, **hidden.written(".2f"), failure=failure, widest=WIDEST,
                    truth=f"{truth:.2f}")  # fmt: skip
    return Forecast(scores, line, text)


def overtaking(
    first: Forecast, second: Forecast, last: float, horizon: float, direction: int = 1
) -> tuple[float, float, float] | None:
    """Examples, above ``last``, at which the line of ``second`` passes that of ``first``: median and 80% interval.

    It passes upwards, or downwards where ``direction`` is -1, since less is better.

    None where either has not proved itself, or fewer than nine of ten lines that the points allow cross up to
    ``horizon``: then there is no such number, or it is anybody's guess.
    """
    if not (first.is_shown and second.is_shown and first.line and second.line):
        return None
    x = np.linspace(np.log(last), np.log(horizon), 400)
    gap = direction * (second.line.draws(x, 0) - first.line.draws(x, 1))
    crosses = (gap[:, 0] < 0) & (gap > 0).any(1)
    if crosses.mean() < 0.5 + CONFIDENCE / 2:
        return None
    at = np.exp(x[(gap[crosses] > 0).argmax(1)])
    low, middle, high = np.quantile(at, [0.5 - CONFIDENCE / 2, 0.5, 0.5 + CONFIDENCE / 2])
    return float(middle), float(low), float(high)
