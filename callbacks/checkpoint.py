"""The newest good states of a run, never half written."""

import pickle
from pathlib import Path
from typing import Any

import lightning as L
import torch
import torch.distributed as dist
from lightning.fabric.plugins import TorchCheckpointIO
from lightning.pytorch.callbacks import Checkpoint, ModelCheckpoint
from lightning.pytorch.utilities import rank_zero_warn
from torch import Tensor

from callbacks.curve import read_curve
from genraven.errors import InputError
from genraven.files import appears_whole
from genraven.metrics.table import SCORES
from genraven.run_folder import BEST, RunFiles, home, step_checkpoints, step_name
from genraven.signals import Preempted
from lightning_modules.lightning_internals import (
    count_other_batches,
    count_other_epochs,
    is_last_step,
    repeat_validation,
    validation_follows,
)

MAKE_ROOM = "make room, and start the same command again."
WRITER_ERRORS = ("PytorchStreamWriter", "inline_container", "iostream")  # in torch's messages of a full disk


class WholeCheckpointIO(TorchCheckpointIO):
    """Writes checkpoints beside their place and renames them into it.

    Lightning's own way goes through the temporary folder, which on clusters is another file system, so that a kill
    during the copy leaves a torn file where a whole one was.

    Only one process writes, while the others wait for it: what goes wrong is kept in ``error``, for all to learn of it
    together in ``StepCheckpoint``, and raised here at the latest with the next file or at the end.
    """

    def __init__(self) -> None:
        super().__init__()
        self.error: str | None = None

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any | None = None) -> None:
        """Writes ``checkpoint`` to ``path``, whole or not at all."""
        self.teardown()
        path = Path(path)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with appears_whole(path) as temporary:
                torch.save(checkpoint, temporary)
        except (OSError, RuntimeError) as error:
            if isinstance(error, RuntimeError) and not any(part in str(error) for part in WRITER_ERRORS):
                raise  # of the device, perhaps: another start may well do
            self.error = f"expected room to write {path.name} in {path.parent}, got {str(error).splitlines()[0]}"

    def teardown(self) -> None:
        """Raises InputError when the last file could not be written and nobody has said so yet."""
        error, self.error = self.error, None
        if error is not None:
            raise InputError(f"{error}: {MAKE_ROOM}")


class BestCheckpoint(ModelCheckpoint):
    """Keeps the checkpoint of the best validation as ``best.ckpt``, wherever the folder is moved.

    Lightning's own keeps the score under the absolute path of the file and forgets it when that has changed, so that
    the next validation, however bad, takes the place of the best. Here ``best.ckpt`` itself says its score, whatever
    the checkpoint gone on from knew of an earlier one. Of equal ones the later is kept. Where the best was chosen by
    another score before, ``curve.csv`` says what it has of this one. A validation without the score is passed over.

    Args:
        folder: of the checkpoints.
        score: that chooses the best, one of the table's with a better direction.
    """

    def __init__(self, folder: Path, score: str) -> None:
        mode = "max" if SCORES[score].higher_is_better else "min"
        super().__init__(folder, Path(BEST).stem, monitor=f"val/{score}", mode=mode, enable_version_counter=False,
                         save_on_train_epoch_end=False)  # fmt: skip

    @property
    def _former_key(self) -> str:
        """That of Lightning's own, under which the score stood once: a user's, of the same score, has the same."""
        return self.state_key.replace(type(self).__qualname__, ModelCheckpoint.__qualname__)

    @property
    def _path(self) -> Path:
        return Path(str(self.dirpath)) / BEST

    def check_monitor_top_k(self, trainer: L.Trainer, current: Tensor | None = None) -> bool:
        """Is ``current`` as good as the best, or better?"""
        equals = current is not None and self.best_model_score is not None and bool(current == self.best_model_score)
        return equals or super().check_monitor_top_k(trainer, current)

    def on_fit_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Looks up, for all processes, the score of a best one that is there already."""
        is_there, score = trainer.strategy.broadcast(self._find() if trainer.is_global_zero else (False, None))
        if score is not None:
            path = str(self._path)
            self.best_model_score = self.kth_value = torch.tensor(score)
            self.best_model_path = self.kth_best_model_path = path
            self.best_k_models = {path: self.kth_value}
        elif is_there:
            rank_zero_warn(f"{self._path} has no {self.monitor}, by which the best checkpoint is chosen now: the best "
                           "is chosen anew from this step on.")  # fmt: skip

    def _find(self) -> tuple[bool, float | None]:
        """Is there a best one, and what is its score?"""
        if not self._path.exists():
            return False, None
        try:
            best = torch.load(self._path, map_location="cpu", weights_only=True, mmap=True)
        except (OSError, pickle.UnpicklingError, RuntimeError, EOFError, ValueError):  # torn
            return True, None
        states = (best["callbacks"].get(key, {}) for key in (self.state_key, self._former_key))
        score = next((state["best_model_score"] for state in states if "best_model_score" in state), None)
        if score is None:
            score = read_curve(RunFiles(home(self._path)).curve).get(best["global_step"], {}).get(str(self.monitor))
        return True, float(score) if score not in (None, "") else None

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Keeps the checkpoint if it is the best."""
        if self.monitor in trainer.callback_metrics:
            super().on_validation_end(trainer, pl_module)

    def on_load_checkpoint(self, trainer: L.Trainer, pl_module: L.LightningModule, checkpoint: dict[str, Any]) -> None:
        """Takes away what an older version left under a user's key."""
        if checkpoint["callbacks"].get(self._former_key, {}).keys() == {"best_model_score"}:
            del checkpoint["callbacks"][self._former_key]

    def state_dict(self) -> dict[str, Any]:
        """The best score."""
        return {"best_model_score": self.best_model_score}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Nothing: ``best.ckpt`` may be newer than the checkpoint that this is of."""


class StepCheckpoint(Checkpoint):
    """Writes a checkpoint every so many optimizer steps and when training stops; keeps the last two.

    Lightning's ModelCheckpoint writes none at the end of a run that stops between two of its steps; and a ``last`` that
    it keeps beside a monitored value moves only when that value improves. Where a validation is due at the same step,
    it comes first, so that a run killed in it repeats it. Loss and weights that are not finite end the run, on all
    processes together, before anything is written.

    Args:
        folder: of the checkpoints.
        every_n_steps: optimizer steps between two of them.
        check_every_n_steps: optimizer steps between two looks at the loss, which wait for the device.
    """

    def __init__(self, folder: Path, every_n_steps: int, check_every_n_steps: int = 50) -> None:
        self.folder, self.every_n_steps, self.check_every_n_steps = folder, every_n_steps, check_every_n_steps
        self._saved_step = 0
        self._after_validation = False
        self._repeat_validation = False

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
        due = step % self.every_n_steps == 0 or is_last_step(trainer)
        validates = validation_follows(trainer)
        if due or validates or step % self.check_every_n_steps == 0:
            self._check(trainer, pl_module if due or validates else None, outputs["loss"])
        self._after_validation = due and validates
        if due and not validates:
            self._save(trainer)

    def save_now(self, trainer: L.Trainer, pl_module: L.LightningModule, loss: torch.Tensor) -> None:
        """Saves the step just done, of this ``loss``, unless it is saved."""
        if trainer.global_step != self._saved_step:
            self._check(trainer, pl_module, loss)
            self._save(trainer)

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Saves what was due when the validation began, and the end of a run that was stopped in it."""
        if trainer.sanity_checking:
            return
        self._raise_together(trainer)  # what the checkpoint of the best could not write
        if self._after_validation or (is_last_step(trainer) and trainer.global_step != self._saved_step):
            self._after_validation = False
            self._save(trainer)

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Saves an end that no batch foresaw, such as one within an accumulated step, while the weights are raw.

        And says what other callbacks could not write: all processes hear of it before they part.
        """
        self._raise_together(trainer)
        if is_last_step(trainer, after_epoch=True):
            self.save_now(trainer, pl_module, torch.zeros(()))

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """As at the end of an epoch."""
        self._raise_together(trainer)

    def on_exception(self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException) -> None:
        """Saves the step before a validation that was broken off."""
        if isinstance(exception, Preempted) and trainer.global_step != self._saved_step:
            self._repeat_validation = True
            self._save(trainer)

    def on_save_checkpoint(self, trainer: L.Trainer, pl_module: L.LightningModule, checkpoint: dict[str, Any]) -> None:
        """Notes how many batches make a step, and that a validation is to be repeated from its beginning."""
        checkpoint["accumulate_grad_batches"] = trainer.accumulate_grad_batches
        if self._repeat_validation:
            repeat_validation(checkpoint)

    def on_load_checkpoint(self, trainer: L.Trainer, pl_module: L.LightningModule, checkpoint: dict[str, Any]) -> None:
        """Lightning counts batches and epochs: makes them those of this run, which may have other steps and length."""
        before, now = checkpoint.get("accumulate_grad_batches", 1), trainer.accumulate_grad_batches
        count_other_batches(checkpoint, before, now)
        count_steps = getattr(trainer.datamodule, "steps_of_an_epoch", None)  # type: ignore[attr-defined]
        if count_steps and (steps := count_steps()):
            count_other_epochs(checkpoint, steps * now)

    def _save(self, trainer: L.Trainer) -> None:
        trainer.save_checkpoint(self.folder / step_name(trainer.global_step), weights_only=False)
        self._raise_together(trainer)
        if trainer.is_global_zero:
            self._remove_before(self._saved_step)
        self._saved_step = trainer.global_step
        for logger in trainer.loggers:
            logger.save()  # the curves on disk reach as far as the checkpoint

    def _remove_before(self, step: int) -> None:
        """Removes checkpoints older than that of ``step``, the last one that is whole beside the new one."""
        for of_step, path in step_checkpoints(self.folder).items():
            if of_step < step:
                path.unlink(missing_ok=True)

    def _raise_together(self, trainer: L.Trainer) -> None:
        """Raises InputError on all processes when one of them could not write its checkpoint."""
        io = trainer.strategy.checkpoint_io
        errors = [io.error if isinstance(io, WholeCheckpointIO) else None]
        if trainer.strategy.reduce_boolean_decision(errors[0] is not None, all=False):
            if trainer.world_size > 1:  # all say the same: each may be the one that is heard
                errors *= trainer.world_size
                dist.all_gather_object(errors, errors[0])
            if isinstance(io, WholeCheckpointIO):
                io.error = None
            raise InputError(f"{next(filter(None, errors))}: {MAKE_ROOM}")

    def _check(self, trainer: L.Trainer, module: L.LightningModule | None, loss: torch.Tensor) -> None:
        """Raises InputError on all processes when the loss of one, or a weight, is not finite."""
        finite = bool(torch.isfinite(loss))
        if module is not None:
            norms = torch._foreach_norm([p.detach() for p in module.parameters()])
            finite &= bool(torch.stack(norms).isfinite().all())
        if not trainer.strategy.reduce_boolean_decision(finite, all=True):
            good = f"the last checkpoint is of step {self._saved_step}" if self._saved_step else "none was written yet"
            raise InputError(f"expected finite loss and weights, got NaN or infinity by step {trainer.global_step}; "
                             f"{good}: resume with a lower learning rate, more warm-up or "
                             "trainer.gradient_clip_val.")  # fmt: skip
