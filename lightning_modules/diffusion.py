"""DiffusionModule: repairs a whole picture step by step."""

from collections.abc import Callable
from typing import Literal

import lightning as L
import torch
from lightning.pytorch.cli import OptimizerCallable
from torch import Tensor, nn

from genraven.diffusion.flow import Flow, Velocity
from genraven.diffusion.inpainting import replacement
from genraven.diffusion.samplers import SAMPLERS, Projection, uniform_times
from genraven.errors import InputError
from genraven.puzzles import layout
from lightning_modules.averaging import ExponentialMovingAverage
from lightning_modules.base import PuzzleModule, Schedule


class DiffusionModule(PuzzleModule):
    """A network that predicts a picture from a noisy one, and the process that says what is predicted.

    Args:
        network: of noisy pictures and times.
        process: noise path, loss and the field that the sampler integrates.
        optimizer: makes the optimizer of the parameters.
        warmup_steps: optimizer steps of linear warm-up.
        schedule: of the learning rate after it.
        sampler: solver: euler (one evaluation a step) or heun (two).
        num_sampling_steps: its steps.
        ema_decay: of the averaged weights that are evaluated and saved; null trains without.
        label_dropout: share of training puzzles whose label is hidden from a network with labels.
        seed: of all draws.
    """

    family = "diffusion"

    def __init__(
        self,
        network: nn.Module,
        process: Flow,
        *,
        optimizer: OptimizerCallable = torch.optim.AdamW,
        warmup_steps: int = 0,
        schedule: Schedule = "constant",
        sampler: Literal["euler", "heun"] = "euler",
        num_sampling_steps: int = 50,
        ema_decay: float | None = 0.9999,
        label_dropout: float = 0.1,
        seed: int = 0,
    ) -> None:
        super().__init__(
            network,
            optimizer=optimizer,
            warmup_steps=warmup_steps,
            schedule=schedule,
            label_dropout=label_dropout,
            seed=seed,
        )
        if num_sampling_steps < 1:
            raise InputError(f"expected model.num_sampling_steps to be 1 or more, got {num_sampling_steps}.")
        self.process, self.sampler, self.num_sampling_steps = process, sampler, num_sampling_steps
        self.ema_decay = ema_decay

    def configure_callbacks(self) -> list[L.Callback]:
        """The average of the weights."""
        return [] if self.ema_decay is None else [ExponentialMovingAverage(self.ema_decay)]

    def losses(self, puzzles: Tensor, labels: Tensor | None, draw: Callable[..., Tensor]) -> Tensor:
        """(B,) losses of the process at a time drawn for each puzzle."""
        x0 = layout.puzzles_to_fields(puzzles)
        return self.process.loss(self.network, x0, draw(torch.randn, *x0.shape[1:]), draw(torch.rand), labels)

    @torch.no_grad()
    def generate(self, n: int, rules: Tensor | None = None, generator: torch.Generator | None = None) -> Tensor:
        """(n, 3, 9, 9) int8 puzzles from nothing, of ``rules`` (n,) for a network with labels."""
        velocity = self.process.velocity(self.network, self._check_rules(rules))
        return layout.fields_to_puzzles(self._sample(velocity, self._noise(n, generator)))

    @torch.no_grad()
    def complete(self, puzzles: Tensor, mask: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """``puzzles`` (B, 3, 9, 9) with the cells under ``mask`` (B, 9, 9) bool sampled, the others held."""
        self._check_mask(puzzles, mask)
        noise, open_cells = self._noise(len(puzzles), generator), mask.unsqueeze(1)
        project = replacement(layout.puzzles_to_fields(puzzles), noise, open_cells)
        fields = self._sample(self.process.velocity(self.network), noise, project=project)
        return layout.fields_to_puzzles(fields).where(open_cells, puzzles)

    def _sample(self, velocity: Velocity, noise: Tensor, project: Projection | None = None) -> Tensor:
        times = uniform_times(self.num_sampling_steps, self.device)
        return SAMPLERS[self.sampler](velocity, noise, times, project=project)

    def _noise(self, n: int, generator: torch.Generator | None) -> Tensor:
        return torch.randn((n, *layout.PUZZLE_SHAPE), generator=generator, device=self.device)
