import json
import math
import os
import runpy
import subprocess
import sys
import warnings
from pathlib import Path

import pytest
import torch

from genraven.metrics.memorization import TrainingIndex
from genraven.metrics.scores import Scores
from genraven.puzzles.generate import generate

ROOT = Path(__file__).parents[2]
SCRIPT = Path(__file__).with_name("share_scores.py")


def test_nothing_counted_gives_an_empty_card() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        results = Scores((0,), TrainingIndex.build(generate(0, 0, 4))).compute()
    assert (results.rates, results.per_rule, results.values) == ({}, {}, {})


def test_a_stream_has_no_novel_c3() -> None:
    scores = Scores((4,))
    scores.add_generated(generate(4, 0, 5))
    results = scores.compute()
    assert set(results.rates) == {"c3", "c2", "any_valid", "different_puzzles", "different_rows"}
    assert not any("novel" in name or "memorized" in name for name in results.as_json())


def test_a_finite_set_has_novel_c3_and_its_complement() -> None:
    scores = Scores((4,), TrainingIndex.build(generate(4, 0, 20)))
    scores.add_generated(generate(4, 10, 40))  # 10 .. 19 memorised, 20 .. 49 new
    rates = scores.compute().rates
    assert (int(rates["c3"].hits), int(rates["novel_c3"].hits), int(rates["novel_c3"].total)) == (40, 30, 40)


def test_held_out_is_absent_where_no_rule_is() -> None:
    scores = Scores(range(40))
    scores.add_completed(generate(4, 0, 5), torch.full((5,), 4))
    assert set(scores.compute().rates) == {"completion", "completion_trained"}


def test_json_holds_the_rules_that_were_counted() -> None:
    scores = Scores((4,))
    scores.add_completed(generate(4, 0, 5), torch.full((5,), 4))
    scores.add_losses(torch.tensor([1.0, 2.0, 6.0]))
    scores.add_losses(torch.tensor([7.0]))
    plain = json.loads(json.dumps(scores.compute().as_json()))
    assert list(plain["per_rule"]["completion"]) == ["shape.progression+2"]
    assert plain["per_rule"]["completion"]["shape.progression+2"]["hits"] == 5
    assert plain["loss"] == 4.0  # of puzzles, not of batches


def test_a_loss_that_is_no_number_is_not_left_out() -> None:
    scores = Scores((4,))
    scores.add_losses(torch.tensor([1.0, float("nan"), 3.0]))
    assert math.isnan(scores.compute().values["loss"])


@pytest.mark.usefixtures("at_once")
def test_processes_with_unequal_shares_sum_to_one_process(tmp_path: Path) -> None:
    alone = runpy.run_path(str(SCRIPT))["score"](0, 60)
    assert json.loads(alone)["c3"]["count"] == 60
    assert json.loads(alone)["novel_c3"]["hits"] == json.loads(alone)["different_novel_c3"]["hits"] == 40
    assert json.loads(alone)["completion_held_out"]["count"] == 30
    assert json.loads(alone)["loss"] == 29.5

    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, str(SCRIPT), str(tmp_path)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    assert [(tmp_path / f"{rank}.json").read_text() for rank in range(2)] == [alone, alone]
    assert "before the ``update``" not in done.stderr  # torchmetrics, of the process that saw nothing


def test_rules_generated_often_and_completed_well_correlate() -> None:
    scores = Scores(range(40))
    for rule in range(8):
        scores.add_generated(generate(rule, 0, 1 + rule))
        puzzles, others = generate(rule, 0, 8), generate(39 - rule, 0, 8)
        right = (torch.arange(8) <= rule).view(-1, 1, 1, 1)
        scores.add_completed(torch.where(right, puzzles, others), torch.full((8,), rule))
    results = scores.compute()
    assert results.correlation is not None
    assert results.correlation.value > 0.99
    assert results.correlation.num_pairs == 8  # the other 32 rules were not completed
    assert results.as_json()["per_rule_correlation"]["count"] == 8


def test_generated_or_completed_alone_do_not_correlate() -> None:
    scores = Scores(range(40))
    scores.add_generated(generate(3, 0, 5))
    assert scores.compute().correlation is None
    assert scores.compute().as_json()["per_rule_correlation"] is None
