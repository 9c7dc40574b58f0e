"""Callbacks that look at steps, or do to them what a user's may; given to `genraven fit` by --trainer.callbacks."""

import gc
from typing import Any, ClassVar

import lightning as L


class ReadsLoss(L.Callback):
    """Looks at each step's loss."""

    losses: ClassVar[list[float]] = []

    def on_train_batch_end(self, trainer: L.Trainer, module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        ReadsLoss.losses.append(float(outputs["loss"]))


class ReadsSometimes(L.Callback):
    """Looks at every other loss."""

    def on_train_batch_end(self, trainer: L.Trainer, module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        if batch_idx % 2:
            float(outputs["loss"])


class Moves(L.Callback):
    """Puts a weight elsewhere, as a callback may that prunes or replaces."""

    def on_train_batch_start(self, trainer: L.Trainer, module: Any, batch: Any, batch_idx: int) -> None:
        if trainer.global_step == 10:
            weight = next(module.parameters())
            weight.data = weight.data.clone()


class Addresses(L.Callback):
    """Where weights and gradients are in each step; and is the collector on?"""

    found: ClassVar[list[tuple[int, ...]]] = []
    collecting: ClassVar[list[bool]] = []

    def on_train_batch_end(self, trainer: L.Trainer, module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        tensors = [tensor for p in module.parameters() for tensor in (p, p.grad) if tensor is not None]
        Addresses.found.append(tuple(tensor.data_ptr() for tensor in tensors))
        Addresses.collecting.append(gc.isenabled())


class Fails(L.Callback):
    """Ends a training."""

    def on_train_batch_end(self, trainer: L.Trainer, module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        raise RuntimeError("on purpose")
