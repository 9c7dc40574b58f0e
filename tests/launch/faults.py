"""Callbacks that do to a run what a cluster does; given to `genraven fit` by --trainer.callbacks.

Each works in process ``rank`` when ``step`` optimizer steps are done; given ``start``, in that start of a job only, 0
being the first.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import lightning as L
import torch
import torch.distributed as dist
from torch.distributed.algorithms.ddp_comm_hooks.default_hooks import allreduce_hook

from genraven.signals import received_signal


class Fault(L.Callback):
    def __init__(self, step: int, rank: int = 0, times: int = 1, start: int | None = None) -> None:
        self.step, self.rank, self.times, self.start = step, rank, times, start

    def due(self, trainer: L.Trainer) -> bool:
        starts = (os.environ.get(name) for name in ("SLURM_RESTART_COUNT", "TORCHELASTIC_RESTART_COUNT"))
        now = self.start in (None, next((int(start) for start in starts if start), 0))
        return now and trainer.global_step == self.step and trainer.global_rank == self.rank

    def signal(self) -> None:
        for _ in range(self.times):
            os.kill(os.getpid(), signal.SIGUSR1)


class DrawsWhenMade(L.Callback):
    """Draws from the generators of all, as a library may."""

    def __init__(self) -> None:
        torch.rand(3)


class StopsTraining(L.Callback):
    """After 16 steps, and says to nobody why."""

    def on_train_batch_end(self, trainer: L.Trainer, *args: Any) -> None:
        trainer.should_stop = trainer.should_stop or trainer.global_step == 16


class RemoveFolder(Fault):
    """Somebody tidies up."""

    def __init__(self, step: int, folder: str) -> None:
        super().__init__(step)
        self.folder = folder

    def on_train_batch_end(self, trainer: L.Trainer, *args: Any) -> None:
        if self.due(trainer):
            shutil.rmtree(self.folder)


class SignalAtStart(Fault):
    """Before the first step."""

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        if trainer.global_rank == self.rank:
            self.signal()


class SignalInStep(Fault):
    """In the middle of the step after ``step``: one process has done it when the others begin to wait for it."""

    def on_train_batch_start(self, trainer: L.Trainer, *args: Any) -> None:
        if self.due(trainer):
            time.sleep(0.3 if trainer.world_size > 1 else 0)
            self.signal()


class SlurmSignalInStep(Fault):
    """SLURM signals all processes of the job while this one is late, and the others wait for its gradients."""

    def on_train_batch_start(self, trainer: L.Trainer, *args: Any) -> None:
        if self.due(trainer):
            time.sleep(0.2)
            subprocess.run(["scancel", "--signal=USR1", os.environ["SLURM_JOB_ID"]], check=True)
            deadline = time.monotonic() + 20  # SLURM takes its time to hand it on
            while received_signal() is None and time.monotonic() < deadline:
                time.sleep(0.02)
            time.sleep(0.2)


class SignalBeforeValidation(Fault):
    """At the end of the step that a validation follows."""

    def on_train_batch_end(self, trainer: L.Trainer, *args: Any) -> None:
        if self.due(trainer):
            self.signal()


class SignalInValidation(Fault):
    """In the second batch of the validation, or its only one."""

    def on_validation_batch_end(
        self, trainer: L.Trainer, module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int, *args: Any
    ) -> None:
        if self.due(trainer) and batch_idx == min(1, trainer.num_val_batches[0] - 1):  # type: ignore[index]
            self.signal()


class KillInStep(Fault):
    def on_train_batch_start(self, trainer: L.Trainer, *args: Any) -> None:
        if self.due(trainer):
            os.kill(os.getpid(), signal.SIGKILL)


class KillInBackward(Fault):
    """Between the loss and the gradients, where the others wait for these."""

    def on_before_backward(self, trainer: L.Trainer, *args: Any) -> None:
        if self.due(trainer):
            os.kill(os.getpid(), signal.SIGKILL)


class KillInValidation(Fault):
    def on_validation_batch_end(self, trainer: L.Trainer, *args: Any) -> None:
        if self.due(trainer):
            os.kill(os.getpid(), signal.SIGKILL)


class KillInSave(Fault):
    """With the checkpoint half written."""

    def on_save_checkpoint(self, trainer: L.Trainer, *args: Any) -> None:
        if self.due(trainer):
            torch.save = half_saved


def half_saved(checkpoint: Any, path: Path) -> None:
    Path(path).write_bytes(b"PK" + bytes(1000))
    os.kill(os.getpid(), signal.SIGKILL)


class Freeze(Fault):
    """Stands still, as on a node whose disk hangs."""

    def on_train_batch_start(self, trainer: L.Trainer, *args: Any) -> None:
        if self.due(trainer):
            os.kill(os.getpid(), signal.SIGSTOP)


class NotANumber(Fault):
    """The weights of one process go bad."""

    def on_train_batch_start(self, trainer: L.Trainer, pl_module: L.LightningModule, *args: Any) -> None:
        if self.due(trainer):
            next(pl_module.parameters()).data.fill_(float("nan"))


class FullDiskAtTheEnd(L.Callback):
    """The first process cannot write what a callback saves at the end of the last epoch."""

    def on_train_epoch_end(self, trainer: L.Trainer, *args: Any) -> None:
        if trainer.is_global_zero:
            trainer.strategy.checkpoint_io.error = "expected room to write last.ckpt"  # type: ignore[attr-defined]


class LoseFolder(Fault):
    """The folder of checkpoints is gone, and a file that cannot be a folder stands in its place."""

    def on_train_batch_start(self, trainer: L.Trainer, *args: Any) -> None:
        if self.due(trainer):
            folder = Path(trainer.default_root_dir) / "checkpoints"
            folder.rename(folder.with_name("lost"))
            folder.write_text("")


class Slow(Fault):
    """Takes its time, so that a test can do something meanwhile."""

    def on_train_batch_start(self, *args: Any) -> None:
        time.sleep(0.2)


class AbortWithPython(L.Callback):
    """What Python lets go of last aborts the process, as gloo's threads do when they are late; and a file is left open
    in the current folder.
    """

    class Late:
        def __init__(self) -> None:
            self.abort = os.abort  # a module may be gone by then

        def __del__(self) -> None:
            self.abort()

    def on_train_start(self, trainer: L.Trainer, *args: Any) -> None:
        self.file = Path(f"left_open_{trainer.global_rank}").open("w")  # noqa: SIM115
        self.file.write("written")
        sys.late = self.Late()  # type: ignore[attr-defined]


class CountCollectives(L.Callback):
    """Writes what processes exchanged in each batch, up to the beginning of the next, and apart from it how often they
    talked in another group of processes than that of the training.
    """

    NAMES = ("all_reduce", "barrier", "broadcast", "all_gather", "all_gather_object", "broadcast_object_list", "gather")

    def __init__(self, path: str) -> None:
        self.path = Path(path)
        self.counts: list[dict[str, Any]] = []
        self.beside = 0
        self.seen: list[str] = []

    def on_train_start(self, trainer: L.Trainer, *args: Any) -> None:
        def exchange(state: Any, bucket: dist.GradBucket) -> torch.futures.Future[torch.Tensor]:
            before = len(self.seen)
            exchanged = allreduce_hook(None, bucket)  # type: ignore[arg-type]
            self.seen[before:] = ["gradients"]  # in place of the call that the hook has made of it
            return exchanged

        trainer.strategy.model.register_comm_hook(None, exchange)  # type: ignore[union-attr, operator]
        for name in self.NAMES:
            setattr(dist, name, self._counted(name, getattr(dist, name)))

    def _counted(self, name: str, plain: Any) -> Any:
        def counted(*arguments: Any, group: Any = None, **named: Any) -> Any:
            if group in (None, dist.group.WORLD):
                self.seen.append(name)
            else:
                self.beside += 1
            return plain(*arguments, group=group, **named)

        return counted

    def on_train_batch_start(self, trainer: L.Trainer, *args: Any) -> None:
        if self.counts:
            self.counts[-1] |= {"beside": self.beside, "all": sorted(self.seen)}
            self.path.write_text(json.dumps(self.counts))
        self.beside, self.seen = 0, []
        model = trainer.strategy.model
        options = {"bucket_view": model.gradient_as_bucket_view, "buffers": model.broadcast_buffers}  # type: ignore[union-attr]
        self.counts.append({"step": trainer.global_step, **options})
