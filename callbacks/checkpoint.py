"""The newest good state of a run, always under one name, never half written."""

from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.fabric.plugins import TorchCheckpointIO
from lightning.pytorch.callbacks import Checkpoint

from genraven.errors import InputError
from genraven.files import appears_whole


class WholeCheckpointIO(TorchCheckpointIO):
    """Writes checkpoints beside their place and renames them into it.

    Lightning's own way goes through the temporary folder, which on clusters is another file system, so that a kill
    during the copy leaves a torn file where a whole one was.
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any | None = None) -> None:
        """Writes ``checkpoint`` to ``path``, whole or not at all."""
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        with appears_whole(Path(path)) as temporary:
            torch.save(checkpoint, temporary)


class LastCheckpoint(Checkpoint):
    """Writes a checkpoint every so many optimizer steps and when training stops, each in the place of the one before.

    Lightning's ModelCheckpoint writes none at the end of a run that stops between two of its steps; and a ``last`` that
    it keeps beside a monitored value moves only when that value improves. Where a validation is due at the same step,
    it comes first, so that a run killed in it repeats it. Loss and weights that are not finite end the run, on all
    processes together, before anything is written.

    Args:
        path: of the checkpoint.
        every_n_steps: optimizer steps between two of them.
        check_every_n_steps: optimizer steps between two looks at the loss, which wait for the device.
    """

    def __init__(self, path: Path, every_n_steps: int, check_every_n_steps: int = 50) -> None:
        self.path, self.every_n_steps, self.check_every_n_steps = path, every_n_steps, check_every_n_steps
        self._saved_step = 0
        self._after_validation = False

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """A run that goes on has just read what it would write."""
        self._saved_step = trainer.global_step

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Saves where it is time, between two optimizer steps and not within one that accumulates.

        Before an end, since averaged weights then take the place of the raw ones.
        """
        step = trainer.global_step
        if (batch_idx + 1) % trainer.accumulate_grad_batches or step == self._saved_step:
            return
        due = step % self.every_n_steps == 0 or step == trainer.max_steps or trainer.should_stop
        if due or step % self.check_every_n_steps == 0:
            self._check(trainer, pl_module if due else None, outputs["loss"])
        self._after_validation = due and _validation_follows(trainer)
        if due and not self._after_validation:
            self._save(trainer)

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Saves what was due when the validation began."""
        if self._after_validation:
            self._after_validation = False
            self._save(trainer)

    def _save(self, trainer: L.Trainer) -> None:
        trainer.save_checkpoint(self.path)
        self._saved_step = trainer.global_step

    def _check(self, trainer: L.Trainer, module: L.LightningModule | None, loss: torch.Tensor) -> None:
        """Raises InputError on all processes when the loss of one, or a weight, is not finite."""
        finite = bool(torch.isfinite(loss))
        if module is not None:
            norms = torch._foreach_norm([p.detach() for p in module.parameters()])
            finite &= bool(torch.stack(norms).isfinite().all())
        if not trainer.strategy.reduce_boolean_decision(finite, all=True):
            good = f"{self.path} is of step {self._saved_step}" if self._saved_step else "no checkpoint was written yet"
            raise InputError(
                f"expected finite loss and weights, got others by step {trainer.global_step}; {good}: go on with a "
                "lower learning rate, more warm-up or trainer.gradient_clip_val."
            )


def _validation_follows(trainer: L.Trainer) -> bool:
    """Will Lightning validate after the training batch that has just ended?"""
    loop = trainer.fit_loop
    return bool(loop.epoch_loop._should_check_val_fx(loop._data_fetcher))  # type: ignore[arg-type]
