"""Intervals and verdicts on simulated sweeps whose truth is known, and on small examples by hand."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from scipy.special import expit
from scipy.stats import t

from genraven.metrics.intervals import wilson
from genraven.report.statistics import Crossing, Repeats, crossing, difference, of_values, per_point

NUM_SWEEPS, NUM_RUNS, NUM_PUZZLES = 2000, 3, 300
SIZES = (100, 400, 1600, 6400, 25600)
RUN_SD, PUZZLE_SD, PAIR_SD = (
    0.3,
    1.0,
    0.3,
)  # in log odds: of a training's luck, a puzzle's difficulty, a set of examples


class Sweeps:
    """Families with known curves (log odds at each size), trained thrice on shared examples, asked the same puzzles."""

    def __init__(self, seed: int, num_sweeps: int = NUM_SWEEPS) -> None:
        self.random, self.num_sweeps = np.random.default_rng(seed), num_sweeps
        self.puzzles = PUZZLE_SD * self.random.normal(size=(num_sweeps, 1, NUM_PUZZLES))

    def pairs(self) -> Any:
        return PAIR_SD * self.random.normal(size=(self.num_sweeps, NUM_RUNS, 1))

    def repeats(self, log_odds: float, pairs: Any = 0.0, run_sd: float = RUN_SD) -> Repeats:
        luck = run_sd * self.random.normal(size=(self.num_sweeps, NUM_RUNS, 1))
        odds = expit(log_odds + luck + pairs + self.puzzles).astype(np.float32)
        return Repeats.of(self.random.random(odds.shape, np.float32) < odds)

    def signs(self, first: Sequence[float], second: Sequence[float]) -> Any:
        """(points, sweeps): who is surely ahead, as crossings are tested."""
        confidence, found = per_point(len(first)), []
        for a, b in zip(first, second, strict=True):
            pairs = self.pairs()
            gap = difference(self.repeats(a, pairs), self.repeats(b, pairs), are_paired=True, confidence=confidence)
            found.append(gap.sign)
        return np.array(found)


def expected(log_odds: float, spread: float) -> float:
    """The mean fraction over all runs and puzzles."""
    points, weights = np.polynomial.hermite_e.hermegauss(60)
    return float((weights * expit(log_odds + spread * points)).sum() / weights.sum())


@pytest.mark.parametrize("run_sd", [0.0, 0.3, 0.8])
@pytest.mark.parametrize("log_odds", [-3.0, -1.0, 0.0, 2.0])
def test_intervals_hold_the_truth(log_odds: float, run_sd: float) -> None:
    interval = Sweeps(1).repeats(log_odds, run_sd=run_sd).interval()
    truth = expected(log_odds, math.hypot(run_sd, PUZZLE_SD))
    coverage, width = ((interval.low <= truth) & (truth <= interval.high)).mean(), (interval.high - interval.low).mean()
    print(f"log odds {log_odds}, runs' spread {run_sd}: coverage {coverage:.3f}, mean width {width:.3f}")
    assert coverage >= 0.93
    assert width < 0.62  # of three such runs no more can be said; a bootstrap is narrower, and wrong


def test_differences_hold_the_truth_and_pairing_narrows_them() -> None:
    sweeps = Sweeps(2)
    pairs = sweeps.pairs()
    a, b = sweeps.repeats(0.5, pairs), sweeps.repeats(-0.5, pairs)
    spread = math.hypot(RUN_SD, PUZZLE_SD, PAIR_SD)
    truth = expected(0.5, spread) - expected(-0.5, spread)
    paired, apart = (difference(a, b, are_paired=flag) for flag in (True, False))
    for gap in (paired, apart):
        assert ((gap.low <= truth) & (truth <= gap.high)).mean() >= 0.93
    assert difference(a, Repeats(b.means, NUM_PUZZLES), are_paired=True).low.mean() < paired.low.mean()  # counts alone


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ((0.0,) * 5, (0.0,) * 5),
        ((-2.0, -1.0, 0.0, 1.0, 2.0), (-2.0, -1.0, 0.0, 1.0, 2.0)),
        ((-1.0, 0.0, 1.0, 1.0, 1.0), (-2.0, -1.0, 1.0, 1.0, 1.0)),
        ((1.0,) * 5, (-3.0, -2.0, -1.0, 0.0, 1.0)),
    ],
)
def test_false_crossings_are_rare(first: Sequence[float], second: Sequence[float]) -> None:
    signs = Sweeps(3).signs(first, second)
    false = ((signs > 0).any(0) & (signs < 0).any(0)).mean()
    print(f"false crossings: {false:.4f}")
    assert false <= 0.05


def test_a_large_crossing_is_found_where_it_is() -> None:
    signs = Sweeps(4).signs((0.5, 0.5, 0.5, 0.5, 0.5), (-3.5, -2.5, -0.5, 2.5, 3.5))
    found = [crossing(SIZES, column) for column in signs.T]
    right = [one for one in found if one.is_sure and one.low <= 1600 and one.high >= 6400]
    print(f"found in {len(right)} of {len(found)}")
    assert len(right) >= 0.7 * len(found)
    assert sum(one.is_sure for one in found) - len(right) <= 0.05 * len(found)


def test_equal_families_rarely_differ() -> None:
    sweeps = Sweeps(5)
    pairs = sweeps.pairs()
    gap = difference(sweeps.repeats(0.0, pairs, 0.8), sweeps.repeats(0.0, pairs, 0.8), are_paired=True)
    assert (gap.sign != 0).mean() <= 0.05


def repeats(*fractions: float, count: int = 1000) -> Repeats:
    """Runs that got the first of the puzzles right."""
    return Repeats.of([np.arange(count) < round(fraction * count) for fraction in fractions], are_shared=False)


def test_a_lucky_run_does_not_win() -> None:
    lucky, steady = repeats(0.95, 0.45, 0.45), repeats(0.6, 0.6, 0.6)
    assert difference(lucky, steady, are_paired=True).sign == 0
    assert difference(repeats(0.95, 0.94, 0.95), steady, are_paired=True).sign == 1
    assert difference(steady, repeats(0.95, 0.94, 0.95), are_paired=False).sign == -1


def test_the_interval_by_hand() -> None:
    """Three runs, no shared puzzles: a t interval, in log odds about the mean."""
    interval = repeats(0.4, 0.5, 0.6).interval()
    half = t.ppf(0.975, 2) * np.std([0.4, 0.5, 0.6], ddof=1) / math.sqrt(3) / 0.25
    assert (interval.low, interval.high) == (pytest.approx(expit(-half)), pytest.approx(expit(half)))


def test_variance_of_puzzles_by_hand() -> None:
    """All runs agree on each puzzle: nothing but the puzzles varies, as in one run of them."""
    outcomes = np.tile(np.arange(400) < 100, (3, 1))
    together = Repeats.of(outcomes).interval()
    half = 1.959964 * math.sqrt(0.25 * 0.75 / 399)  # of 400 puzzles, not of 1 200
    assert together.high - together.low == pytest.approx(2 * half, rel=0.02)


def test_one_run_has_the_interval_of_its_puzzles() -> None:
    interval = repeats(0.5).interval()
    assert (interval.low, interval.high) == wilson(0.5, 1000)
    assert wilson(0.0, 10)[0] == 0.0
    assert wilson(1.0, 10)[1] == 1.0
    assert wilson(0.3, 50) == (pytest.approx(0.1910, abs=1e-4), pytest.approx(0.4375, abs=1e-4))  # known values


def test_never_narrower_than_all_puzzles_pooled() -> None:
    same = repeats(0.5, 0.5, 0.5).interval()
    assert (same.low, same.high) == tuple(map(pytest.approx, wilson(0.5, 3000)))
    gap = difference(repeats(0.5, 0.5, 0.5), repeats(0.49, 0.49, 0.49), are_paired=True)
    assert gap.sign == 0


def test_counts_alone_take_the_largest_variance_of_puzzles() -> None:
    known, unknown = repeats(0.4, 0.5, 0.6), Repeats(np.array([0.4, 0.5, 0.6]), 1000)
    assert unknown.interval().low < known.interval().low


def test_values_that_are_no_shares() -> None:
    interval = of_values([2.0, 2.2, 2.4])
    assert interval is not None
    assert interval.high - 2.2 == pytest.approx(t.ppf(0.975, 2) * 0.2 / math.sqrt(3))
    assert of_values([2.0]) is None


@pytest.mark.parametrize(
    ("signs", "found"),
    [
        ((0, 0, 0, 0, 0), Crossing(0, 0, None, None)),
        ((1, 1, 0, -1, -1), Crossing(1, -1, 400, 6400)),
        ((-1, 0, 0, 0, 1), Crossing(-1, 1, 100, 25600)),
        ((1, 1, 1, 0, 0), Crossing(1, 1, 1600, None, since=100)),
        ((0, 0, 0, 0, -1), Crossing(-1, -1, 25600, None, since=25600)),
    ],
)
def test_crossings_by_hand(signs: tuple[int, ...], found: Crossing) -> None:
    assert crossing(SIZES, signs) == found
    assert found.is_sure == (found.before * found.after < 0)
