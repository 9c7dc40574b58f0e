"""summary.json of runs that are started more than once."""

import json
import time
from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
from lightning.pytorch.callbacks import Timer

from callbacks import RunSummary
from callbacks.summary import UNKNOWN_END, Origin, _state_of, check_same_rules
from datamodules.batches import Batch
from genraven.errors import InputError
from genraven.signals import Preempted

SETTINGS: dict[str, Any] = {
    "accelerator": "cpu", "logger": False, "enable_checkpointing": False, "enable_progress_bar": False,
    "enable_model_summary": False,
}  # fmt: skip


class Line(L.LightningModule):
    family = "line"

    def __init__(self) -> None:
        super().__init__()
        self.network = torch.nn.Linear(1, 1, bias=False)

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        return self.network.weight.sum()

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), lr=0.1)

    def train_dataloader(self) -> Any:
        puzzles = torch.zeros(3, 3, 9, 9)
        batches = [Batch(puzzles, torch.zeros(3), step, 0, 3) for step in range(100)]
        return torch.utils.data.DataLoader(batches, batch_size=None)  # type: ignore[arg-type]


class End(L.Callback):
    """Ends the training in its third step."""

    def __init__(self, error: BaseException | None) -> None:
        self.error = error

    def on_train_batch_end(self, trainer: L.Trainer, *args: Any) -> None:
        if self.error is not None and trainer.global_step == 3:
            raise self.error


def start(folder: Path, error: BaseException | None = None, job: str | None = None) -> dict[str, Any]:
    """The summary after one start of a run of five steps."""
    summary = RunSummary(folder, Origin("0123456789ab", "c0ffee", job))
    trainer = L.Trainer(max_steps=5, log_every_n_steps=2, callbacks=[summary, End(error)], **SETTINGS)
    try:
        with summary.closing():
            trainer.fit(Line())
    except type(error or Exception()):
        pass
    return read(folder)


def read(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "summary.json").read_text())


def test_rules_that_came_since_a_run_began_are_not_taken_up() -> None:
    began = {"trained": ["color.xor"], "held_out": []}
    for same in (began, {}, {"trained": None, "held_out": None}):
        check_same_rules(same, began)
    with pytest.raises(InputError, match=r"that were trained when .* a set that differs in color.progression\+3: name"):
        check_same_rules(began, began | {"trained": ["color.xor", "color.progression+3"]})


def test_a_finished_run(tmp_path: Path) -> None:
    summary = start(tmp_path)
    assert (summary["state"], summary["reason"], summary["restarts"]) == ("finished", None, [])
    assert (summary["step"], summary["max_steps"], summary["puzzles"], summary["time_left_s"]) == (5, 5, 15, 0)
    assert (summary["family"], summary["network"], summary["parameters"]) == ("line", "linear", 1)
    assert (summary["config_hash"], summary["git_commit"]) == ("0123456789ab", "c0ffee")
    assert summary["device_seconds"] == pytest.approx(summary["wall_seconds"])
    assert summary["hosts"]


@pytest.mark.parametrize(
    ("error", "state", "reason"),
    [
        (Preempted("signal SIGUSR1"), "preempted", "signal SIGUSR1"),
        (InputError("expected a, got b"), "failed", "expected a, got b"),
        (RuntimeError("first\nsecond"), "failed", "RuntimeError: first"),
    ],
)
def test_each_end_is_the_reason_of_the_next_restart(
    error: BaseException, state: str, reason: str, tmp_path: Path
) -> None:
    first = start(tmp_path, error)
    assert (first["state"], first["reason"], first["step"], first["restarts"]) == (state, reason, 3, [])
    assert first["time_left_s"] > 0
    second = start(tmp_path, job="17_4")
    (restart,) = second["restarts"]
    assert (restart["reason"], restart["job"], restart["devices"], restart["step"]) == (reason, "17_4", 1, 0)
    assert time.strptime(restart["time"], "%Y-%m-%dT%H:%M:%S%z")
    assert (second["state"], second["reason"]) == ("finished", None)
    assert second["wall_seconds"] > first["wall_seconds"]
    assert len(start(tmp_path)["restarts"]) == 2


def test_a_start_that_ended_without_a_word(tmp_path: Path) -> None:
    start(tmp_path)
    (tmp_path / "summary.json").write_text(json.dumps(read(tmp_path) | {"state": "running"}))
    assert start(tmp_path)["restarts"][0]["reason"] == UNKNOWN_END


def test_ctrl_c() -> None:
    assert _state_of(KeyboardInterrupt()) == ("interrupted", "Ctrl-C")


def test_a_start_that_fails_before_training_leaves_the_summary(tmp_path: Path) -> None:
    before = start(tmp_path)
    with pytest.raises(InputError), RunSummary(tmp_path, Origin("x", None)).closing():
        raise InputError("no")
    assert read(tmp_path) == before


class Pause(L.Callback):
    """Steps, validations and checkpoints of known lengths."""

    def on_train_batch_start(self, *args: Any) -> None:
        time.sleep(0.02)

    def on_validation_end(self, *args: Any) -> None:
        time.sleep(0.3)

    def on_save_checkpoint(self, *args: Any) -> None:
        time.sleep(0.3)


def test_seconds_of_training_leave_out_validations_and_checkpoints_and_add_up(tmp_path: Path) -> None:
    class Validated(Line):
        def validation_step(self, batch: Any, batch_idx: int) -> None:
            pass

        val_dataloader = Line.train_dataloader

    def train(max_steps: int, ckpt: Path | None) -> tuple[float, float]:
        summary = RunSummary(tmp_path, Origin("0123456789ab", None))
        validations: dict[str, Any] = {"val_check_interval": 2, "check_val_every_n_epoch": None, "limit_val_batches": 1}
        trainer = L.Trainer(
            max_steps=max_steps, num_sanity_val_steps=0, callbacks=[summary, Pause()], **validations, **SETTINGS
        )
        with summary.closing():
            trainer.fit(Validated(), ckpt_path=ckpt)
        trainer.save_checkpoint(tmp_path / "end.ckpt")
        found = read(tmp_path)
        assert found["training_device_seconds"] == pytest.approx(found["training_seconds"])
        return found["training_seconds"], found["wall_seconds"]

    trained, wall = train(6, None)
    assert trained >= 6 * 0.02
    assert wall >= trained + 3 * 0.3
    again, in_all = train(8, tmp_path / "end.ckpt")
    assert again >= trained + 2 * 0.02
    assert in_all >= again + 4 * 0.3


@pytest.mark.parametrize("text", ["", '{"state": "runn', "[1, 2]", '{"step": 3}', "{}"])
def test_a_torn_summary_does_not_stop_a_run(text: str, tmp_path: Path) -> None:
    (tmp_path / "summary.json").write_text(text)
    summary = start(tmp_path)
    assert (summary["state"], summary["step"]) == ("finished", 5)
    assert len(summary["restarts"]) == (text == '{"step": 3}')


def test_a_torn_summary_of_a_run_that_has_nothing_left_to_do(tmp_path: Path) -> None:
    (tmp_path / "summary.json").write_text("")
    with RunSummary(tmp_path, Origin("x", None)).closing():
        pass
    assert (tmp_path / "summary.json").read_text() == ""


class Slow(L.Callback):
    """Lets the time run out in the third step."""

    def on_train_batch_end(self, trainer: L.Trainer, *args: Any) -> None:
        if trainer.global_step == 3:
            time.sleep(1.1)


def test_a_run_that_is_cut_is_not_finished(tmp_path: Path) -> None:
    summary = RunSummary(tmp_path, Origin("0123456789ab", "c0ffee"))
    trainer = L.Trainer(max_steps=5, max_time={"seconds": 1}, callbacks=[Slow(), summary], **SETTINGS)
    with summary.closing():
        trainer.fit(Line())
    found = read(tmp_path)
    assert trainer.global_step == found["step"] < 5
    assert (found["state"], found["reason"]) == ("stopped", f"trainer.max_time is over: step {found['step']} of 5")
    assert start(tmp_path)["restarts"][0]["reason"] == found["reason"]


def test_the_next_start_of_a_run_that_was_cut_has_time_of_its_own(tmp_path: Path) -> None:
    summary, path = RunSummary(tmp_path, Origin("0123456789ab", "c0ffee")), tmp_path / "cut.ckpt"
    trainer = L.Trainer(max_steps=5, max_time={"seconds": 1}, callbacks=[Slow(), summary], **SETTINGS)
    trainer.fit(Line())
    trainer.save_checkpoint(path)
    summary = RunSummary(tmp_path, Origin("0123456789ab", "c0ffee"))
    trainer = L.Trainer(max_steps=5, max_time={"seconds": 60}, callbacks=[summary], **SETTINGS)
    with summary.closing():
        trainer.fit(Line(), ckpt_path=path, weights_only=False)
    assert (read(tmp_path)["state"], read(tmp_path)["step"]) == ("finished", 5)
    again = next(one for one in trainer.callbacks if isinstance(one, Timer))  # type: ignore[attr-defined]
    assert again.time_elapsed() < 1
