"""The newest checkpoints of a run."""

from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint

from callbacks import BestCheckpoint, StepCheckpoint
from genraven.errors import InputError


class Line(L.LightningModule):
    """One weight; its loss is NaN from step ``broken`` on."""

    def __init__(self, broken: int | None = None) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.ones(()))
        self.broken = broken

    def training_step(self, batch: Any, batch_idx: int) -> torch.Tensor:
        return self.weight * (float("nan") if self.broken is not None and batch_idx >= self.broken else 1.0)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.1)


class StopAt(L.Callback):
    def __init__(self, step: int) -> None:
        self.step = step

    def on_train_batch_end(self, trainer: L.Trainer, *args: Any) -> None:
        trainer.should_stop = trainer.global_step >= self.step


def fit(module: L.LightningModule, *callbacks: L.Callback, max_steps: int = 10, **more: int) -> None:
    settings: dict[str, Any] = {"enable_progress_bar": False, "enable_model_summary": False, "logger": False}
    trainer = L.Trainer(accelerator="cpu", max_steps=max_steps, callbacks=list(callbacks), **settings, **more)
    trainer.fit(module, torch.utils.data.DataLoader(range(100)))  # type: ignore[arg-type]


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def step_of(path: Path) -> int:
    return torch.load(path, weights_only=True)["global_step"]


@pytest.mark.parametrize("every", [2, 3, 4, 100])
def test_a_run_ends_with_its_last_state(every: int, tmp_path: Path) -> None:
    fit(Line(), StepCheckpoint(tmp_path, every))
    before = (9 // every) * every
    assert names(tmp_path) == [
        name for name in (f"step-{before:08d}.ckpt", "step-00000010.ckpt") if name != "step-00000000.ckpt"
    ]
    assert step_of(tmp_path / "step-00000010.ckpt") == 10


def test_a_run_that_is_stopped_ends_with_its_last_state(tmp_path: Path) -> None:
    fit(Line(), StopAt(7), StepCheckpoint(tmp_path, 5))
    assert names(tmp_path) == ["step-00000005.ckpt", "step-00000007.ckpt"]


@pytest.mark.parametrize(("stop", "least"), [(100, {}), (2, {"min_epochs": 2}), (15, {}), (2, {"min_steps": 17})])
def test_a_run_of_epochs_ends_with_its_last_state(stop: int, least: dict[str, int], tmp_path: Path) -> None:
    """Also one that is stopped, which trains on as long as it must, and writes no checkpoint on the way."""
    saved: list[int] = []

    class Noted(StepCheckpoint):
        def _save(self, trainer: L.Trainer) -> None:
            saved.append(trainer.global_step)
            super()._save(trainer)

    length = {"max_epochs": 2, "limit_train_batches": 10}
    fit(Line(), StopAt(stop), Noted(tmp_path, 1000), max_steps=-1, **length, **least)
    assert saved == [15 if stop == 15 else least.get("min_steps", 20)]


@pytest.mark.parametrize("check_every", [1, 3, 50])
def test_a_loss_that_is_not_finite_keeps_the_last_good_checkpoint(check_every: int, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"got NaN or infinity by step \d+; the last checkpoint is of step 4"):
        fit(Line(broken=5), StepCheckpoint(tmp_path, 4, check_every))
    checkpoint = torch.load(tmp_path / "step-00000004.ckpt", weights_only=True)
    assert checkpoint["global_step"] == 4
    assert checkpoint["state_dict"]["weight"].isfinite()


def test_a_loss_that_is_not_finite_before_any_checkpoint(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="none was written yet"):
        fit(Line(broken=0), StepCheckpoint(tmp_path, 4, 1))
    assert not list(tmp_path.iterdir())


def test_only_its_own_names_are_removed(tmp_path: Path) -> None:
    kept = ["step-00000001-keep.ckpt", "step-final.ckpt", "step-1.ckpt"]
    for name in (*kept, "step-00000001.ckpt"):
        (tmp_path / name).touch()
    fit(Line(), StepCheckpoint(tmp_path, 5))
    assert names(tmp_path) == sorted(["step-00000005.ckpt", "step-00000010.ckpt", *kept])


class Scored(Line):
    """Its validations find ``losses`` one after the other."""

    def __init__(self, *losses: float) -> None:
        super().__init__()
        self.losses = list(losses)

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self.log("val/loss", self.losses[0])

    def on_validation_epoch_end(self) -> None:
        self.losses.pop(0)

    def train_dataloader(self) -> Any:
        return torch.utils.data.DataLoader(range(100))  # type: ignore[arg-type]

    def val_dataloader(self) -> Any:
        return torch.utils.data.DataLoader(range(1))  # type: ignore[arg-type]


def fit_scored(
    folder: Path, best: ModelCheckpoint, max_steps: int, *losses: float, kind: "type[Scored] | None" = None
) -> None:
    """Goes on to ``max_steps`` with a validation every 5."""
    newest = max(folder.glob("step-*.ckpt"), default=None)
    settings: dict[str, Any] = {"enable_progress_bar": False, "enable_model_summary": False, "logger": False}
    trainer = L.Trainer(
        accelerator="cpu", max_steps=max_steps, val_check_interval=5, num_sanity_val_steps=0,
        callbacks=[best, StepCheckpoint(folder, 5)], **settings,
    )  # fmt: skip
    trainer.fit((kind or Scored)(*losses), ckpt_path=newest)


@pytest.mark.parametrize("kept_by", [BestCheckpoint, ModelCheckpoint])
def test_the_best_stays_the_best_when_the_folder_is_moved(kept_by: type[ModelCheckpoint], tmp_path: Path) -> None:
    """Also where an earlier version began the run, with Lightning's own callback."""

    def best(folder: Path) -> ModelCheckpoint:
        if kept_by is BestCheckpoint:
            return BestCheckpoint(folder, "loss")
        return ModelCheckpoint(folder, "best", monitor="val/loss", mode="min", enable_version_counter=False)

    before, now = tmp_path / "before", tmp_path / "now"
    fit_scored(before, best(before), 10, 0.1, 0.5)
    assert step_of(before / "best.ckpt") == 5
    before.rename(now)
    fit_scored(now, BestCheckpoint(now, "loss"), 15, 0.3)
    assert step_of(now / "best.ckpt") == 5
    assert names(now) == ["best.ckpt", "step-00000010.ckpt", "step-00000015.ckpt"]
    fit_scored(now, BestCheckpoint(now, "loss"), 20, 0.05)
    assert step_of(now / "best.ckpt") == 20
    (now / "best.ckpt").unlink()
    fit_scored(now, BestCheckpoint(now, "loss"), 25, 0.4)
    assert step_of(now / "best.ckpt") == 25  # the best of those that there are


def test_another_run_has_its_own_best(tmp_path: Path) -> None:
    """One that begins with a checkpoint of the first."""
    one, other = tmp_path / "one", tmp_path / "other"
    fit_scored(one, BestCheckpoint(one, "loss"), 5, 0.1)
    other.mkdir()
    (other / "step-00000005.ckpt").write_bytes((one / "step-00000005.ckpt").read_bytes())
    fit_scored(other, BestCheckpoint(other, "loss"), 10, 0.3)
    assert step_of(other / "best.ckpt") == 10
    assert step_of(one / "best.ckpt") == 5


class Completing(Scored):
    """Its losses are completions, too."""

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self.log("val/loss", self.losses[0])
        self.log("val/completion", self.losses[0])


class WithoutLoss(Scored):
    """Its validations have no score at all."""

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self.log("val/other", 0.0)


def test_the_best_is_told_by_the_score_that_is_asked_for(tmp_path: Path) -> None:
    """Completion is the better the higher it is, and of equals the later one is kept."""
    fit_scored(tmp_path, BestCheckpoint(tmp_path, "completion"), 20, 0.1, 0.3, 0.3, 0.2, kind=Completing)
    assert step_of(tmp_path / "best.ckpt") == 15


def test_a_best_that_was_told_by_another_score_stays_until_there_is_a_better_one(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """As far as the run's curve says what it has of the new score."""
    folder = tmp_path / "checkpoints"
    fit_scored(folder, BestCheckpoint(folder, "loss"), 5, 0.7, kind=Completing)
    (tmp_path / "curve.csv").write_text("step,val/completion\n5,0.7\n")
    fit_scored(folder, BestCheckpoint(folder, "completion"), 10, 0.2, kind=Completing)
    assert step_of(folder / "best.ckpt") == 5
    fit_scored(folder, BestCheckpoint(folder, "completion"), 15, 0.8, kind=Completing)
    assert step_of(folder / "best.ckpt") == 15
    (tmp_path / "curve.csv").unlink()
    with pytest.warns(UserWarning, match="the best is chosen anew from this step on"):
        fit_scored(folder, BestCheckpoint(folder, "loss"), 20, 0.9, kind=Completing)
    assert step_of(folder / "best.ckpt") == 20


def test_a_best_that_is_newer_than_the_checkpoint_gone_on_from_keeps_its_score(tmp_path: Path) -> None:
    """A run that crashed behind its best validation repeats it, perhaps with another score."""
    fit_scored(tmp_path, BestCheckpoint(tmp_path, "loss"), 10, 0.5, 0.1)
    (tmp_path / "step-00000010.ckpt").unlink()
    fit_scored(tmp_path, BestCheckpoint(tmp_path, "loss"), 15, 0.3, 0.2)  # from step 5, whose best was 0.5
    best = torch.load(tmp_path / "best.ckpt", weights_only=True)
    (score,) = (state["best_model_score"] for name, state in best["callbacks"].items() if "BestCheckpoint" in name)
    assert (best["global_step"], score.item()) == (10, pytest.approx(0.1))


def test_a_torn_best_is_chosen_anew(tmp_path: Path) -> None:
    fit_scored(tmp_path, BestCheckpoint(tmp_path, "loss"), 5, 0.1)
    (tmp_path / "best.ckpt").write_bytes((tmp_path / "best.ckpt").read_bytes()[:100])
    with pytest.warns(UserWarning, match="the best is chosen anew from this step on"):
        fit_scored(tmp_path, BestCheckpoint(tmp_path, "loss"), 10, 0.9)
    assert step_of(tmp_path / "best.ckpt") == 10


def test_a_validation_without_the_score_is_not_the_best(tmp_path: Path) -> None:
    fit_scored(tmp_path, BestCheckpoint(tmp_path, "loss"), 5, 0.1)
    fit_scored(tmp_path, BestCheckpoint(tmp_path, "loss"), 10, 0.0, kind=WithoutLoss)
    assert step_of(tmp_path / "best.ckpt") == 5


def test_the_state_of_the_best_has_no_path_in_it(tmp_path: Path) -> None:
    fit_scored(tmp_path, BestCheckpoint(tmp_path, "loss"), 5, 0.1)
    states = torch.load(tmp_path / "step-00000005.ckpt", weights_only=True)["callbacks"]
    assert str(tmp_path) not in repr(states)
