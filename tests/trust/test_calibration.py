"""The promise held against simulated models of which the true risk is known."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from genraven.errors import InputError
from genraven.trust.calibration import (
    LOWEST,
    Calibration,
    choose_score,
    choose_thresholds,
    fit_probability,
    puzzles_needed,
)
from genraven.trust.digest import digest
from genraven.trust.fitting import Labelled, calibrated

ALPHAS, DELTA = (0.05, 0.1), 0.1


def make(
    scores: NDArray[np.float64],
    correct: NDArray[np.bool_],
    num_chosen: int,
    rules: NDArray[np.str_] | None = None,
    **more: bool,
) -> Calibration:
    names = np.full(len(scores), "a rule") if rules is None else rules
    parts = Labelled({"score": scores}, {"score": correct}, names).split(num_chosen)
    return calibrated(*parts, model="m", completion={"candidates": 8}, source={}, delta=DELTA, **more)


def test_it_takes_45_without_error() -> None:
    assert puzzles_needed(0.05, 0.1) == 45
    assert puzzles_needed(0.1, 0.1) == 22
    right = np.ones(30 + 45, bool)
    promise = make(np.zeros(75), right, 30).promise(0.05)
    assert (promise.threshold, promise.accepted, promise.errors, promise.expected_share) == (LOWEST, 45, 0, 1.0)
    with pytest.raises(InputError, match="expected 45 calibration puzzles or more.*got 44: calibrate with more"):
        make(np.zeros(74), right[:74], 30).promise(0.05)


def test_one_error_in_45_is_one_too_many() -> None:
    correct = np.ones(75, bool)
    correct[-1] = False
    assert make(np.zeros(75), correct, 30).promise(0.05).threshold is None


@pytest.mark.parametrize("informative", [False, True])
def test_a_model_that_is_always_right_accepts_all_and_one_that_is_always_wrong_nothing(informative: bool) -> None:
    scores = np.random.default_rng(0).random(1500) if informative else np.zeros(1500)
    for alpha in ALPHAS:
        assert make(scores, np.ones(1500, bool), 500).promise(alpha).threshold == LOWEST
        nothing = make(scores, np.zeros(1500, bool), 500).promise(alpha)
        assert (nothing.threshold, nothing.accepted, nothing.expected_share) == (None, 0, 0.0)


@pytest.mark.parametrize("risk", [0.055, 0.2])
def test_scores_that_say_nothing_break_the_promise_no_more_often_than_delta(risk: float) -> None:
    """Whatever is accepted has the one risk, which is above 0.05: any acceptance breaks the promise."""
    rng, num = np.random.default_rng(1), 400
    broken = sum(make(rng.random(900), rng.random(900) >= risk, 300).promise(0.05).threshold is not None
                 for _ in range(num))  # fmt: skip
    assert broken / num <= DELTA + 2 * (DELTA * (1 - DELTA) / num) ** 0.5


def test_scores_that_mean_something_keep_the_promise_and_accept() -> None:
    """Correct with probability s^(1/4), s uniform: above t the risk is 1 - 4/5 (1 - t^(5/4)) / (1 - t)."""
    rng, num = np.random.default_rng(2), 200
    for alpha in ALPHAS:
        broken, fractions = 0, []
        for _ in range(num):
            scores = rng.random(1500)
            promise = make(scores, rng.random(1500) < scores**0.25, 500).promise(alpha)
            fractions.append(promise.expected_share)
            if promise.threshold is not None:
                t = max(promise.threshold, 0.0)
                broken += 1 - 0.8 * (1 - t**1.25) / (1 - t) > alpha
        assert broken / num <= DELTA + 2 * (DELTA * (1 - DELTA) / num) ** 0.5
        # At most 39% and 77% could be accepted.
        assert {0.05: 0.1, 0.1: 0.45}[alpha] < np.mean(fractions) < {0.05: 0.39, 0.1: 0.77}[alpha]


def test_a_promise_of_each_rule_asks_the_worst_of_them() -> None:
    rng = np.random.default_rng(3)
    rules = np.array(["good", "bad"])[rng.integers(0, 2, 2000)]
    correct = (rules == "good") | (rng.random(2000) < 0.85)
    scores = rng.random(2000)
    assert make(scores, correct, 500, rules).promise(0.1).expected_share > 0.9
    both = make(scores, correct, 500, rules, per_rule=True)
    assert both.groups == ("bad", "good")
    assert both.promise(0.1).threshold is None
    assert both.promise(0.2).expected_share == 1.0
    rules[:] = "good"
    rules[-20:] = "rare"
    with pytest.raises(InputError, match="22 calibration puzzles of rare or more.*got 20"):
        make(scores, correct, 500, rules, per_rule=True).promise(0.1)


def test_the_score_is_that_of_the_smallest_area() -> None:
    rng = np.random.default_rng(4)
    correct = rng.random(300) < 0.5
    scores = {"noise": rng.random(300), "knows": correct + 0.1 * rng.random(300), "is wrong": -correct.astype(float)}
    name, areas = choose_score(scores, dict.fromkeys(scores, correct))
    assert name == "knows"
    assert areas["knows"] < areas["noise"] < areas["is wrong"]


def test_thresholds_fall_and_end_with_all() -> None:
    assert choose_thresholds([1, 1, 2, 3], 4) == (3.0, 2.0, 1.0, LOWEST)


def test_probabilities_rise_with_the_score_and_are_never_certain() -> None:
    rng = np.random.default_rng(5)
    scores = rng.random(20_000)
    x, p = fit_probability(scores, rng.random(20_000) < scores)
    assert list(x) == sorted(x)
    assert list(p) == sorted(p)
    assert 0 < p[0] < p[-1] < 1
    assert np.abs(np.interp([0.2, 0.5, 0.8], x, p) - [0.2, 0.5, 0.8]).max() < 0.04
    assert fit_probability([1.0, 1.0], [1, 0]) == ((1.0,), (0.5,))


def test_a_file_is_read_as_written_and_an_edited_one_refused(tmp_path: Path) -> None:
    rng, path = np.random.default_rng(6), tmp_path / "calibration.json"
    written = make(rng.random(200), rng.random(200) < 0.9, 100)
    written.write(path)
    assert Calibration.read(path) == written
    body = json.loads(path.read_text())
    body["tested"]["errors"][0][0] += 1
    path.write_text(json.dumps(body))
    with pytest.raises(InputError, match="got content that its digest does not fit.*not who wrote it: it has no key"):
        Calibration.read(path)
    for text in ("no json", "[]", "{}"):
        path.write_text(text)
        with pytest.raises(InputError, match="genraven calibrate"):
            Calibration.read(path)
    with pytest.raises(InputError, match="got none"):
        Calibration.read(tmp_path / "nothing.json")


@pytest.mark.parametrize(
    "made_up",
    [
        {"thresholds": [0.5]},
        {"delta": 2.0},
        {"delta": "small"},
        {"knots": [[0.1], []]},
        {"groups": 3},
        {"tested": {"total": [100]}},
        {"completion": {}},
        {"power": {"random cells": {"1": [3, 0]}}},
        {"familiarity": ["high"]},
        {"version": 9},
    ],
)
def test_one_that_was_made_up_with_its_digest_is_read_unless_it_cannot_be(
    made_up: dict[str, Any], tmp_path: Path
) -> None:
    """The digest has no key: it tells nothing of who wrote it."""
    make(np.zeros(200), np.ones(200, bool), 100).write(path := tmp_path / "c.json")
    body = json.loads(path.read_text())
    del body["digest"]

    def forge(**changes: Any) -> None:
        path.write_text(json.dumps(body | changes | {"digest": digest(body | changes)}))

    forge(score="luck")
    assert Calibration.read(path).score == "luck"
    forge(**made_up)
    with pytest.raises(InputError, match="expected a calibration of version 3 in .*, got another: run"):
        Calibration.read(path)


def test_another_model_and_another_completion_are_refused() -> None:
    calibration = make(np.zeros(100), np.ones(100, bool), 50)
    calibration.check_use("m", {"candidates": 8})
    with pytest.raises(InputError, match="of this model, got one of another"):
        calibration.check_use("n", {"candidates": 8})
    with pytest.raises(InputError, match="calibrated, with candidates 8, got 4"):
        calibration.check_use("m", {"candidates": 4})
    many = {"completion_order": None, "completion_temperature": None, "order": "random", "temperature": 1.0}
    sampled = replace(calibration, completion={"candidates": 8, "sampling": many})
    with pytest.raises(InputError, match="calibrated, with sampling temperature 1.0, got 0.5: give the setting"):
        sampled.check_use("m", {"candidates": 8, "sampling": many | {"temperature": 0.5}})


@pytest.mark.parametrize("rate", [0.0, 1.0, -1.0, float("nan"), 5.0])
def test_rates_that_are_none(rate: float) -> None:
    with pytest.raises(InputError, match="expected max_error= to lie between 0 and 1"):
        make(np.zeros(100), np.ones(100, bool), 50).promise(rate)
