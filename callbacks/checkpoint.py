"""LastCheckpoint: the newest good state of a run, always under one name."""

from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import Checkpoint

from genraven.errors import InputError


class LastCheckpoint(Checkpoint):
    """Writes one checkpoint every so many optimizer steps and when training stops, each in the place of the one before.

    Lightning's ModelCheckpoint writes none at the end of a run that stops between two of its steps; and a ``last`` that
    it keeps beside a monitored value moves only when that value improves. A loss that is not finite ends the run before
    anything is written: once a loss is NaN, so are all that follow, hence looking now and then misses none.

    Args:
        path: of the checkpoint; it changes at once (the file is renamed into its place).
        every_n_steps: optimizer steps between two of them.
        check_every_n_steps: optimizer steps between two looks at the loss, which wait for the device.
    """

    def __init__(self, path: Path, every_n_steps: int, check_every_n_steps: int = 50) -> None:
        self.path, self.every_n_steps, self.check_every_n_steps = path, every_n_steps, check_every_n_steps
        self._saved_step = 0

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Saves where it is time; before an end, since averaged weights then take the place of the raw ones."""
        step = trainer.global_step
        due = step % self.every_n_steps == 0 or step == trainer.max_steps or trainer.should_stop
        due = due and step > self._saved_step
        if due or step % self.check_every_n_steps == 0:
            self._check(outputs["loss"], step)
        if due:
            trainer.save_checkpoint(self.path)
            self._saved_step = step

    def _check(self, loss: torch.Tensor, step: int) -> None:
        if not torch.isfinite(loss):
            good = f"{self.path} is of step {self._saved_step}" if self._saved_step else "no checkpoint was written yet"
            raise InputError(f"expected a finite loss, got {loss.item()} by step {step}; {good}: go on with a lower "
                             "learning rate, more warm-up or trainer.gradient_clip_val.")  # fmt: skip
