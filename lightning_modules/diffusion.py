"""DiffusionModule: repairs a whole picture step by step."""

from collections.abc import Callable
from typing import Literal, get_args

import lightning as L
import torch
from lightning.pytorch.cli import OptimizerCallable
from torch import Tensor, nn

from genraven.diffusion import inpainting
from genraven.diffusion.gradients import outside_inference_mode
from genraven.diffusion.inpainting import ShownCells
from genraven.diffusion.process import Process, TimedNetwork
from genraven.diffusion.samplers import SAMPLERS, SamplerName
from genraven.errors import InputError
from genraven.networks.cells import CellNetwork
from genraven.puzzles import layout
from genraven.puzzles.masks import NUM_DRAWS, random_masks
from genraven.puzzles.spec import NUM_ATTRIBUTES
from lightning_modules.averaging import ExponentialMovingAverage
from lightning_modules.base import PuzzleModule, Schedule

Completion = Literal["replacement", "guidance", "tds", "learned"]
ARCHITECTURES = {("DiT", "Flow"): "SiT", ("DiT", "Ddpm"): "DiT", ("UNet", "Edm"): "EDM"}


class DiffusionModule(PuzzleModule):
    """A network that predicts a picture from a noisy one, and the process that says what is predicted.

    Args:
        network: of noisy pictures and times.
        process: noise path, loss and denoiser: Flow, Edm or Ddpm.
        optimizer: makes the optimizer of the parameters.
        warmup_steps: optimizer steps of linear warm-up.
        schedule: of the learning rate after it.
        sampler: one that the process can use; null is the first of these. Flow: euler (one evaluation a step), heun
            (two), flow_sde, ddim, ancestral, dpmpp_2m, dpmpp_2m_sde. Edm: heun, euler, ddim, ancestral, dpmpp_2m,
            dpmpp_2m_sde. Ddpm: ancestral, ddim, dpmpp_2m, dpmpp_2m_sde.
        num_sampling_steps: its steps.
        masked_share: of training puzzles, that are shown in part, for the network to learn to complete them; above 0
            it reads one more channel, which says where it writes (network.in_channels 4).
        completion: replacement holds the given cells on their noisy path; guidance also pulls the open ones to where
            the given become likely; tds weighs and resamples particles and brings its own ancestral steps; learned is
            of networks trained with masks. Null is learned for these, replacement for others.
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
        masked_share: float = 0.0,
        completion: Completion | None = None,
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
        self.masked_share = masked_share
        self.completion = completion or ("learned" if masked_share else "replacement")
        self.num_resamples, self.num_particles = num_resamples, num_particles
        self.guidance_strength, self.guidance_scale = guidance_strength, guidance_scale
        self.ema_decay = ema_decay
        self._check_settings()
        self.check_sampling()

    def check_sampling(self) -> None:
        """Raises InputError on settings of the sampling that are out of range or that the process cannot use."""
        self.process.check_sampler(self.sampler)
        self.process.times(self.num_sampling_steps)
        if self.completion not in get_args(Completion):
            raise InputError(f"expected completion by one of {', '.join(get_args(Completion))}, got {self.completion}.")
        if self.completion == "learned" and not self.masked_share:
            raise InputError("expected completion by replacement, guidance or tds for a network trained without masks, "
                             "got learned: choose one, or train with masked_share above 0.")  # fmt: skip
        for name, least in (("num_resamples", 1), ("num_particles", 1), ("guidance_strength", 0)):
            if not getattr(self, name) >= least:  # nan is not
                raise InputError(f"expected {name} to be {least} or more, got {getattr(self, name)}.")

    def _check_settings(self) -> None:
        if isinstance(self.network, CellNetwork):
            name = type(self.network).__name__
            raise InputError("expected a network of noisy pictures, such as genraven.networks.dit.DiT, got "
                             f"{name}, one of cells: give it to AutoregressiveModule.")  # fmt: skip
        if self.ema_decay is not None and not 0 <= self.ema_decay < 1:
            raise InputError(f"expected ema_decay from 0 to below 1, or null, got {self.ema_decay}.")
        if not 0 <= self.masked_share <= 1:
            raise InputError(f"expected masked_share between 0 and 1, got {self.masked_share}.")
        wanted, channels = NUM_ATTRIBUTES + bool(self.masked_share), getattr(self.network, "in_channels", None)
        if channels is not None and channels != wanted:
            raise InputError(f"expected network.in_channels {wanted} with masked_share {self.masked_share}, got "
                             f"{channels}: above 0 one more channel says where the network writes.")  # fmt: skip

    @property
    def architecture(self) -> str:
        """``SiT``, ``DiT`` or ``EDM``; the names of network and process where the study has none."""
        names = type(self.network).__name__, type(self.process).__name__
        return ARCHITECTURES.get(names, " + ".join(names))

    def configure_callbacks(self) -> list[L.Callback]:
        """The average of the weights."""
        return [] if self.ema_decay is None else [ExponentialMovingAverage(self.ema_decay)]

    def losses(self, puzzles: Tensor, labels: Tensor | None, draw: Callable[..., Tensor]) -> Tensor:
        """(B,) losses of the process at a time drawn for each puzzle."""
        x0 = layout.puzzles_to_fields(puzzles)
        noise, uniform = draw(torch.randn, *x0.shape[1:]), draw(torch.rand)
        if not self.masked_share:
            return self.process.loss(self.network, x0, noise, uniform, labels)
        open_cells = torch.ones_like(x0[:, :1], dtype=torch.bool)
        if self.training:  # validation losses are of whole puzzles
            masked = draw(torch.rand) < self.masked_share
            open_cells = random_masks(draw(torch.rand, NUM_DRAWS)).unsqueeze(1) | ~masked.view(-1, 1, 1, 1)
        return self.process.loss(ShownCells(self.network, x0, open_cells), x0, noise, uniform, labels, open_cells)

    @torch.no_grad()
    def generate(self, n: int, rules: Tensor | None = None, generator: torch.Generator | None = None) -> Tensor:
        """(n, 3, 9, 9) int8 puzzles from nothing, of ``rules`` (n,) for a network with labels."""
        denoiser = self.process.denoiser(self._unmasked, self._check_rules(rules), self.guidance_scale)
        start = self.process.initial(self._noise(n, generator))
        fields = SAMPLERS[self.sampler](self.process, denoiser, start, self._times(), generator=generator)
        return layout.fields_to_puzzles(fields)

    @outside_inference_mode  # guidance and tds take gradients
    def complete(self, puzzles: Tensor, mask: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """``puzzles`` (B, 3, 9, 9) with the cells under ``mask`` (B, 9, 9) bool sampled, the others held."""
        self.check_mask(puzzles, mask)
        given, open_cells, times = layout.puzzles_to_fields(puzzles), mask.unsqueeze(1), self._times()
        network = ShownCells(self.network, given, open_cells) if self.completion == "learned" else self._unmasked
        process, denoiser, sampler = self.process, self.process.denoiser(network), SAMPLERS[self.sampler]
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
                num_resamples=1 if self.completion == "learned" else self.num_resamples,
                generator=generator,
            )
        return layout.fields_to_puzzles(fields).where(open_cells, puzzles)

    @torch.no_grad()
    def read(self, puzzles: Tensor, noise: float | None, generator: torch.Generator) -> None:
        """Passes ``puzzles`` with noise through the network, once."""
        assert noise is not None
        t = self.process.time_of_noise(noise, self.device)
        x = self.process.interpolate(layout.puzzles_to_fields(puzzles), self._noise(len(puzzles), generator), t)
        self.process.predict(self._unmasked, x, t.expand(len(x)))

    @property
    def _unmasked(self) -> TimedNetwork:
        """The network, shown nothing."""
        if not self.masked_share:
            return self.network
        nothing = torch.zeros(1, 1, 1, 1, device=self.device)
        return ShownCells(self.network, nothing, torch.ones_like(nothing, dtype=torch.bool))

    def _times(self) -> Tensor:
        return self.process.times(self.num_sampling_steps, self.device)

    def _noise(self, n: int, generator: torch.Generator | None) -> Tensor:
        return torch.randn((n, *layout.PUZZLE_SHAPE), generator=generator, device=self.device)
