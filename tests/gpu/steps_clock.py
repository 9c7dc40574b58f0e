"""Callbacks of the trainings that are measured: when steps begin and end, the device being done."""

import time
from typing import Any, ClassVar

import lightning as L
import torch

SAID = "the first step is done"


def now(device: torch.device) -> float:
    """Seconds, once ``device`` has done what it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter()


class StepsClock(L.Callback):
    """Seconds of the steps after the first ones.

    Args:
        first, last: steps between which is measured.
    """

    seconds: ClassVar = 0.0

    def __init__(self, first: int, last: int) -> None:
        self.first, self.last = first, last

    def on_train_batch_end(self, trainer: L.Trainer, *_: Any) -> None:
        """Starts and stops, each when the device has done what it was asked."""
        if trainer.global_step in (self.first, self.last):
            at = now(trainer.strategy.root_device)
            StepsClock.seconds = -at if trainer.global_step == self.first else StepsClock.seconds + at


class FirstStep(L.Callback):
    """Says when the first step is done, on the device, too."""

    def on_train_batch_end(self, trainer: L.Trainer, *_: Any) -> None:
        """Prints it."""
        if trainer.global_step == 1:
            now(trainer.strategy.root_device)
            print(SAID, flush=True)
