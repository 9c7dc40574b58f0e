"""Completion with a diffusion model: some cells are given, the others are sampled from the model's belief about them.

B batch, K particles a puzzle; fields are (B, C, S, S), ``open_cells`` (B, 1, S, S) bool, true where the model writes.
What stands in ``given`` under open cells is never read. Every function returns fields with the given cells as given.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from genraven.errors import InputError
from genraven.methods.draws import uniform_draws
from genraven.methods.gaussian.process import Denoiser, Prediction, Process, TimedNetwork, predict
from genraven.methods.gaussian.recall import RecallingDenoiser
from genraven.methods.gaussian.samplers import Projection, Sampler, normal_like, steps
from genraven.methods.particles import resample_degenerate, systematic_resample
from genraven.progress import watched


def replacement(process: Process, given: Tensor, noise: Tensor, open_cells: Tensor) -> Projection:
    """A projection that puts the given cells where the forward path has them at each time (Song et al. 2020, sec. 5).

    Args:
        process: whose path it is.
        given: data.
        noise: that the given cells come from.
        open_cells: where the model writes.
    """
    return lambda x, t: x.where(open_cells, process.interpolate(given, noise, t))


@dataclass(frozen=True)
class ShownCells:
    """A network that was trained with masks, and is shown them: given cells stand clean in its field, and one more
    channel says where it writes. What it predicts of given cells means nothing.

    Args:
        network: of one channel more than the field has.
        given: (B, C, S, S), or broadcast to it.
        open_cells: (B, 1, S, S) bool, or broadcast to it.
    """

    network: TimedNetwork
    given: Tensor
    open_cells: Tensor

    def __call__(self, x: Tensor, times: Tensor, labels: Tensor | None = None) -> Tensor:
        """The network's output for noisy fields (B, C, S, S) at ``times`` (B,)."""
        channel = self.open_cells.to(x.dtype).expand(len(x), -1, *x.shape[2:])
        return self.network(torch.cat([x.where(self.open_cells, self.given), channel], 1), times, labels)


@dataclass(frozen=True)
class KnownCells:
    """A network that reads which cells are unknown, and nothing else of these.

    Args:
        network: whose channel of unknown cells it is.
        unknown: (B, S, S) bool.
    """

    network: Callable[..., Tensor]
    unknown: Tensor

    def __call__(self, x: Tensor, times: Tensor, labels: Tensor | None = None) -> Tensor:
        """The network's output for noisy fields (B, C, S, S) at ``times`` (B,)."""
        known = x.masked_fill(self.unknown.unsqueeze(1), 0)
        return self.network(known, times, labels, unknown=self.unknown)


def complete_by_replacement(
    process: Process,
    sampler: Sampler,
    denoiser: Denoiser,
    given: Tensor,
    open_cells: Tensor,
    noise: Tensor,
    times: Tensor,
    *,
    num_resamples: int = 1,
    generator: torch.Generator | None = None,
    start: Tensor | None = None,
) -> Tensor:
    """Any sampler from ``noise``, with the given cells held on their path.

    With ``num_resamples`` above 1 each step is taken that often: its result is carried forth again with fresh noise, so
    that the open cells can agree with the given ones (RePaint, Lugmayr et al. 2022, Alg. 1, jumps of one step).
    Samplers with a memory of the last step start each step without. ``start`` is what is sampled from at the first of
    ``times``; None is ``noise``, as the process begins.
    """
    if num_resamples < 1:
        raise InputError(f"expected 1 resampling of each step or more, got {num_resamples}: 1 is plain replacement.")
    project = replacement(process, given, noise, open_cells)
    x = project(process.initial(noise) if start is None else start, times[0])
    if num_resamples == 1:
        return sampler(process, denoiser, x, times, generator=generator, project=project)
    for i, (t, s) in enumerate(steps(times)):
        for again in range(num_resamples):
            if again:
                project = replacement(process, given, normal_like(x, generator), open_cells)
                x = project(process.step_forth(x, normal_like(x, generator), s, t), t)
            x = sampler(process, denoiser, x, times[i : i + 2], generator=generator, project=project)
    return x


@dataclass(frozen=True)
class GuidedDenoiser:
    """A denoiser whose estimate of x0 is pulled to where the given cells become likely.

    The score of the given cells y, taken as normal around their estimate with variance (sigma / alpha)^2, is added:
    x0 + strength alpha J^T (y - x0), J the estimate's Jacobian and y - x0 being 0 in open cells (reconstruction
    guidance, Ho et al. 2022, "Video diffusion models", eq. 7).
    """

    process: Process
    denoiser: Denoiser
    given: Tensor
    open_cells: Tensor
    strength: float = 1.0

    def __call__(self, x: Tensor, t: Tensor) -> Tensor:
        """The guided estimate of x0."""
        return self.predict(x, t).x0

    def predict(self, x: Tensor, t: Tensor) -> Prediction:
        """The guided estimate, with the denoiser's own variance."""
        return self.both(x, t)[1]

    def both(self, x: Tensor, t: Tensor) -> tuple[Prediction, Prediction, Tensor]:
        """The denoiser's prediction, the guided one, and y - x0, all detached."""
        with torch.inference_mode(False), torch.enable_grad():  # also inside Lightning's evaluation
            x = x.detach().clone().requires_grad_()
            x0, fraction = predict(self.denoiser, x, t.clone())
            residual = (self.given - x0.detach()).masked_fill(self.open_cells, 0)
            (pull,) = torch.autograd.grad(x0, x, residual)
        plain = Prediction(x0.detach(), None if fraction is None else fraction.detach())
        return plain, plain._replace(x0=plain.x0 + self.strength * self.process.alpha(t) * pull), residual


def complete_by_guidance(
    process: Process,
    sampler: Sampler,
    denoiser: Denoiser,
    given: Tensor,
    open_cells: Tensor,
    noise: Tensor,
    times: Tensor,
    *,
    guidance_strength: float = 1.0,
    num_resamples: int = 1,
    generator: torch.Generator | None = None,
    start: Tensor | None = None,
) -> Tensor:
    """Replacement, with open cells drawn to where the given cells become likely; strength 0 is replacement alone."""
    if guidance_strength < 0:
        raise InputError(f"expected a guidance strength of 0 or more, got {guidance_strength}.")
    guided = GuidedDenoiser(process, denoiser, given, open_cells, guidance_strength) if guidance_strength else denoiser
    return complete_by_replacement(
        process, sampler, guided, given, open_cells, noise, times, num_resamples=num_resamples, generator=generator,
        start=start,
    )  # fmt: skip


def complete_by_tds(
    process: Process,
    denoiser: Denoiser,
    given: Tensor,
    open_cells: Tensor,
    times: Tensor,
    *,
    num_particles: int,
    generator: torch.Generator | None = None,
) -> Tensor:
    """One of ``num_particles`` particles by twisted diffusion sampling (Wu et al. 2023, Alg. 1), exact as they grow.

    Particles step back by the guided kernel; weights correct for the guidance and carry the twisting function, the
    density of the given cells around the denoised estimate with variance (sigma / alpha)^2. A puzzle's particles are
    resampled when their effective number falls below half. The last step takes that variance as the model's own, so
    that the given cells' density there is the twisting function's, and the open cells go to the estimate.

    Raises:
        InputError: no particles.
    """
    if num_particles < 1:
        raise InputError(f"expected 1 particle or more, got {num_particles}.")
    num, each = len(given), (len(given) * num_particles, *given.shape[1:])
    open_each = open_cells.repeat_interleave(num_particles, 0)
    guided_denoiser = GuidedDenoiser(process, denoiser, given.repeat_interleave(num_particles, 0), open_each)

    x = process.initial(normal_like(given.new_empty(each), generator))
    log_weights = given.new_zeros(num, num_particles)
    twist_before = log_weights
    for i, t in enumerate(watched(times[:-1])):
        plain, guided, residual = guided_denoiser.both(x, t)
        twist = -residual.square().flatten(1).sum(1) * (process.alpha(t) / process.sigma(t)) ** 2 / 2
        twist = twist.view(num, num_particles)
        log_weights = log_weights + twist - twist_before
        last = i == len(times) - 2

        uniform = uniform_draws((num, 1), x.device, generator)
        if last:  # one of the resampled particles, each as likely as any
            chosen = systematic_resample(log_weights, uniform)
            pick = uniform_draws((num, 1), x.device, generator) * num_particles
            winner = chosen.gather(1, pick.long().clamp(max=num_particles - 1)).squeeze(1)
            own = torch.arange(num, device=x.device)
            return plain.x0.unflatten(0, (num, num_particles))[own, winner].where(open_cells, given)
        index, log_weights = resample_degenerate(log_weights, uniform)
        if isinstance(denoiser, RecallingDenoiser):
            denoiser.select(index)
        twist_before = twist.flatten()[index].view(num, num_particles)

        fraction = None if plain.fraction is None else plain.fraction[index]
        mean, variance = process.step_back(x[index], plain.x0[index], t, times[i + 1], fraction)
        shifted, _ = process.step_back(x[index], guided.x0[index], t, times[i + 1], fraction)
        x = shifted + variance.sqrt() * normal_like(x, generator)
        change = ((x - shifted).square() - (x - mean).square()) / (2 * variance)
        log_weights = log_weights + change.flatten(1).sum(1).view(num, num_particles)
    raise AssertionError("times have no step")
