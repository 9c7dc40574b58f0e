"""Exponential moving average of the weights, on Lightning's ``WeightAveraging``."""

from typing import Any

import lightning as L
import torch
from torch import Tensor

from lightning_modules.lightning_internals import ExchangedWeights


class ExponentialMovingAverage(ExchangedWeights):
    """Float32 averages with a decay that warms up: (1 + step) / (10 + step), at most ``decay``.

    Validation and checkpoints see the averaged weights; training resumes from the raw ones. Unlike Lightning's own
    ``EMAWeightAveraging`` it averages from the first step on, all tensors in one fused call, keeps the averages in
    float32 whatever is trained in, and puts the weights back in their places when validation raises.

    Args:
        decay: final decay of a step; the average spans about 1 / (1 - decay) steps.
    """

    def __init__(self, decay: float) -> None:
        super().__init__(use_buffers=False)
        self.decay = decay
        self._is_first = True
        self._raw: list[Tensor] | None = None  # the weights in training, while the averages stand in their places

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Looks whether there are averages to go on with."""
        super().on_train_start(trainer, pl_module)
        self._is_first = int(self.num_averaged()) == 0

    def on_train_batch_end(  # type: ignore[override]
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Averages after each optimizer step.

        ``AveragedModel`` would read its counter, for which the host waits until the device has done all before.
        """
        if trainer.global_step <= self.last_step:
            return
        self.last_step = trainer.global_step
        step = trainer.global_step - 1
        decay = 0.0 if self._is_first else min(self.decay, (1 + step) / (10 + step))
        averages = self.averages()
        weights = [
            weight.detach().to(average.dtype) for average, weight in zip(averages, pl_module.parameters(), strict=True)
        ]
        torch._foreach_lerp_(averages, weights, 1 - decay)
        self.num_averaged().add_(1)
        self._is_first = False

    def should_update(self, step_idx: int | None = None, epoch_idx: int | None = None) -> bool:
        """False: nothing is averaged besides."""
        return False

    def exchange(self, module: L.LightningModule) -> None:
        """Puts the averages in the weights' places, and the next time the weights back.

        Lightning exchanges the two, which rounds the averages to the precision that is trained in.
        """
        weights = [weight.detach() for weight in module.parameters()]
        if self._raw is None:
            self._raw = [weight.clone() for weight in weights]
            self.put_averages(module)
        else:
            torch._foreach_copy_(weights, self._raw)
            self._raw = None

    def on_load_checkpoint(self, trainer: L.Trainer, pl_module: L.LightningModule, checkpoint: dict[str, Any]) -> None:
        """Takes up the averages when training resumes; validation and test read them as the weights themselves."""
        if self.has_averages:
            super().on_load_checkpoint(trainer, pl_module, checkpoint)

    def on_exception(self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException) -> None:
        """Undoes the swap of a validation that raised, so that nothing saved later has the two copies exchanged."""
        if self._raw is not None:
            self.exchange(pl_module)
