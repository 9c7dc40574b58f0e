"""Laws that a user can carry over to a number of examples of his own, and whether they have proved themselves.

R repeats; a curve is a score against what its training spent. Each law is fitted to each repeat alone, and its interval
is a t interval over repeats: what differs between runs is in it, whatever the fit does. A law is shown only where it
predicts a point that was hidden from it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, logit, stdtrit

from genraven.metrics.intervals import CONFIDENCE, Interval
from genraven.report.forecast import EDGE, WIDEST, Line, forecast
from genraven.report.statistics import MIN_REPEATS, difference_of_values, of_values

Curve = Mapping[int, float]
"""Scores of one run, by what its training had spent."""
MIN_POINTS = 8
"""Of each repeat, for the worth of repeated examples."""
WORTHS = np.geomspace(0.3, 3000, 161)
"""Values of R* that the fit tries. A fit at either end has seen no bend."""
TARGETS = tuple(round(0.1 * k, 1) for k in range(9, 0, -1))


def spent_to(curve: Curve, target: float) -> float | None:
    """Logarithm of what a run spends until ``target``, by its line in log odds; None where that does not rise."""
    line = _line(curve)
    if line.slope <= 0:
        return None
    return line.middle[0] + (float(logit(target)) - line.middle[1]) / line.slope


def has_proved_itself(curves: Sequence[Curve]) -> bool:
    """Does the line through the means of all points but the last predict that?"""
    at = sorted(set.intersection(*(set(curve) for curve in curves)))
    values = {x: np.array([curve[x] for curve in curves]) for x in at}
    errors = {x: float(found.std(ddof=1) / np.sqrt(len(found))) for x, found in values.items()}
    return forecast({x: float(found.mean()) for x, found in values.items()}, errors).is_shown


@dataclass(frozen=True)
class Ratio:
    """How many times as much the first family spends as the second until both have a score."""

    target: float
    times: Interval


def ratio(first: Sequence[Curve], second: Sequence[Curve]) -> Ratio | None:
    """To the highest of ``TARGETS`` that every run of both reached; None where there is none, or a line does not rise.

    Args:
        first: curves of at least three points of each repeat of a family.
        second: of the other.
    """
    reached = min(max(curve.values()) for curve in (*first, *second))
    begun = max(min(curve.values()) for curve in (*first, *second))
    target = next((t for t in TARGETS if begun < t <= reached), None)
    if target is None or min(len(first), len(second)) < MIN_REPEATS:
        return None
    logs = [[spent_to(curve, target) for curve in curves] for curves in (first, second)]
    known = [[one for one in found if one is not None] for found in logs]
    if [len(found) for found in known] != [len(first), len(second)]:
        return None
    times = difference_of_values(known[0], known[1])
    assert times is not None
    return Ratio(target, times.through(np.exp))


def ahead_from(first: Sequence[Curve], second: Sequence[Curve], direction: int = 1) -> Interval | str:
    """What a training spends until the second family is ahead, or the name of the reason why that is not known.

    The lead of the second family, by the lines of both in log odds, has a t interval over repeats at each cost. The
    interval of the cost is where the lead's holds 0 (Fieller 1954). It is known only where both ends are: the second
    family is surely behind at the least that all runs have spent, and surely ahead at the most.

    Args:
        first: curves of at least four points of each repeat of a family.
        second: of the other.
        direction: -1 where less is better.
    """
    if not (_line_predicts(first) and _line_predicts(second)):
        return "missed"
    begin = max(min(curve) for curve in (*first, *second))
    end = min(max(curve) for curve in (*first, *second))
    costs = np.geomspace(begin, max(begin, end), 200)
    lines = [[direction * _line(curve).at_logs(np.log(costs)) for curve in curves] for curves in (first, second)]
    leads = [difference_of_values(b, a) for a, b in zip(np.transpose(lines[0]), np.transpose(lines[1]), strict=True)]
    low, middle, high = (np.array([getattr(lead, name) for lead in leads]) for name in ("low", "value", "high"))
    if not high[0] < 0 < low[-1]:
        return "no_crossing"
    return Interval(*(float(costs[(bound > 0).argmax()]) for bound in (middle, high, low)))


def _line(curve: Curve) -> Line:
    """Log odds over the logarithm of what was spent."""
    return Line.fit(curve, dict.fromkeys(curve, 0.0))


def _line_predicts(curves: Sequence[Curve]) -> bool:
    """Does each repeat's line through all points but the last predict that, taken together?"""
    lasts = [max(curve) for curve in curves]
    lines = [_line({x: y for x, y in curve.items() if x < last}) for curve, last in zip(curves, lasts, strict=True)]
    predicted = [float(line.at_logs(np.log(last))) for line, last in zip(lines, lasts, strict=True)]
    return _holds(predicted, [_log_odds(curve[last]) for curve, last in zip(curves, lasts, strict=True)],
                  [line.sd for line in lines])  # fmt: skip


@dataclass(frozen=True)
class Seen:
    """A measured score of one run."""

    unique: float
    """Examples that it learned from, in all."""
    epochs: float
    """How often it saw each."""
    score: float


@dataclass(frozen=True)
class Worth:
    """What repeated examples are worth: U examples seen E times are as good as U + U R* (1 - exp(-(E - 1) / R*)) seen
    once (Muennighoff et al. 2023, arXiv 2305.16264, eq. 5), so that about R* repeats are nearly as good as new ones.
    """

    repeats: Interval
    """R*: how many repeats of an example are worth nearly as much as new ones."""


def effective(
    unique: NDArray[np.float64], epochs: NDArray[np.float64], worth: NDArray[np.float64] | float
) -> NDArray[np.float64]:
    """Examples seen once that are as good."""
    again = np.maximum(epochs - 1, 0)
    return unique * (np.minimum(epochs, 1) + worth * -np.expm1(-again / worth))


def _fit(points: Sequence[Seen]) -> tuple[float, float, float, float]:
    """R*, intercept and slope of log odds over log effective examples, and the residuals' standard deviation."""
    unique, epochs, score = (np.array([getattr(p, name) for p in points]) for name in ("unique", "epochs", "score"))
    x, y = np.log(effective(unique, epochs, WORTHS[:, None])), logit(np.clip(score, EDGE, 1 - EDGE))
    apart, above = x - x.mean(1, keepdims=True), y - y.mean()
    slope = (apart * above).sum(1) / (apart**2).sum(1)
    rest = ((above - slope[:, None] * apart) ** 2).sum(1)
    best = int(rest.argmin())
    intercept = y.mean() - slope[best] * x[best].mean()
    spread = np.sqrt(rest[best] / max(len(points) - 3, 1))
    return _between(rest, best), float(intercept), float(slope[best]), float(spread)


def _between(rest: NDArray[np.float64], best: int) -> float:
    """R* at the lowest point of a parabola through the best of ``WORTHS`` and its neighbours: else repeats agree by
    the grid, and their interval has no width.
    """
    if best in (0, len(WORTHS) - 1):
        return float(WORTHS[best])
    left, middle, right = rest[best - 1 : best + 2]
    curved = left - 2 * middle + right
    shift = 0.5 * (left - right) / curved if curved > 0 else 0.0
    return float(WORTHS[best] * (WORTHS[1] / WORTHS[0]) ** shift)


def worth(repeats: Sequence[Sequence[Seen]]) -> Worth | str:
    """R*, or the name of the reason why it is not known.

    Args:
        repeats: of each, scores on several numbers of examples at several lengths of training.
    """
    if len(repeats) < MIN_REPEATS:
        return "few_repeats"
    if any(len(points) < MIN_POINTS for points in repeats):
        return "few_points"
    levels = {round(p.unique * p.epochs) for p in repeats[0]}
    if len({p.unique for p in repeats[0]}) < 3 or len(levels) < 2:
        return "few_points"
    fits = [_fit(points) for points in repeats]
    if any(found in (WORTHS[0], WORTHS[-1]) or slope <= 0 for found, _, slope, _ in fits):
        return "no_bend"
    if not _predicts(repeats):
        return "missed"
    logs = of_values([float(np.log(found)) for found, *_ in fits])
    assert logs is not None
    found = logs.through(np.exp)
    if found.low < WORTHS[0] or found.high > WORTHS[-1]:
        return "wide"
    return Worth(found)


def _predicts(repeats: Sequence[Sequence[Seen]]) -> bool:
    """Does the fit to the others hold the mean of the most repeated point within its interval?"""
    predicted, measured, spreads = [], [], []
    for points in repeats:
        most = max(range(len(points)), key=lambda i: points[i].epochs)
        found, intercept, slope, rest = _fit([p for i, p in enumerate(points) if i != most])
        hidden = points[most]
        x = np.log(effective(np.array([hidden.unique]), np.array([hidden.epochs]), found))[0]
        predicted.append(intercept + slope * x)
        measured.append(_log_odds(hidden.score))
        spreads.append(rest)
    return _holds(predicted, measured, spreads)


def _log_odds(score: float) -> float:
    return float(logit(np.clip(score, EDGE, 1 - EDGE)))


def _holds(predicted: Sequence[float], measured: Sequence[float], spreads: Sequence[float]) -> bool:
    """Are log odds predicted within their interval over repeats, and nearly the score?

    Args:
        predicted: of each repeat.
        measured: of each repeat.
        spreads: standard deviations of the residuals of each repeat's fit.
    """
    gap = np.array(predicted) - np.array(measured)
    spread = max(float(gap.std(ddof=1)), float(np.mean(spreads)))
    half = stdtrit(len(gap) - 1, 0.5 + CONFIDENCE / 2) * spread / np.sqrt(len(gap))
    return bool(abs(gap.mean()) <= half and abs(expit(np.mean(predicted)) - expit(np.mean(measured))) < WIDEST / 2)
