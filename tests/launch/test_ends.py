"""Classes that a config names and that cannot be made: one line, whatever their constructors raise."""

import errno
import importlib
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from tiny import fault, fit, steps

from genraven.errors import InputError
from genraven.installation import command
from genraven.run_folder import RunFiles, step_name
from genraven.signals import Preempted
from launch.cli import main
from launch.errors import explained_exits

MODULE = """
import torch
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.loggers import CSVLogger
from genraven.networks.transformer import Transformer
class Watch(Callback):
    def __init__(self): raise RuntimeError("no camera\\nat all")
class Writer(CSVLogger):
    def __init__(self): self.open()
    def open(self): raise OSError("no pen")
class Net(Transformer):
    def __init__(self, width: int = 24): raise ZeroDivisionError("by nothing")
class Sgd(torch.optim.SGD):
    def __init__(self, params, lr: float = 0.1): raise KeyError("momentum")
"""


@pytest.fixture(autouse=True)
def module(in_tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    Path("unmade.py").write_text(MODULE)
    monkeypatch.syspath_prepend(in_tmp_path)
    importlib.invalidate_caches()
    yield
    sys.modules.pop("unmade", None)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (
            ["--trainer.callbacks+=unmade.Watch"],
            "that Watch can be made with, got RuntimeError: no camera at all: mend",
        ),
        (["--model.network", "unmade.Net"], "that Net can be made with, got ZeroDivisionError: by nothing: mend"),
        (["--model.optimizer", "unmade.Sgd"], "expected an optimizer, got what cannot be one ('momentum'): mend"),
    ],
)
@pytest.mark.parametrize("command", ["fit", "submit"])
def test_a_class_that_cannot_be_made_is_one_line(
    options: list[str], says: str, command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    check_one_line([*SUBMIT * (command == "submit"), *FIT, *options], says, capsys)


@pytest.mark.parametrize(
    ("logger", "says"),
    [
        ("unmade.Writer", "that Writer can be made with, got OSError: no pen: mend"),
        ("WandbLogger", "that WandbLogger can be made with, got ModuleNotFoundError:"),
    ],
)
def test_a_logger_that_cannot_be_made_is_one_line(
    logger: str, says: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """But to submit makes none: that would open what it writes to, from a machine that trains nothing."""
    monkeypatch.setattr("lightning.pytorch.loggers.wandb._WANDB_AVAILABLE", False)
    assert main([*SUBMIT, *FIT, "--trainer.logger", logger]) == 0
    check_one_line([*FIT, "--trainer.logger", logger], says, capsys)


FIT = ["fit", "-c", "model/gpt2_tiny.yaml", "-c", "data/demo.yaml", "-c", "trainer/cpu.yaml"]
SUBMIT = ["submit", "--dry-run", "--gpus-per-node", "0", "--"]


def check_one_line(arguments: list[str], says: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == 2
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("genraven: error:")]
    assert says in line
    assert not Path("runs").exists()


def test_anomalies_can_be_looked_for() -> None:
    short = ["--trainer.max_steps", "2", "--trainer.val_check_interval", "2"]
    assert main(fit(Path("run"), *short, "--trainer.detect_anomaly", "true")) == 0


@pytest.mark.parametrize(
    ("callback", "says"),
    [
        (["StochasticWeightAveraging", "--trainer.callbacks.swa_lrs=0.01"], "`swa_epoch_start` as an integer"),
        (["LearningRateFinder"], "got the callback LearningRateFinder, which searches for its own: set "
         "--model.optimizer.lr instead."),
        (["BatchSizeFinder"], "set --data.global_batch_size and --max_batch_per_device instead."),
    ],
)  # fmt: skip
def test_callbacks_that_cannot_work_here_are_one_line(
    callback: list[str], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    name, *more = callback
    assert main(fit(Path("run"), f"--trainer.callbacks+=lightning.pytorch.callbacks.{name}", *more)) == 2
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("genraven: error:")]
    assert says in line


def test_a_training_outside_the_main_thread(capsys: pytest.CaptureFixture[str]) -> None:
    """As a notebook or a scheduler in Python calls it: Python lets only the main thread handle signals."""
    found: list[int] = []
    short = ["--trainer.max_steps", "2", "--trainer.limit_val_batches", "0"]
    thread = threading.Thread(target=lambda: found.append(main(fit(Path("run"), *short))))
    thread.start()
    thread.join()
    assert found == [0]
    assert "genraven: not in the main thread: signals and Ctrl-C are left to it" in capsys.readouterr().err
    assert steps(Path("run")) == [2]


def test_a_run_folder_that_is_removed_is_told_in_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    """Whatever then fails of the cleaning up behind it."""
    remove = fault("RemoveFolder", step=7, folder=str(Path("run").absolute()))
    assert main(fit(Path("run"), "--trainer.limit_val_batches", "0", *remove)) == 2
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("genraven: error:")]
    assert "expected a run folder that can be written, got run (No such file or directory)" in line


def test_a_file_elsewhere_is_named_by_its_name(tmp_path: Path) -> None:
    """A run folder is not blamed for what happens to others."""
    folder = tmp_path / "run"
    with (
        pytest.raises(InputError, match="expected a file that can be used, got /data/x.npy \\(No such"),
        explained_exits(folder),
    ):
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), "/data/x.npy")
    for error in (OSError(errno.ENOSPC, "full"), OSError(errno.ENOSPC, "full", str(folder / "curve.csv"))):
        with (
            pytest.raises(InputError, match="expected a run folder that can be written, got .*run \\(full\\)"),
            explained_exits(folder),
        ):
            raise error


@pytest.mark.usefixtures("at_once")
def test_a_full_disk_under_the_log_ends_no_training() -> None:
    """Nor does it say that the run folder is full."""
    words = fit(Path("run"), "--trainer.max_steps", "2", "--trainer.limit_val_batches", "0")
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run([*command(), *words], stdout=full, stderr=full, timeout=300)
    assert done.returncode == 0
    assert json.loads(Path("run/summary.json").read_text())["state"] == "finished"


@pytest.mark.parametrize(
    ("saved", "is_named", "says"),
    [
        ((), True, "no step is saved in run, so the same command begins anew"),
        ((5, 40), True, "the same command goes on from step 40, the newest that is saved in run"),
        ((5,), False, "the same command with --run_dir run goes on from step 5, the newest that is saved in run"),
    ],
)
def test_ctrl_c_says_what_is_saved(saved: tuple[int, ...], is_named: bool, says: str, in_tmp_path: Path) -> None:
    (checkpoints := RunFiles(Path("run")).checkpoints).mkdir(parents=True)
    for step in saved:
        (checkpoints / step_name(step)).touch()
    with pytest.raises(KeyboardInterrupt, match=f"^{says}$"), explained_exits(Path("run"), is_named=is_named):
        raise SystemExit(1)


def test_a_run_that_saved_says_which_command_goes_on() -> None:
    for is_named, again in ((True, "the same command"), (False, "the same command with --run_dir run")):
        with pytest.raises(Preempted) as caught, explained_exits(Path("run"), is_named=is_named):
            raise Preempted("signal SIGTERM")
        assert caught.value.again == again
