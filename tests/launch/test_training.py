"""How a run is divided among devices, and what it computes with."""

import csv
import json
import logging
import os
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from tiny import BY_DEVICE, FAMILIES, curves, fit, last_state, steps

from callbacks import CollapseWatch
from callbacks.collapse import Reading
from callbacks.summary import SECONDS
from genraven.errors import InputError
from launch.cli import main
from launch.configs.identity import config_hash
from launch.runs.folder import STARTED, RunFolder, default_run_folder

ROOT = Path(__file__).parents[2]


def test_first_weights_follow_from_the_seed_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Whatever is cached, and whatever a callback draws as it is made; another seed gives others."""
    found: list[dict[str, torch.Tensor]] = []
    monkeypatch.setattr("launch.training.command.train", lambda _, built: found.append(built.model.state_dict()))
    for cache in ("a", "a", "b"):
        monkeypatch.setenv("GENRAVEN_CACHE", str(tmp_path / cache))
        assert main(fit(tmp_path / "run", *BY_DEVICE)) == 0
    assert main(fit(tmp_path / "run", *BY_DEVICE, "--trainer.callbacks+=faults.DrawsWhenMade")) == 0
    assert main(fit(tmp_path / "run", *BY_DEVICE, "--seed_everything", "1")) == 0
    first, *same, other = found
    assert all(torch.equal(weights[name], first[name]) for weights in same for name in first)
    assert not all(torch.equal(other[name], first[name]) for name in first)


def test_a_run_keeps_its_first_precision(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    """Begun where bf16 is the choice, it goes on so where it is not, and says it."""
    run = tmp_path / "run"
    with pytest.MonkeyPatch.context() as other_device:
        other_device.setattr("launch.training.resolve.default_precision", lambda accelerator: "bf16-mixed")
        assert main(fit(run, *SHORT, *BY_DEVICE)) == 0
    with caplog.at_level(logging.INFO), pytest.MonkeyPatch.context() as this_device:
        this_device.setattr("launch.training.resolve.default_precision", lambda accelerator: "32-true")
        assert main(fit(run, *SHORT, *BY_DEVICE, "--trainer.max_steps", "9")) == 0
    assert "bf16-mixed on cpu" in caplog.text
    assert "resumes in bf16-mixed, the precision that it began with" in capsys.readouterr().err
    assert main(fit(run, *SHORT, "--trainer.max_steps", "10", "--trainer.precision", "32-true")) == 2
    assert yaml.safe_load((run / "config.yaml").read_text())["trainer"]["precision"] == "bf16-mixed"


STRICT = """
import sys
from launch.cli import main
from launch.trained.load import load_run
run, grid, *fit = sys.argv[1:]
assert main(fit) == 0
load_run(run, "cpu")
assert main(["sweep", grid, "--local", "1", "--dry-run"]) == 0
"""


def test_an_interval_of_validations_longer_than_the_run_is_none(tmp_path: Path) -> None:
    """Also where Lightning's own default counts epochs."""
    options = ("--trainer.check_val_every_n_epoch", "1", "--trainer.val_check_interval", "1000")
    assert main(fit(tmp_path / "run", *options)) == 0
    assert steps(tmp_path / "run")[-1] == 24


def test_one_callback_need_not_stand_in_a_list(tmp_path: Path) -> None:
    stop = {"class_path": "faults.StopsTraining"}
    (tmp_path / "one.yaml").write_text(yaml.safe_dump({"trainer": {"callbacks": stop}}))
    assert main(fit(tmp_path / "run", "-c", str(tmp_path / "one.yaml"))) == 0
    callbacks = yaml.safe_load((tmp_path / "run" / "config.yaml").read_text())["trainer"]["callbacks"]
    assert [callback["class_path"] for callback in callbacks] == [stop["class_path"]]


def test_a_python_that_makes_warnings_errors(tmp_path: Path) -> None:
    """As continuous integration may run it: trains, opens what it trained, and plans a sweep."""
    run, grid = tmp_path / "run", tmp_path / "grid.yaml"
    logger = ["--trainer.logger=lightning.pytorch.loggers.CSVLogger", f"--trainer.logger.save_dir={tmp_path}"]
    grid.write_text(f"base: {shlex.join(FAMILIES['autoregressive'])}\naxes:\n  seed: [0]\n")
    words = fit(run, "--trainer.max_steps", "1", "--trainer.limit_val_batches", "0", *logger)
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-W", "error", "-c", STRICT, str(run), str(grid), *words]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-2000:]


SHORT = ["--trainer.max_steps", "8", "--trainer.val_check_interval", "4"]


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ([], "8 = 1 device(s) x 1 accumulated x 8 puzzles; 8 steps; 32-true on cpu"),
        (["--max_batch_per_device", "3"], "8 = 1 device(s) x 4 accumulated x 2 puzzles"),
        (["--trainer.accumulate_grad_batches", "2", "--max_batch_per_device", "1"], "2 accumulated x 4 puzzles"),
        (["--trainer.precision", "bf16-mixed"], "bf16-mixed on cpu"),
    ],
)
def test_the_arithmetic_is_printed_and_validation_counts_steps(
    options: list[str], says: str, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("launch.training.resolve.default_precision", lambda accelerator: "32-true")
    run = tmp_path / "run"
    with caplog.at_level(logging.INFO):
        assert main(fit(run, *SHORT, *BY_DEVICE, *options)) == 0
    assert says in caplog.text
    assert [step for step, _ in curves(run)["val/c3"]] == [3, 7]
    precision = yaml.safe_load((run / "config.yaml").read_text())["trainer"]["precision"]
    assert precision == ("bf16-mixed" if "bf16-mixed" in options else "32-true")


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--max_batch_per_device", "0"], "--max_batch_per_device to be 1 or more, got 0"),
        (["--timeout_s", "0"], "--timeout_s to be 1 or more"),
        (["--checkpoint_every_n_steps", "0"], "--checkpoint_every_n_steps to be 1 or more"),
        (["--trainer.accelerator", "gpu"], "gpu"),
        (["--trainer.devices", "3", "--trainer.strategy", "ddp"], "use a multiple of 3, such as 6 or 9"),
        (["--trainer.num_nodes", "2"], "a process on each of 2 nodes"),
        (["--trainer.max_steps", "-1", "--model.schedule", "linear"], "trainer.max_steps with a linear schedule"),
        (["--trainer.max_steps", "-1", "--data.samples_per_rule", "null"], "trainer.max_steps with an endless stream"),
        (["--best_by", "novel_c3", "--data.samples_per_rule", "null"], "or loss with an endless stream, got novel_c3"),
        (["--best_by", "colour"], "best_by"),
    ],
)
def test_settings_that_cannot_be(
    options: list[str], says: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    if says == "gpu" and torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    assert main(fit(tmp_path / "run", *options)) == 2
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("genraven: error:")]
    assert says in line
    assert not (tmp_path / "run").exists()


CONFIG: dict[str, Any] = {
    "model": {"init_args": {"network": {"class_path": "genraven.networks.dit.DiT"}}},
    "data": {"seed": 0},
}


def test_a_config_is_known_by_model_and_data(monkeypatch: pytest.MonkeyPatch) -> None:
    assert config_hash(CONFIG | {"trainer": {"devices": 8}}) == config_hash(dict(reversed(CONFIG.items())))
    assert config_hash(CONFIG | {"data": {"seed": 1}}) != config_hash(CONFIG)
    monkeypatch.delenv(STARTED, raising=False)
    first = default_run_folder(CONFIG)
    monkeypatch.setattr("time.strftime", lambda text: "later")
    assert default_run_folder(CONFIG) == first  # in every process of a start


def test_the_commit_that_was_submitted(tmp_path: Path) -> None:
    (tmp_path / "job").mkdir()
    (tmp_path / "job" / "commit.txt").write_text("c0ffee\n")
    assert RunFolder(tmp_path).git_commit() == "c0ffee"


def test_a_collapse_may_stop_a_run_which_keeps_its_last_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    signal = ("novel_c3", Reading(value=0.1, threshold=0.2, crossed=True))
    monkeypatch.setattr(CollapseWatch, "_read", lambda watch, results: iter([signal]))
    run = tmp_path / "run"
    for option, last_step in (("true", 8), ("true", 8), ("false", 24)):  # the second finds nothing left to do
        assert main(fit(run, "--collapse.stop", option)) == 0
        summary = json.loads((run / "summary.json").read_text())
        state = "stopped" if last_step == 8 else "finished"
        assert (summary["state"], summary["step"], last_state(run)["global_step"]) == (state, last_step, last_step)
        assert summary["collapse"] == {"novel_c3": {"step": 8, "value": 0.1, "threshold": 0.2}}
        assert summary["stopped"] == (
            "collapse: novel_c3 is 0.1 at step 8, beyond its threshold of 0.2" if option == "true" else None
        )
    with (run / "curve.csv").open() as file:
        lines = [(line["step"], line["val_count/completion"]) for line in csv.DictReader(file)]
    assert lines == [("8", "12.0"), ("16", "12.0"), ("24", "12.0")]


def test_a_finished_run_that_is_started_again_keeps_what_it_said(tmp_path: Path) -> None:
    """Speed and operations too, which only a training measures."""
    run = tmp_path / "run"
    summaries = []
    for _ in range(2):
        assert main(fit(run)) == 0
        summaries.append(json.loads((run / "summary.json").read_text()))
    first, second = (
        {name: value for name, value in one.items() if name not in (*SECONDS, "updated")} for one in summaries
    )
    assert second == first
    assert first["flops"] == first["flops_per_puzzle"] * first["puzzles"]
    assert first["puzzles_per_s"] > 0


@pytest.mark.parametrize(("logger", "shown"), [("TensorBoardLogger", True), ("CSVLogger", False)])
def test_the_last_line_says_tensorboard_only_where_it_was_written(
    logger: str, shown: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    monkeypatch.setattr("launch.training.train.rank_zero_info", said.append)
    logging_to = f"--trainer.logger=lightning.pytorch.loggers.{logger}", f"--trainer.logger.save_dir={tmp_path}"
    assert main(fit(tmp_path / "run", *logging_to, "--trainer.max_steps=1")) == 0
    run = f"run folder {tmp_path / 'run'}"
    assert said[-1] == (f"{run}: tensorboard --logdir {tmp_path / 'run'}" if shown else run)


def test_options_of_what_watches_are_checked_before_anything_is_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for option in ("--collapse.memorized_rows=2", "--cost.price_per_device_hour=-1", "--pictures.share=2"):
        assert main(fit(tmp_path / "run", option)) == 2
        assert option.partition("=")[0] in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_a_run_of_an_older_version_is_gone_on_with(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Options that it did not have yet hold as by default, of the network, too; and its data may lie elsewhere."""
    run = tmp_path / "run"
    assert main(fit(run, *SHORT)) == 0
    resolved = (run / "config.yaml").read_text()
    config = yaml.safe_load(resolved)
    assert config["prior"] == json.loads((run / "summary.json").read_text())["prior"] == "general"
    model = config["model"]["init_args"]
    del config["prior"]
    del model["seed"], model["network"]["init_args"]["embedding"], config["data"]["corruption"]
    (run / "config.yaml").write_text(yaml.safe_dump(config))
    RunFolder(run).check_owner(yaml.safe_load(resolved))
    more = ["--trainer.max_steps", "9", "--trainer.val_check_interval", "4"]
    assert main(fit(run, *more, "--model.seed", "1")) == 2
    assert "model.init_args.seed 0 instead of 1" in capsys.readouterr().err
    assert main(fit(run, *more, "--prior", "structured")) == 2
    assert "expected --prior general with GPT-2, got structured" in capsys.readouterr().err
    assert main(fit(run, *more, "--data.cache_dir", str(tmp_path / "elsewhere"))) == 0


def test_a_config_that_today_cannot_read_is_compared_as_it_stands(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(CONFIG | {"trainer": {}, "data": {"seed": 0, "gone": 1}}))
    with pytest.raises(InputError, match="data.gone 1 instead of None"):
        RunFolder(tmp_path).check_owner(CONFIG)
    RunFolder(tmp_path).check_owner(CONFIG | {"data": {"seed": 0, "gone": 1, "cache_dir": "x"}})
