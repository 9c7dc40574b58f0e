"""Gaussian diffusion: a whole puzzle is repaired step by step, from noise.

B puzzles; fields (B, C, 9, 9) are the puzzles' numbers, C = 3, or their one-hot code, C = 30.
"""

from collections.abc import Callable, Collection, Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn

from genraven.errors import InputError, check_fraction
from genraven.methods.draws import normal_draws
from genraven.methods.gaussian import inpainting
from genraven.methods.gaussian.categorical import Categorical
from genraven.methods.gaussian.inpainting import KnownCells, ShownCells
from genraven.methods.gaussian.process import (
    NetworkDenoiser,
    OwnPrecision,
    Process,
    TimedNetwork,
    estimate,
    everywhere,
)
from genraven.methods.gaussian.recall import FRACTION, Recalling, RecallingDenoiser, with_estimates
from genraven.methods.gaussian.samplers import SAMPLERS, check_sampler
from genraven.methods.gaussian.settings import CODES, CodeName, GaussianSampling, check_completion
from genraven.methods.method import (
    Draw,
    Method,
    Sampling,
    Task,
    check_reads_unknown,
    device_of,
    dtype_of,
)
from genraven.networks.compiling import compiled_step
from genraven.networks.slices import in_slices
from genraven.puzzles import layout
from genraven.puzzles.masks import NUM_DRAWS, known_within, random_masks, without

ARCHITECTURES = {
    ("RelationalSoft", "Flow"): "Relational SiT",
    ("DiT", "Flow"): "SiT",
    ("DiT", "Ddpm"): "DiT",
    ("UNet", "Edm"): "EDM",
}
NOISE = (0.1, 0.3, 1.0)


class GaussianDiffusion(Method):
    """A network that predicts a field from a noisy one, and the process that says what is predicted.

    Args:
        process: noise path, loss and denoiser: Flow, Edm or Ddpm.
        code: what the process sees of a puzzle: ``numbers``, as in the study, or ``onehot``, a channel for each symbol
            of each attribute, for which the network says logits (in_channels and out_channels 30).
        masked_share: of training puzzles, that are shown in part, for the network to learn to complete them; above 0
            it reads one more channel, which says where it writes (network.in_channels 4, or 31).
        sampling: of generation and completion.
        self_conditioning: does the network read its own last estimate of the puzzle, too, in as many channels again
            (network.in_channels 6, or 60, and one more with masks)? Training reads puzzles twice for it, first without
            gradient, and half of them with what was said then (Chen et al. 2022, arXiv 2208.04202).

    Raises:
        InputError: a fraction out of range, or a process that cannot use the code.
    """

    family = "diffusion"
    settings = GaussianSampling
    confidences = ("agreement", "strongest", "recovery")

    def __init__(
        self,
        process: Process,
        code: CodeName = "numbers",
        masked_share: float = 0.0,
        sampling: GaussianSampling | None = None,
        self_conditioning: bool = False,
    ) -> None:
        super().__init__(sampling)
        check_fraction("masked_share", masked_share)
        self.path_name, self.code_name, self.code = type(process).__name__, code, CODES[code]
        self.reads_numbers, self._is_linear_path = code == "numbers", process.is_linear_path
        numbers = process.for_data(layout.FIELDS_DEVIATION)
        self.process = numbers if self.reads_numbers else Categorical(process, layout.SYMBOLS)
        self.masked_share, self.self_conditioning = masked_share, self_conditioning

    def architecture(self, network: nn.Module) -> str:
        """``SiT``, ``DiT`` or ``EDM``; the names of network and process where the study has none."""
        names = type(network).__name__, self.path_name
        return ARCHITECTURES.get(names, " + ".join(names)) + (" one-hot" if self.code_name == "onehot" else "")

    def check_network(self, network: nn.Module) -> None:
        """Raises InputError unless it reads fields of this code and time."""
        if getattr(network, "needs_linear_path", False) and not self._is_linear_path:
            raise InputError(f"expected a process on a linear path for {type(network).__name__}, which computes with "
                             f"its noise, got {self.path_name}: choose Flow.")  # fmt: skip
        channels = getattr(network, "in_channels", 0 if hasattr(network, "symbols") else None)
        if channels == 0:
            raise InputError("expected a network of noisy fields, such as genraven.networks.dit.DiT, got "
                             f"{type(network).__name__}, one of cells: use it with another method.")  # fmt: skip
        wanted = self.code.channels * (1 + self.self_conditioning) + bool(self.masked_share)
        if channels not in (None, wanted):
            raise InputError(f"expected network.in_channels {wanted} with code {self.code_name} and masked_share "
                             f"{self.masked_share}{' and self_conditioning' * self.self_conditioning}, got {channels}: "
                             "above 0 one more channel says where the network writes, and self_conditioning reads the "
                             "field's channels twice.")  # fmt: skip

    def training_pass(self, network: nn.Module, *inputs: Tensor) -> Tensor:
        """Once, and with self-conditioning once more without gradient."""
        if self.self_conditioning:
            with torch.no_grad():
                network(*inputs)
        return super().training_pass(network, *inputs)

    def check_sampling(self, network: nn.Module, sampling: Sampling, given: Collection[str] = ()) -> None:
        """Raises InputError on a sampler, a number of steps or a completion that cannot be used."""
        super().check_sampling(network, sampling, given)
        assert isinstance(sampling, GaussianSampling)
        check_sampler(self._sampler(sampling), self.process)
        self.process.times(sampling.num_steps)
        check_completion(sampling, self.masked_share, given)

    def _sampler(self, sampling: GaussianSampling) -> str:
        return sampling.sampler or self.process.default_sampler

    def check_missing(self, network: nn.Module) -> None:
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
        process, open_cells = self.process, torch.ones_like(x0[:, :1], dtype=torch.bool)
        times = process.training_times(uniform) if network.training else process.validation_times(uniform)
        if self.masked_share and network.training:  # validation losses are of whole puzzles
            masked = draw(torch.rand) < self.masked_share
            open_cells = random_masks(draw(torch.rand, NUM_DRAWS)).unsqueeze(1) | ~masked.view(-1, 1, 1, 1)
        if unknown is not None:
            missing = unknown.unsqueeze(1)
            x0, read, open_cells = (
                x0.masked_fill(missing, 0),
                KnownCells(read, unknown),
                known_within(open_cells, missing),
            )
        if self.masked_share:
            read = ShownCells(read, self._as_shown(x0), open_cells)
        if self.self_conditioning:
            wanted = draw(torch.rand) < FRACTION if network.training else None
            read = with_estimates(process, read, x0, noise, times, labels, wanted)
        is_whole = not self.masked_share and unknown is None
        return process.loss(read, x0, noise, times, labels, None if is_whole else open_cells)

    def _as_shown(self, given: Tensor) -> Tensor:
        """What stands of given cells in what the network reads: ``given`` (B, C, 9, 9) and as estimate, too."""
        return given.repeat(1, 2, 1, 1) if self.self_conditioning else given

    def generate(
        self,
        network: nn.Module,
        n: int,
        labels: Tensor | None,
        sampling: GaussianSampling,
        generator: torch.Generator | None,
    ) -> Tensor:
        denoiser = self._denoiser(network, self._unmasked(network), labels, sampling.guidance_scale)
        start = self.process.initial(self._noise(n, device_of(network), generator))
        times, sample = self.process.times(sampling.num_steps), SAMPLERS[self._sampler(sampling)].sample
        return self.code.decode(sample(self.process, denoiser, start, times, generator=generator))

    def complete(
        self,
        network: nn.Module,
        puzzles: Tensor,
        mask: Tensor,
        sampling: GaussianSampling,
        generator: torch.Generator | None,
        labels: Tensor | None = None,
        level: float | None = None,
    ) -> Tensor:
        """``puzzles`` with the cells under ``mask`` written anew, from noise or a ``level`` of it upon them."""
        process, completion = self.process, sampling.completes_by(self.masked_share)
        given, open_cells = self.code.encode(without(puzzles, mask)), mask.unsqueeze(1)
        times = process.times(sampling.num_steps)
        shown: TimedNetwork = self._unmasked(network)
        if completion == "learned":
            shown = ShownCells(OwnPrecision(in_slices(network), dtype_of(network)), self._as_shown(given), open_cells)
        if completion == "tds":
            labels = None if labels is None else labels.repeat_interleave(sampling.num_particles)
            denoiser, num = self._denoiser(network, shown, labels), sampling.num_particles
            fields = inpainting.complete_by_tds(
                process, denoiser, given, open_cells, times, num_particles=num, generator=generator
            )
            return self.code.decode(fields).where(open_cells, puzzles)
        noise = self._noise(len(puzzles), puzzles.device, generator)
        start = process.initial(noise)
        if level is not None:
            times = process.times_from(level, times)
            start = process.interpolate(self.code.encode(puzzles), noise, times[0])
        fields = inpainting.complete_by_guidance(
            process,
            SAMPLERS[self._sampler(sampling)].sample,
            self._denoiser(network, shown, labels),
            given,
            open_cells,
            noise,
            times,
            guidance_strength=sampling.guidance_strength if completion == "guidance" else 0.0,
            num_resamples=1 if completion == "learned" else sampling.num_resamples,
            generator=generator,
            start=start,
        )
        return self.code.decode(fields).where(open_cells, puzzles)

    def solve_again(
        self,
        network: nn.Module,
        puzzles: Tensor,
        mask: Tensor,
        level: float,
        sampling: GaussianSampling,
        generator: torch.Generator | None,
    ) -> Tensor:
        """As ``SolvesAgain``; particles, which begin with noise alone, give way to replacement."""
        if sampling.completes_by(self.masked_share) == "tds":
            sampling = replace(sampling, completion="replacement")
        return self.complete(network, puzzles, mask, sampling, generator, level=level)

    def nfe(self, network: nn.Module, sampling: GaussianSampling, task: Task, num_open: int, *, labels: bool) -> float:
        taken = SAMPLERS[self._sampler(sampling)].nfe(sampling.num_steps)
        completion = sampling.completes_by(self.masked_share)
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

    def probe_forward(
        self, network: nn.Module, puzzles: Tensor, level: float | None, generator: torch.Generator
    ) -> None:
        """Passes ``puzzles`` with noise through the network, once."""
        assert level is not None
        t = self.process.time_of_noise(level)
        noise = self._noise(len(puzzles), puzzles.device, generator)
        x = self.process.interpolate(self.code.encode(puzzles), noise, t)
        read = self._unmasked(network, network)
        read = Recalling(read, torch.zeros_like(x)) if self.self_conditioning else read
        self.process.predict(read, x, everywhere(t, x))

    def _denoiser(
        self, network: nn.Module, read: TimedNetwork, labels: Tensor | None, guidance_scale: float = 1.0
    ) -> NetworkDenoiser | RecallingDenoiser:
        """What samplers call, of one sampling."""
        plain = self.process.denoiser(read, labels, guidance_scale, compiled_step(estimate, network))
        return RecallingDenoiser(plain) if self.self_conditioning else plain

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
