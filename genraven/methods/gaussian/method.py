"""Gaussian diffusion: a whole puzzle is repaired step by step, from noise.

B puzzles; fields (B, C, 9, 9) are the puzzles' numbers, C = 3, or their one-hot code, C = 30.
"""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from genraven.errors import InputError
from genraven.methods.draws import normal_draws
from genraven.methods.gaussian import inpainting
from genraven.methods.gaussian.categorical import Categorical
from genraven.methods.gaussian.inpainting import KnownCells, ShownCells
from genraven.methods.gaussian.process import OwnPrecision, Process, TimedNetwork, estimate, everywhere
from genraven.methods.gaussian.samplers import SAMPLERS, check_sampler
from genraven.methods.method import (
    Draw,
    Method,
    Sampling,
    Task,
    check_reads_unknown,
    check_share,
    device_of,
    dtype_of,
    setting,
)
from genraven.networks.compiling import whole_step
from genraven.networks.slices import in_slices
from genraven.puzzles import layout
from genraven.puzzles.masks import NUM_DRAWS, known_within, random_masks, without
from genraven.puzzles.spec import NUM_ATTRIBUTES

Completion = Literal["replacement", "guidance", "tds", "learned"]
CodeName = Literal["numbers", "onehot"]
ARCHITECTURES = {
    ("RelationalSoft", "Flow"): "Relational SiT",
    ("DiT", "Flow"): "SiT",
    ("DiT", "Ddpm"): "DiT",
    ("UNet", "Edm"): "EDM",
}
COMPLETIONS_WITH: dict[str, tuple[Completion, ...]] = {  # a setting has an effect
    "num_particles": ("tds",),
    "num_resamples": ("replacement", "guidance"),
    "guidance_strength": ("guidance",),
}
NOISE = (0.1, 0.3, 1.0)


@dataclass(frozen=True)
class Code:
    """How puzzles become fields, and back."""

    channels: int
    encode: Callable[[Tensor], Tensor]
    decode: Callable[[Tensor], Tensor]


CODES: dict[CodeName, Code] = {
    "numbers": Code(NUM_ATTRIBUTES, layout.puzzles_to_fields, layout.fields_to_puzzles),
    "onehot": Code(sum(layout.SYMBOLS), layout.puzzles_to_onehot, layout.onehot_to_puzzles),
}


@dataclass(frozen=True)
class GaussianSampling(Sampling):
    """Settings of sampling by a Gaussian process.

    Args:
        sampler: one that the process can use; null is its usual one. Euler, ddim, ancestral, dpmpp_2m, dpmpp_2m_sde
            and flow_sde take one network evaluation a step, heun two.
        num_steps: sampling steps.
        guidance_scale: of labels in generation (classifier-free); 1 is the network's own.
        completion: replacement holds the given cells on their noisy path; guidance also pulls the open ones to where
            the given become likely; tds weighs and resamples particles and brings its own ancestral steps; learned is
            of networks trained with masks. Null is learned for these, replacement for others.
        num_resamples: how often each step of replacement or guidance is taken (RePaint); 1 is once.
        num_particles: of tds, a puzzle.
        guidance_strength: of guidance in completion; 0 is replacement.
    """

    sampler: str | None = None
    num_steps: int = setting(50, least=1)
    guidance_scale: float = 1.0
    completion: Completion | None = None
    num_resamples: int = setting(1, least=1)
    num_particles: int = setting(8, least=1)
    guidance_strength: float = setting(1.0, least=0)


class GaussianDiffusion(Method):
    """A network that predicts a field from a noisy one, and the process that says what is predicted.

    Args:
        process: noise path, loss and denoiser: Flow, Edm or Ddpm.
        code: what the process sees of a puzzle: ``numbers``, as in the study, or ``onehot``, a channel for each symbol
            of each attribute, for which the network says logits (in_channels and out_channels 30).
        masked_share: of training puzzles, that are shown in part, for the network to learn to complete them; above 0
            it reads one more channel, which says where it writes (network.in_channels 4, or 31).
        sampling: of generation and completion.

    Raises:
        InputError: a share out of range, or a process that cannot use the code.
    """

    family = "diffusion"
    settings = GaussianSampling

    def __init__(
        self,
        process: Process,
        code: CodeName = "numbers",
        masked_share: float = 0.0,
        sampling: GaussianSampling | None = None,
    ) -> None:
        super().__init__(sampling)
        check_share("masked_share", masked_share)
        self.path_name, self.code_name, self.code = type(process).__name__, code, CODES[code]
        self.reads_numbers = code == "numbers"
        numbers = process.for_data(layout.FIELDS_DEVIATION)
        self.process = numbers if self.reads_numbers else Categorical(process, layout.SYMBOLS)
        self.masked_share = masked_share

    def architecture(self, network: nn.Module) -> str:
        """``SiT``, ``DiT`` or ``EDM``; the names of network and process where the study has none."""
        names = type(network).__name__, self.path_name
        return ARCHITECTURES.get(names, " + ".join(names)) + (" one-hot" if self.code_name == "onehot" else "")

    def check_network(self, network: nn.Module) -> None:
        """Raises InputError unless it reads fields of this code and time."""
        channels = getattr(network, "in_channels", 0 if hasattr(network, "symbols") else None)
        if channels == 0:
            raise InputError("expected a network of noisy fields, such as genraven.networks.dit.DiT, got "
                             f"{type(network).__name__}, one of cells: use it with another method.")  # fmt: skip
        wanted = self.code.channels + bool(self.masked_share)
        if channels not in (None, wanted):
            raise InputError(f"expected network.in_channels {wanted} with code {self.code_name} and masked_share "
                             f"{self.masked_share}, got {channels}: above 0 one more channel says where the network "
                             "writes.")  # fmt: skip

    def check_sampling(self, network: nn.Module, sampling: Sampling, given: Collection[str] = ()) -> None:
        """Raises InputError on a sampler, a number of steps or a completion that cannot be used."""
        super().check_sampling(network, sampling, given)
        assert isinstance(sampling, GaussianSampling)
        check_sampler(self._sampler(sampling), self.process)
        self.process.times(sampling.num_steps)
        if sampling.completion == "learned" and not self.masked_share:
            raise InputError("expected completion by replacement, guidance or tds for a network trained without masks, "
                             "got learned: choose one, or train with masked_share above 0.")  # fmt: skip
        completion = self._completion(sampling)
        for name, completions in COMPLETIONS_WITH.items():
            if name in given and completion not in completions:
                raise InputError(f"expected {name} with completion by {' or '.join(completions)}, got {completion}: "
                                 f"ask for completion {completions[0]} as well.")  # fmt: skip

    def _sampler(self, sampling: GaussianSampling) -> str:
        return sampling.sampler or self.process.default_sampler

    def _completion(self, sampling: GaussianSampling) -> Completion:
        return sampling.completion or ("learned" if self.masked_share else "replacement")

    def check_gaps(self, network: nn.Module) -> None:
        """Raises InputError unless it reads which cells are unknown."""
        check_reads_unknown(network)

    def losses(
        self, network: nn.Module, puzzles: Tensor, labels: Tensor | None, draw: Draw, unknown: Tensor | None = None
    ) -> Tensor:
        """(B,) losses of the process, over the known cells, at a time drawn for each puzzle.

        In validation its distribution is that of the process, not of the recipe.
        """
        x0 = self.code.encode(puzzles if unknown is None else without(puzzles, unknown))
        read: TimedNetwork = OwnPrecision(network, dtype_of(network))
        noise, uniform = draw(torch.randn, *x0.shape[1:]), draw(torch.rand)
        process = self.process
        times = process.training_times(uniform) if network.training else process.validation_times(uniform)
        if not self.masked_share and unknown is None:
            return process.loss(read, x0, noise, times, labels)
        open_cells = torch.ones_like(x0[:, :1], dtype=torch.bool)
        if self.masked_share and network.training:  # validation losses are of whole puzzles
            masked = draw(torch.rand) < self.masked_share
            open_cells = random_masks(draw(torch.rand, NUM_DRAWS)).unsqueeze(1) | ~masked.view(-1, 1, 1, 1)
        if unknown is not None:
            gaps = unknown.unsqueeze(1)
            x0, read, open_cells = x0.masked_fill(gaps, 0), KnownCells(read, unknown), known_within(open_cells, gaps)
        if self.masked_share:
            read = ShownCells(read, x0, open_cells)
        return process.loss(read, x0, noise, times, labels, open_cells)

    def generate(
        self,
        network: nn.Module,
        n: int,
        labels: Tensor | None,
        sampling: GaussianSampling,
        generator: torch.Generator | None,
    ) -> Tensor:
        device = device_of(network)
        denoiser = self.process.denoiser(
            self._unmasked(network), labels, sampling.guidance_scale, whole_step(estimate, network)
        )
        start = self.process.initial(self._noise(n, device, generator))
        times = self.process.times(sampling.num_steps)
        sample = SAMPLERS[self._sampler(sampling)].sample
        return self.code.decode(sample(self.process, denoiser, start, times, generator=generator))

    def complete(
        self,
        network: nn.Module,
        puzzles: Tensor,
        mask: Tensor,
        sampling: GaussianSampling,
        generator: torch.Generator | None,
        labels: Tensor | None = None,
    ) -> Tensor:
        process, completion = self.process, self._completion(sampling)
        given, open_cells = self.code.encode(without(puzzles, mask)), mask.unsqueeze(1)
        times = process.times(sampling.num_steps)
        shown: TimedNetwork = self._unmasked(network)
        if completion == "learned":
            shown = ShownCells(OwnPrecision(in_slices(network), dtype_of(network)), given, open_cells)
        if labels is not None and completion == "tds":
            labels = labels.repeat_interleave(sampling.num_particles)
        denoiser = process.denoiser(shown, labels, step=whole_step(estimate, network))
        if completion == "tds":
            fields = inpainting.complete_by_tds(
                process,
                denoiser,
                given,
                open_cells,
                times,
                num_particles=sampling.num_particles,
                generator=generator,
            )
        else:
            fields = inpainting.complete_by_guidance(
                process,
                SAMPLERS[self._sampler(sampling)].sample,
                denoiser,
                given,
                open_cells,
                self._noise(len(puzzles), puzzles.device, generator),
                times,
                guidance_strength=sampling.guidance_strength if completion == "guidance" else 0.0,
                num_resamples=1 if completion == "learned" else sampling.num_resamples,
                generator=generator,
            )
        return self.code.decode(fields).where(open_cells, puzzles)

    def evaluations(
        self, network: nn.Module, sampling: GaussianSampling, task: Task, num_open: int, *, labels: bool
    ) -> float:
        taken, completion = (
            SAMPLERS[self._sampler(sampling)].evaluations(sampling.num_steps),
            self._completion(sampling),
        )
        if task == "generate":
            return taken * (2 if labels and sampling.guidance_scale != 1 else 1)
        if completion == "tds":
            return 2 * sampling.num_steps * sampling.num_particles  # each with a gradient
        if completion == "learned":
            return taken
        has_gradient = completion == "guidance" and sampling.guidance_strength > 0
        return taken * sampling.num_resamples * (2 if has_gradient else 1)

    def reading_levels(self, asked: Sequence[float] | None) -> list[float | None]:
        """Levels of noise, sigma / alpha, where next shapes are 0.4 apart, sizes and colors 0.29."""
        levels = list(asked or NOISE)
        for level in levels:
            if not 0 < level < float("inf"):
                raise InputError(f"expected --noise above 0, got {level:g}.")
            self.process.time_of_noise(level)
        return list(levels)

    def pass_through(
        self, network: nn.Module, puzzles: Tensor, level: float | None, generator: torch.Generator
    ) -> None:
        """Passes ``puzzles`` with noise through the network, once."""
        assert level is not None
        t = self.process.time_of_noise(level)
        noise = self._noise(len(puzzles), puzzles.device, generator)
        x = self.process.interpolate(self.code.encode(puzzles), noise, t)
        self.process.predict(self._unmasked(network, network), x, everywhere(t, x))

    def _unmasked(self, network: nn.Module, read: Callable[..., Tensor] | None = None) -> TimedNetwork:
        """The network, shown nothing; ``read`` in place of its slices where it has to be called once."""
        own = OwnPrecision(read or in_slices(network), dtype_of(network))
        if not self.masked_share:
            return own
        nothing = torch.zeros(1, 1, 1, 1, device=device_of(network), dtype=layout.field_dtype())
        return ShownCells(own, nothing, torch.ones_like(nothing, dtype=torch.bool))

    def _noise(self, n: int, device: torch.device, generator: torch.Generator | None) -> Tensor:
        shape = (n, self.code.channels, *layout.PUZZLE_SHAPE[1:])
        return normal_draws(shape, device, generator).to(layout.field_dtype())
