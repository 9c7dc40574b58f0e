"""Classes that a config names and that cannot be made: one line, whatever their constructors raise."""

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from tiny import fit

from launch.cli import main

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
        (["--trainer.logger", "unmade.Writer"], "that Writer can be made with, got OSError: no pen: mend"),
        (["--model.network", "unmade.Net"], "that Net can be made with, got ZeroDivisionError: by nothing: mend"),
        (["--model.optimizer", "unmade.Sgd"], "expected an optimizer, got what cannot be one ('momentum'): mend"),
        (["--trainer.logger", "WandbLogger"], "that WandbLogger can be made with, got ModuleNotFoundError:"),
    ],
)
@pytest.mark.parametrize("command", ["fit", "submit"])
def test_a_class_that_cannot_be_made_is_one_line(
    options: list[str], says: str, command: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lightning.pytorch.loggers.wandb._WANDB_AVAILABLE", False)
    arguments = ["fit", "-c", "model/gpt2_tiny.yaml", "-c", "data/demo.yaml", "-c", "trainer/cpu.yaml", *options]
    if command == "submit":
        arguments = ["submit", "--dry-run", "--gpus-per-node", "0", "--", *arguments]
    assert main(arguments) == 2
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("genraven: error:")]
    assert says in line
    assert not Path("runs").exists()


def test_anomalies_can_be_looked_for() -> None:
    short = ["--trainer.max_steps", "2", "--trainer.val_check_interval", "2"]
    assert main(fit(Path("run"), *short, "--trainer.detect_anomaly", "true")) == 0
