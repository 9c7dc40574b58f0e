"""How far a training command is, on stderr: StepBar on a terminal, ProgressLines where none can be drawn."""

import math
import sys
import time
from collections.abc import Callable
from contextlib import redirect_stdout
from datetime import timedelta
from typing import Any

import lightning as L
from lightning.pytorch.callbacks import ProgressBar, TQDMProgressBar
from lightning.pytorch.callbacks.progress.tqdm_progress import Tqdm

from genraven.console import say

EVERY_S = 30.0


class StepBar(TQDMProgressBar):
    """Lightning's bars; that of a training counts the optimizer steps of the run, whatever its epochs and starts."""

    def init_sanity_tqdm(self) -> Tqdm:
        """The bar of the first validation batches, on stderr."""
        return _on_stderr(super().init_sanity_tqdm)

    def init_train_tqdm(self) -> Tqdm:
        """The bar of a training, on stderr."""
        return _on_stderr(super().init_train_tqdm)

    def init_validation_tqdm(self) -> Tqdm:
        """The bar of a validation, on stderr."""
        return _on_stderr(super().init_validation_tqdm)

    def init_test_tqdm(self) -> Tqdm:
        """The bar of a test, on stderr."""
        return _on_stderr(super().init_test_tqdm)

    def init_predict_tqdm(self) -> Tqdm:
        """The bar of predictions, on stderr."""
        return _on_stderr(super().init_predict_tqdm)

    def on_train_start(self, trainer: L.Trainer, *_: Any) -> None:
        """Begins at the step that the run goes on from."""
        super().on_train_start()
        bar = self.train_progress_bar
        bar.reset(total=_last_step(trainer))
        bar.initial = bar.n = trainer.global_step
        bar.set_description("Step")

    def on_train_epoch_start(self, *_: Any) -> None:
        """The bar goes on."""

    def on_train_batch_end(  # type: ignore[override]
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Moves the bar; only then is the device asked for a number."""
        bar, step = self.train_progress_bar, trainer.global_step
        if self.is_enabled and step > bar.n and (step % self.refresh_rate == 0 or step == bar.total):
            bar.n = step
            bar.set_postfix(self.get_metrics(trainer, pl_module))

    def get_metrics(self, trainer: L.Trainer, pl_module: L.LightningModule) -> dict[str, Any]:
        """What was logged for the bar, by short names."""
        return {name.rpartition("/")[2]: value for name, value in super().get_metrics(trainer, pl_module).items()
                if name != "v_num"}  # fmt: skip


def _last_step(trainer: L.Trainer) -> int | None:
    """The optimizer step at which the training ends; None where nothing says so."""
    if trainer.max_steps > 0:
        return trainer.max_steps
    last = trainer.estimated_stepping_batches
    return None if math.isinf(last) else int(last)


def _on_stderr(make: Callable[[], Tqdm]) -> Tqdm:
    with redirect_stdout(sys.stderr):  # of which it takes the stream
        return make()


class ProgressLines(ProgressBar):
    """Prints a line every half minute, and after the last step: step, of how many, loss, puzzles/s, time left.

    Only then is the device asked for a number.
    """

    def __init__(self) -> None:
        super().__init__()
        self._enabled = True
        self._first_step = self._puzzles = 0
        self._started = self._said = time.monotonic()
        self._validated_s = self._validation_began = 0.0
        self._loss: Any = None

    def disable(self) -> None:
        """Lightning's word to all processes but the first."""
        self._enabled = False

    def enable(self) -> None:
        """Takes ``disable`` back."""
        self._enabled = True

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Begins to count."""
        self._first_step, self._puzzles, self._validated_s = trainer.global_step, 0, 0.0
        self._started = self._said = time.monotonic()

    def on_train_batch_end(  # type: ignore[override]
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Says where the training is."""
        self._puzzles += len(batch.puzzles) * trainer.world_size
        self._loss = outputs["loss"]
        if self._is_time():
            self._say(self._line(trainer))

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Says where it ended."""
        if self._loss is not None:
            self._say(self._line(trainer))

    def on_validation_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Its seconds are none of the training's speed."""
        self._validation_began = time.monotonic()

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """The training goes on."""
        self._validated_s += time.monotonic() - self._validation_began

    def on_validation_batch_end(  # type: ignore[override]
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:  # fmt: skip
        """Says where a validation is."""
        self._say_batch("validation", batch_idx, trainer.num_val_batches)

    def on_test_batch_end(  # type: ignore[override]
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:  # fmt: skip
        """Says where a test is."""
        self._say_batch("test", batch_idx, trainer.num_test_batches)

    def on_predict_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:  # fmt: skip
        """Says where the completing is."""
        self._say_batch("prediction", batch_idx, trainer.num_predict_batches)

    def _say_batch(self, what: str, batch_idx: int, totals: list[int | float]) -> None:
        if self._is_time():
            self._say(f"{what}: batch {batch_idx + 1} of {sum(totals)}")

    def _is_time(self) -> bool:
        return time.monotonic() - self._said >= EVERY_S

    def _line(self, trainer: L.Trainer) -> str:
        step, last, seconds = trainer.global_step, _last_step(trainer), time.monotonic() - self._started
        words = [f"step {step} of {last}" if last else f"step {step}", f"loss {float(self._loss):.4g}"]
        words.append(f"{self._puzzles / (seconds - self._validated_s):.4g} puzzles/s")
        if last and step > self._first_step:
            left = round(seconds / (step - self._first_step) * (last - step))
            words.append(f"{timedelta(seconds=left)} left")
        return ", ".join(words)

    def _say(self, text: str) -> None:
        self._said = time.monotonic()
        if self._enabled:
            say(text, error=True)
