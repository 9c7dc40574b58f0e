"""Random numbers of losses: for a shard of a global batch in training, for puzzles at their indices in evaluation."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from datamodules.batches import Batch
from genraven.methods.draws import PlacedGenerator, uniform_draws


@dataclass(frozen=True)
class BatchDraw:
    """Draws for a shard of a global batch. They are made for the whole batch: the world size changes nothing."""

    batch: Batch
    generator: torch.Generator

    def __call__(self, distribution: Callable[..., Tensor], *shape: int) -> Tensor:
        """(b, *shape) float32 draws of ``distribution`` for the puzzles of the shard."""
        start = self.batch.start
        return self._whole(distribution, *shape)[start : start + len(self.batch.puzzles)]

    def spread(self) -> Tensor:
        """(b,) draws on [0, 1): the whole batch has one in each of as many equal parts, turned by a common draw."""
        start, total = self.batch.start, self.batch.total
        within, shift = self._whole(torch.rand), uniform_draws((), self.generator.device, self.generator)
        whole = (torch.arange(total, device=within.device) + within) / total + shift
        return whole.frac()[start : start + len(self.batch.puzzles)]

    def _whole(self, distribution: Callable[..., Tensor], *shape: int) -> Tensor:
        return distribution(
            (self.batch.total, *shape), generator=self.generator, device=self.generator.device, dtype=torch.float32
        )


@dataclass(frozen=True)
class PlacedDraw:
    """Draws for puzzles at their indices, whatever batch they come in."""

    generator: PlacedGenerator

    def __call__(self, distribution: Callable[..., Tensor], *shape: int) -> Tensor:
        """(b, *shape) float32 draws of ``distribution``."""
        return self.generator.draw(distribution, (self.generator.num, *shape), dtype=torch.float32)

    def spread(self) -> Tensor:
        """(b,) draws on [0, 1) that cover it evenly."""
        return self.generator.spread()
