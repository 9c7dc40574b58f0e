"""DiffusionModule: repairs a whole picture step by step."""

from collections.abc import Callable
from typing import Literal

import lightning as L
import torch
from lightning.pytorch.cli import OptimizerCallable
from torch import Tensor, nn

from genraven.diffusion import inpainting
from genraven.diffusion.process import Process
from genraven.diffusion.samplers import SAMPLERS, SamplerName
from genraven.errors import InputError
from genraven.puzzles import layout
from lightning_modules.averaging import ExponentialMovingAverage
from lightning_modules.base import PuzzleModule, Schedule

Completion = Literal["replacement", "guidance", "tds"]


class DiffusionModule(PuzzleModule):
    """A network that predicts a picture from a noisy one, and the process that says what is predicted.

    Args:
        network: of noisy pictures and times.
        process: noise path, loss and denoiser: Flow, Edm or Ddpm.
        optimizer: makes the optimizer of the parameters.
        warmup_steps: optimizer steps of linear warm-up.
        schedule: of the learning rate after it.
        sampler: one that the process can use; null is the first of these. Flow: euler (one evaluation a step), heun
            (two), flow_sde, ddim, ancestral, dpmpp_2m. Edm: heun, euler, ddim, ancestral, dpmpp_2m. Ddpm: ancestral,
            ddim, dpmpp_2m.
        num_sampling_steps: its steps.
        completion: replacement holds the given cells on their noisy path; guidance also pulls the open ones to where
            the given become likely; tds weighs and resamples particles and brings its own ancestral steps.
        num_resamples: how often each step of replacement or guidance is taken (RePaint); 1 is once.
        num_particles: of tds, a puzzle.
        guidance_strength: of guidance; 0 is replacement.
        guidance_scale: of labels in generation (classifier-free); 1 is the network's own.
        ema_decay: of the averaged weights that are evaluated and saved; null trains without.
        label_dropout: share of training puzzles whose label is hidden from a network with labels.
        seed: of all draws.
    """

    family = "diffusion"

    def __init__(
        self,
        network: nn.Module,
        process: Process,
        *,
        optimizer: OptimizerCallable = torch.optim.AdamW,
        warmup_steps: int = 0,
        schedule: Schedule = "constant",
        sampler: SamplerName | None = None,
        num_sampling_steps: int = 50,
        completion: Completion = "replacement",
        num_resamples: int = 1,
        num_particles: int = 8,
        guidance_strength: float = 1.0,
        guidance_scale: float = 1.0,
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
        self.process = process
        self.sampler, self.num_sampling_steps = sampler or process.samplers[0], num_sampling_steps
        self.completion, self.num_resamples, self.num_particles = completion, num_resamples, num_particles
        self.guidance_strength, self.guidance_scale = guidance_strength, guidance_scale
        self.ema_decay = ema_decay
        self.check_sampling()

    def check_sampling(self) -> None:
        """Raises InputError on settings of the sampling that are out of range or that the process cannot use."""
        self.process.check_sampler(self.sampler)
        self.process.times(self.num_sampling_steps)
        if self.completion not in ("replacement", "guidance", "tds"):
            raise InputError(f"expected completion by replacement, guidance or tds, got {self.completion}.")
        for name, least in (("num_resamples", 1), ("num_particles", 1), ("guidance_strength", 0)):
            if getattr(self, name) < least:
                raise InputError(f"expected {name} to be {least} or more, got {getattr(self, name)}.")

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
        denoiser = self.process.denoiser(self.network, self._check_rules(rules), self.guidance_scale)
        start = self.process.initial(self._noise(n, generator))
        fields = SAMPLERS[self.sampler](self.process, denoiser, start, self._times(), generator=generator)
        return layout.fields_to_puzzles(fields)

    @torch.no_grad()
    def complete(self, puzzles: Tensor, mask: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """``puzzles`` (B, 3, 9, 9) with the cells under ``mask`` (B, 9, 9) bool sampled, the others held."""
        self.check_mask(puzzles, mask)
        given, open_cells, times = layout.puzzles_to_fields(puzzles), mask.unsqueeze(1), self._times()
        process, denoiser, sampler = self.process, self.process.denoiser(self.network), SAMPLERS[self.sampler]
        if self.completion == "tds":
            fields = inpainting.complete_by_tds(
                process, denoiser, given, open_cells, times, num_particles=self.num_particles, generator=generator
            )
        else:
            fields = inpainting.complete_by_guidance(
                process,
                sampler,
                denoiser,
                given,
                open_cells,
                self._noise(len(puzzles), generator),
                times,
                guidance_strength=self.guidance_strength if self.completion == "guidance" else 0.0,
                num_resamples=self.num_resamples,
                generator=generator,
            )
        return layout.fields_to_puzzles(fields).where(open_cells, puzzles)

    def _times(self) -> Tensor:
        return self.process.times(self.num_sampling_steps, self.device)

    def _noise(self, n: int, generator: torch.Generator | None) -> Tensor:
        return torch.randn((n, *layout.PUZZLE_SHAPE), generator=generator, device=self.device)
