import numpy as np
import pytest

from genraven.trust.risk import CalibrationError, area, calibration_error, measured, risk_coverage, trustworthiness


def test_risk_is_that_of_the_surest() -> None:
    coverage, risk = risk_coverage([0.9, 0.1, 0.5, 0.7], [True, False, False, True])
    assert coverage.tolist() == [0.25, 0.5, 0.75, 1.0]
    assert risk.tolist() == [0, 0, pytest.approx(1 / 3), 0.5]
    assert area([0.9, 0.1, 0.5, 0.7], [True, False, False, True]) == pytest.approx((1 / 3 + 0.5) / 4)


def test_ties_count_in_expectation() -> None:
    assert risk_coverage([1, 1, 1, 1], [True, False, True, False])[1].tolist() == [0.5] * 4


def test_stated_shares_are_held_against_actual_ones() -> None:
    assert calibration_error([0.8] * 10, [True] * 8 + [False] * 2, 1) == pytest.approx(0)
    assert calibration_error([0.9] * 10 + [0.1] * 10, [True] * 5 + [False] * 5 + [False] * 10, 2) == pytest.approx(0.25)


def test_puzzles_of_one_probability_have_no_order() -> None:
    right = [True] * 800 + [False] * 200
    assert calibration_error([0.8] * 1000, right) == pytest.approx(0)
    found = CalibrationError.of([0.8] * 1000, right)
    assert found.value <= found.by_chance[0]
    rng = np.random.default_rng(0)
    p, y = rng.integers(0, 9, 400) / 8, rng.random(400) < 0.5
    again = rng.permutation(400)
    assert calibration_error(p, y) == pytest.approx(calibration_error(p[again], y[again]))


def test_intervals_hold_the_value_in_most_samples() -> None:
    rng, held = np.random.default_rng(0), 0
    for seed in range(40):
        scores = rng.random(200)
        found = measured(area, scores, rng.random(200) < 0.7, seed=seed)
        assert found.low <= found.value <= found.high
        held += found.low <= 0.3 <= found.high  # the area of scores that say nothing
    assert held >= 34


def test_areas_lie_between_knowing_and_saying_nothing() -> None:
    rng = np.random.default_rng(1)
    correct = rng.random(500) < 0.6
    found = trustworthiness(correct + 3 * rng.random(500), correct, np.where(correct, 0.7, 0.5))
    assert found.best_area < found.area.value < found.random_area == pytest.approx(1 - correct.mean())
    assert found.calibration_error is not None
    assert found.as_json()["area"]["count"] == 500


def test_the_error_of_true_probabilities_is_what_chance_gives() -> None:
    rng = np.random.default_rng(2)
    within, values, means = 0, [], []
    for seed in range(40):
        p = rng.uniform(0.3, 1.0, 300)
        found = CalibrationError.of(p, rng.random(300) < p, seed=seed)
        within += found.value <= found.by_chance[1]
        values.append(found.value)
        means.append(found.by_chance[0])
    assert within >= 35
    assert np.mean(values) == pytest.approx(np.mean(means), rel=0.1)
    wrong = CalibrationError.of(np.full(300, 0.95), rng.random(300) < 0.6)
    assert wrong.value > 3 * wrong.by_chance[1]
    assert CalibrationError.read(wrong.as_json()) == wrong
    assert CalibrationError.read({"value": 0.1, "count": 9, "interval95": [0.0, 0.2]}) is None
