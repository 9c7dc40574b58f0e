"""Is the promise kept? Many calibrations drawn from labelled puzzles, each held against those that were left."""

from dataclasses import dataclass

import numpy as np

from genraven.trust.calibration import Promise
from genraven.trust.fitting import Labelled, calibrated


@dataclass(frozen=True)
class Trial:
    """What came of many calibrations."""

    max_error: float
    delta: float
    num: int
    broken: int
    """Calibrations after which more than ``max_error`` of the accepted were wrong."""
    fractions: tuple[float, ...]
    """Of the left puzzles that each accepted."""

    @property
    def is_kept(self) -> bool:
        """Was it broken in at most ``delta`` of the calibrations, and two standard errors?"""
        return self.broken / self.num <= self.delta + 2 * (self.delta * (1 - self.delta) / self.num) ** 0.5


def trial(
    labelled: Labelled,
    *,
    max_error: float,
    num: int,
    num_chosen: int,
    num_tested: int,
    delta: float,
    seed: int = 0,
    on: Labelled | None = None,
) -> Trial:
    """Draws ``num`` calibrations from N labelled puzzles and counts how often the promise is broken on the others.

    Args:
        labelled: N puzzles, many more than a calibration takes.
        max_error: promised of the accepted ones.
        num: calibrations.
        num_chosen: puzzles to choose score and thresholds on.
        num_tested: puzzles to test on.
        delta: chance of a promise that does not hold.
        seed: of the draws.
        on: what to hold it against in place of the others, such as puzzles of another kind.
    """
    rng, size = np.random.default_rng(seed), num_chosen + num_tested
    broken, fractions = 0, []
    for _ in range(num):
        order = rng.permutation(len(labelled))
        chosen, tested = labelled.take(order[:num_chosen]), labelled.take(order[num_chosen:size])
        found = calibrated(chosen, tested, model="", completion={}, source={}, delta=delta)
        risk, fraction = outcome(found.promise(max_error), found.score, on or labelled.take(order[size:]))
        broken += risk > max_error
        fractions.append(fraction)
    return Trial(max_error, delta, num, broken, tuple(fractions))


def outcome(promise: Promise, score: str, labelled: Labelled) -> tuple[float, float]:
    """(fraction of wrong ones among those accepted, fraction accepted) of labelled puzzles; 0, 0 for none."""
    accepted = promise.accepts(labelled.scores[score])
    if not accepted.any():
        return 0.0, 0.0
    return float((~labelled.correct[score][accepted]).mean()), float(accepted.mean())
