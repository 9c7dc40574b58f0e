"""RunGuard: a run that is asked to stop saves on all processes at the same step, and ends with a status of its own."""

from collections.abc import Callable
from datetime import timedelta
from signal import Signals
from typing import Any

import lightning as L
import torch
import torch.distributed as dist
from lightning.pytorch.callbacks import Checkpoint

from callbacks.checkpoint import StepCheckpoint
from genraven.signals import REQUEUE, Preempted, received_signal
from lightning_modules.lightning_internals import leave_signals_alone, validation_follows

__all__ = ["REQUEUE", "Preempted", "RunGuard"]


class RunGuard(Checkpoint):
    """Lets processes agree, after each optimizer step and each validation batch, whether one of them got a signal.

    If so, all save, and raise ``Preempted``. A validation is broken off, and repeated by the run that goes on; but not
    the one after the last step, since Lightning has nothing to go on with then.

    It counts as a checkpoint callback, so that Lightning calls it after those that average weights. Processes agree
    over gloo, on the CPU: asking a GPU would wait for it in every step. They ask in one step and read the answer in the
    next, so that none waits for another; a process alone has its answer at once.

    Args:
        checkpoint: writes the checkpoint.
        timeout: after which a process that does not answer ends the others.
    """

    def __init__(self, checkpoint: StepCheckpoint, timeout: timedelta) -> None:
        self.checkpoint, self.timeout = checkpoint, timeout
        self._group: dist.ProcessGroup | None = None
        self._question: Callable[[], list[int]] = lambda: [0]
        self._stop: str | None = None

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Takes Lightning's own handling of SIGTERM out of the way.

        It waits for other processes inside the signal handler, which hangs unless all are in Python code at that
        moment, and asks the device in every batch.
        """
        leave_signals_alone(trainer)
        if trainer.world_size > 1:
            try:
                self._group = dist.new_group(backend="gloo", timeout=self.timeout)
            except RuntimeError as error:
                reason = str(error).splitlines()[0]
                raise RuntimeError(
                    f"processes cannot connect by gloo ({reason}): on hosts with several networks set "
                    "GLOO_SOCKET_IFNAME to the one that they share, such as eth0."
                ) from error

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Raises RuntimeError when processes have not gone on from the same checkpoint."""
        steps = self._ask([trainer.global_step, -trainer.global_step])()
        if steps[0] != -steps[1]:
            raise RuntimeError(f"processes go on from different steps, {-steps[1]} to {steps[0]}: start them again.")

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Saves after an optimizer step when a signal has come."""
        step_done = (batch_idx + 1) % trainer.accumulate_grad_batches == 0
        if step_done and self._agreed() and not validation_follows(trainer):
            self.checkpoint.save_now(trainer, pl_module, outputs["loss"])

    def on_train_batch_start(
        self, trainer: L.Trainer, pl_module: L.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Leaves with the step saved: only now has Lightning logged it."""
        if self._stop:
            raise Preempted(self._stop)

    def on_validation_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Does not begin a validation when a signal has come."""
        self._leave_validation(trainer)

    def on_validation_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:  # fmt: skip
        """Breaks a validation off when a signal has come."""
        self._leave_validation(trainer)

    def _leave_validation(self, trainer: L.Trainer) -> None:
        if not trainer.sanity_checking and trainer.global_step != trainer.max_steps and self._agreed():
            raise Preempted(self._stop)

    def _agreed(self) -> bool:
        """Had any process got a signal when this was last called? The same answer for all, and nobody waits for it."""
        if self._stop is None:
            number: int = received_signal() or 0
            if self._group is not None:
                before, self._question = self._question, self._ask([number])
                number = before()[0]
            self._stop = f"signal {Signals(number).name}" if number else None
        return self._stop is not None

    def _ask(self, values: list[int]) -> Callable[[], list[int]]:
        """Begins to look for the largest of each value over all processes; what is returned waits for it."""
        largest = torch.tensor(values)
        if self._group is None:
            return lambda: values
        work = dist.all_reduce(largest, dist.ReduceOp.MAX, group=self._group, async_op=True)

        def answer() -> list[int]:
            work.wait()
            return [int(value) for value in largest]

        return answer
