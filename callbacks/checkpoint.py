"""LastCheckpoint: the newest state of a run, always under one name."""

from pathlib import Path
from typing import Any

import lightning as L
from lightning.pytorch.callbacks import Checkpoint


class LastCheckpoint(Checkpoint):
    """Writes one checkpoint every so many optimizer steps and when training stops, each in the place of the one before.

    Lightning's ModelCheckpoint writes none at the end of a run that stops between two of its steps; and a ``last`` that
    it keeps beside a monitored value moves only when that value improves.

    Args:
        path: of the checkpoint; it changes at once (the file is renamed into its place).
        every_n_steps: optimizer steps between two of them.
    """

    def __init__(self, path: Path, every_n_steps: int) -> None:
        self.path, self.every_n_steps = path, every_n_steps
        self._saved_step = 0

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Saves where it is time; before an end, since averaged weights then take the place of the raw ones."""
        step = trainer.global_step
        due = step % self.every_n_steps == 0 or step == trainer.max_steps or trainer.should_stop
        if due and step > self._saved_step:
            trainer.save_checkpoint(self.path)
            self._saved_step = step
