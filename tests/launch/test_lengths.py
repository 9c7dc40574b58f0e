"""How long a run is as Lightning's options say it: in epochs, limits, parts of a step. Its end is always saved."""

import importlib
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from tiny import assert_same_run, fit, last_state, steps

from launch.cli import main

NO_VALIDATION = ["--trainer.limit_val_batches", "0"]
BY_EPOCHS = [
    "--trainer.check_val_every_n_epoch",
    "1",
    "--trainer.val_check_interval",
    "null",
    "--model.schedule",
    "constant",
]
CONSTANT = ["--model.schedule", "constant"]
A_PASS = 12
"""Steps of one pass over the data of a tiny run."""
CALLBACK = """
from lightning.pytorch.callbacks import Callback
class StopWithinAStep(Callback):
    def on_train_batch_end(self, trainer, module, outputs, batch, batch_idx):
        trainer.should_stop = trainer.should_stop or batch_idx == 6
"""


@pytest.fixture
def halfway(in_tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Options of a callback that stops the training between two batches of its fourth step."""
    Path("halfway.py").write_text(CALLBACK)
    monkeypatch.syspath_prepend(in_tmp_path)
    importlib.invalidate_caches()
    yield ["--trainer.callbacks+=halfway.StopWithinAStep"]
    sys.modules.pop("halfway", None)


def summary(run: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((run / "summary.json").read_text())
    return found


def test_epochs_of_fewer_batches_than_the_data_have_are_all_trained_and_saved(in_tmp_path: Path) -> None:
    limits = ["--trainer.max_steps", "-1", "--trainer.max_epochs", "3", "--trainer.limit_train_batches", "5"]
    assert main(fit(Path("run"), *BY_EPOCHS, *limits)) == 0
    assert (summary(Path("run"))["state"], steps(Path("run"))[-1]) == ("finished", 15)


def test_one_batch_an_epoch_is_one(in_tmp_path: Path) -> None:
    limits = ["--trainer.max_steps", "-1", "--trainer.max_epochs", "2", "--trainer.limit_train_batches", "1"]
    assert main(fit(Path("run"), *BY_EPOCHS, *limits, *NO_VALIDATION)) == 0
    assert steps(Path("run"))[-1] == 2


def test_epochs_end_a_run_before_its_last_step(in_tmp_path: Path) -> None:
    assert main(fit(Path("run"), "--trainer.max_epochs", "1", *NO_VALIDATION)) == 0
    assert steps(Path("run"))[-1] == A_PASS


def test_a_run_that_is_made_longer_goes_on_in_its_epoch(in_tmp_path: Path) -> None:
    """And is as long as its epochs say, where these are given later: 9 steps of a pass of 12, then 2 passes."""

    def epoch() -> tuple[int, int]:
        loops = last_state(Path("run"))["loops"]["fit_loop"]
        return loops["epoch_progress"]["current"]["ready"], loops["epoch_loop.batch_progress"]["current"]["ready"]

    for length in ("6", "6", "9"):
        assert main(fit(Path("run"), "--trainer.max_steps", length, *CONSTANT)) == 0
        assert epoch() == (1, int(length))
    by_epochs = ["--trainer.max_steps", "-1", "--trainer.max_epochs", "2", *CONSTANT]
    assert main(fit(Path("run"), *by_epochs, *NO_VALIDATION)) == 0
    assert (steps(Path("run"))[-1], epoch()) == (2 * A_PASS, (2, A_PASS))


def test_a_run_that_stops_within_a_step_goes_on_from_the_last_whole_one(halfway: list[str]) -> None:
    parts = ["--trainer.accumulate_grad_batches", "2", "--trainer.max_steps", "6", *NO_VALIDATION]
    assert main(fit(Path("whole"), *parts)) == 0
    assert main(fit(Path("run"), *parts, *halfway)) == 0
    assert (summary(Path("run"))["state"], steps(Path("run"))) == ("stopped", [3])
    assert main(fit(Path("run"), *parts)) == 0
    assert_same_run(Path("run"), Path("whole"))
    assert summary(Path("run"))["puzzles"] == summary(Path("whole"))["puzzles"]


def test_a_checkpoint_of_ones_own_by_the_same_score(in_tmp_path: Path) -> None:
    mine = ["--trainer.callbacks+=ModelCheckpoint", "--trainer.callbacks.monitor=val/completion"]
    mine += ["--trainer.callbacks.mode=max", "--trainer.callbacks.dirpath=mine"]
    for last in ("8", "16"):
        assert main(fit(Path("run"), "--trainer.max_steps", last, *mine)) == 0
    assert steps(Path("run"))[-1] == 16
    assert [*Path("mine").iterdir()]


def test_a_time_with_days_stays_what_was_written(in_tmp_path: Path) -> None:
    assert main(fit(Path("run"), "--trainer.max_steps", "1", *NO_VALIDATION, "--trainer.max_time", "00:00:04:00")) == 0
    config = yaml.safe_load((Path("run") / "config.yaml").read_text())
    assert config["trainer"]["max_time"] == "00:00:04:00"


def test_a_long_warm_up_is_no_amount_of_memory(in_tmp_path: Path) -> None:
    short = ["--trainer.max_steps", "1", *NO_VALIDATION]
    assert main(fit(Path("run"), *short, "--model.warmup_steps", "100000")) == 0
    assert main(["sample", "run", "--num", "1"]) == 0


@pytest.mark.parametrize("interval", ["0.5", "1.0"])
def test_validations_at_a_fraction_of_an_epoch(interval: str, in_tmp_path: Path) -> None:
    short = ["--trainer.max_steps", "2", "--trainer.val_check_interval", interval]
    assert main(fit(Path("run"), *BY_EPOCHS, *short)) == 0
    num = len((Path("run") / "curve.csv").read_text().splitlines()) - 1
    assert num == 1 / float(interval)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (
            ["--trainer.accumulate_grad_batches", "2", "--trainer.limit_train_batches", "3"],
            "expected trainer.limit_train_batches of whole steps, each of 2 batches, got 3: give 4.",
        ),
        (
            ["--trainer.accumulate_grad_batches", "2", "--trainer.limit_train_batches", "0.5"],
            "as a number of batches, where each step has 2, got the fraction 0.5: give a multiple of 2.",
        ),
        (["--model.label_dropout", "1.0"], "expected label_dropout from 0 to below 1, got 1.0"),
        (["--trainer.overfit_batches", "2"], "expected trainer.overfit_batches 0, got 2: each step has puzzles of its"),
        (["--trainer.enable_checkpointing", "false"], "expected trainer.enable_checkpointing true for a run, whose"),
        (["--data.global_batch_size", "100000"], "expected data.global_batch_size of at most 65536 in a run, got 1"),
    ],
)
def test_what_would_be_another_training_is_refused(
    options: list[str], says: str, in_tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(fit(Path("run"), *options)) == 2
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("genraven: error:")]
    assert says in line
    assert not Path("run").exists()
