"""How far a training is, where its output is no terminal."""

import math
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from callbacks import ProgressLines, StepBar, progress
from launch.training.monitoring import progress_bar

BATCH, OUTPUTS = SimpleNamespace(puzzles=[0] * 8), {"loss": torch.tensor(0.5)}


def test_a_line_every_half_minute(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """From step 100 on, a second a step, two processes; the end is always told."""
    now = 1000.0
    monkeypatch.setattr(progress.time, "monotonic", lambda: now)
    trainer: Any = SimpleNamespace(global_step=100, max_steps=7325, world_size=2, num_val_batches=[5])
    lines, module = ProgressLines(), Any
    lines.on_train_start(trainer, module)  # type: ignore[arg-type]
    for _ in range(65):
        now += 1
        trainer.global_step += 1
        lines.on_train_batch_end(trainer, module, OUTPUTS, BATCH, 0)  # type: ignore[arg-type]
    lines.on_validation_start(trainer, module)  # type: ignore[arg-type]
    now += 30
    lines.on_validation_batch_end(trainer, module, None, BATCH, 2)  # type: ignore[arg-type]
    lines.on_validation_end(trainer, module)  # type: ignore[arg-type]
    lines.on_train_end(trainer, module)  # type: ignore[arg-type]
    assert capsys.readouterr().err.splitlines() == [
        "step 130 of 7325, loss 0.5, 16 puzzles/s, 1:59:55 left",
        "step 160 of 7325, loss 0.5, 16 puzzles/s, 1:59:25 left",
        "validation: batch 3 of 5",
        "step 165 of 7325, loss 0.5, 16 puzzles/s, 2:54:25 left",
    ]


def test_other_processes_say_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    trainer: Any = SimpleNamespace(global_step=0, max_steps=-1, world_size=2, estimated_stepping_batches=math.inf)
    lines = ProgressLines()
    lines.disable()
    lines.on_train_batch_end(trainer, Any, OUTPUTS, BATCH, 0)  # type: ignore[arg-type]
    lines.on_train_end(trainer, Any)  # type: ignore[arg-type]
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(("is_terminal", "kind"), [(True, StepBar), (False, ProgressLines)])
def test_a_bar_for_terminals_only(is_terminal: bool, kind: type[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stderr.isatty", lambda: is_terminal)
    config = {"callbacks": None, "enable_progress_bar": None, "log_every_n_steps": 20}
    assert [type(bar) for bar in progress_bar(config)] == [kind]
    assert progress_bar(config | {"enable_progress_bar": False}) == []


def test_the_bar_counts_steps_of_the_run_on_stderr(monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    """Of a run that goes on from step 100, in its second epoch, with two batches a step."""
    bar, module = StepBar(), Any
    trainer: Any = SimpleNamespace(global_step=100, max_steps=104, current_epoch=1, loggers=[],
                                   progress_bar_metrics={"train/loss": 0.5, "v_num": 3})  # fmt: skip
    bar._trainer = trainer
    bar.on_train_start(trainer)
    bar.on_train_epoch_start(trainer, module)
    for batch in range(8):
        trainer.global_step += batch % 2
        bar.on_train_batch_end(trainer, module, OUTPUTS, BATCH, batch)  # type: ignore[arg-type]
    bar.on_train_end()
    said = capsys.readouterr()
    assert said.out == ""
    assert [f"{step}/104" in said.err for step in range(100, 105)] == [True] * 5
    assert "loss=0.5" in said.err
    assert "v_num" not in said.err
    assert "Epoch" not in said.err
