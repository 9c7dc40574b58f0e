"""Exponential moving average of the weights, on Lightning's ``WeightAveraging``."""

from collections.abc import Sequence
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
        super().__init__(use_buffers=False, multi_avg_fn=self._average)
        self.decay = decay
        self._step = 0
        self._raw: list[Tensor] | None = None  # the weights in training, while the averages stand in their places

    def _average(self, averaged: Sequence[Tensor], current: Sequence[Tensor], num_averaged: Any) -> None:
        decay = min(self.decay, (1 + self._step) / (10 + self._step))
        torch._foreach_lerp_(list(averaged), [c.to(a.dtype) for a, c in zip(averaged, current, strict=True)], 1 - decay)

    def _average_one(self, averaged: Tensor, current: Tensor, num_averaged: Any) -> Tensor:
        self._average([averaged], [current], num_averaged)
        return averaged

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Looks in what precision is trained."""
        super().on_train_start(trainer, pl_module)
        self.average_one_by_one(pl_module, self._average_one)

    def should_update(self, step_idx: int | None = None, epoch_idx: int | None = None) -> bool:
        """True after each optimizer step."""
        if step_idx is None:
            return False
        self._step = step_idx
        return True

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
