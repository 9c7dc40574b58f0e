"""Samplers that carry noise to data: functions of a process, its denoiser, a start and the times.

B batch; pictures are (B, C, S, S). Each function below makes one step, ``x`` at time s from ``x`` at t, and becomes a
``Sampler``, which takes the steps. ``denoiser(x, t)`` estimates x0 at a scalar t. ODE samplers draw no noise.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Literal

import torch
from torch import Tensor

from genraven.diffusion.process import Denoiser, Process, predict

Projection = Callable[[Tensor, Tensor], Tensor]
SamplerName = Literal["euler", "heun", "flow_sde", "ddim", "ancestral", "dpmpp_2m", "dpmpp_2m_sde"]
Step = Callable[[Tensor, Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class Sampler:
    """Carries ``x`` at ``times[0]`` to ``times[-1]``: to x0 where the times end at the data.

    Args:
        name: by which processes say that they can use it.
        make_step: makes ``(x, t, s) -> x at s`` for one sampling; a step may remember the one before.
    """

    name: SamplerName
    make_step: Callable[[Process, Denoiser, torch.Generator | None], Step]

    def __call__(
        self,
        process: Process,
        denoiser: Denoiser,
        x: Tensor,
        times: Tensor,
        *,
        generator: torch.Generator | None = None,
        project: Projection | None = None,
    ) -> Tensor:
        """The picture at ``times[-1]``.

        Args:
            process: whose path it is.
            denoiser: estimates x0.
            x: a picture at ``times[0]``.
            times: as the process gives them.
            generator: of the noise.
            project: may change the state ``(x, t)`` after each step: how given cells are held (inpainting.py).

        Raises:
            InputError: the process cannot use it.
        """
        process.check_sampler(self.name)
        step = self.make_step(process, denoiser, generator)
        for t, s in steps(times):
            x = step(x, t, s)
            x = project(x, s) if project else x
        return x


def steps(times: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """(t, s) of every step, s the later one in sampling."""
    return zip(times[:-1], times[1:], strict=True)


def normal_like(x: Tensor, generator: torch.Generator | None) -> Tensor:
    """Standard normal draws of ``x``'s shape."""
    return torch.randn(x.shape, generator=generator, device=x.device, dtype=x.dtype)


@partial(Sampler, "euler")
def sample_euler(process: Process, denoiser: Denoiser, generator: torch.Generator | None) -> Step:
    """The probability-flow ODE: first order, one evaluation a step."""
    return lambda x, t, s: x + (s - t) * process.velocity(x, denoiser(x, t), t)


@partial(Sampler, "heun")
def sample_heun(process: Process, denoiser: Denoiser, generator: torch.Generator | None) -> Step:
    """The probability-flow ODE: second order, two evaluations a step, one where it ends at the data.

    Source: Karras et al. 2022, Alg. 1. At the data the slope is 0 / 0, and the estimate of x0 is the answer.
    """

    def step(x: Tensor, t: Tensor, s: Tensor) -> Tensor:
        slope = process.velocity(x, denoiser(x, t), t)
        ahead = x + (s - t) * slope
        if process.sigma(s) > 0:
            slope = (slope + process.velocity(ahead, denoiser(ahead, s), s)) / 2
            ahead = x + (s - t) * slope
        return ahead

    return step


@partial(Sampler, "flow_sde")
def sample_flow_sde(process: Process, denoiser: Denoiser, generator: torch.Generator | None) -> Step:
    """The reverse SDE of the flow by Euler-Maruyama, with diffusion coefficient w(t) = sigma(t).

    dx = (velocity - w score / 2) dt + sqrt(w) dW backwards; a step that ends at the data adds no noise and goes to the
    estimate of x0. Source: Ma et al. 2024 (SiT), eq. 4 and its last step "Mean".
    """

    def step(x: Tensor, t: Tensor, s: Tensor) -> Tensor:
        x0, sigma = denoiser(x, t), process.sigma(t)
        if not process.sigma(s) > 0:
            return x0
        noise = (x - process.alpha(t) * x0) / sigma  # the score is -noise / sigma
        drift = process.velocity(x, x0, t) + noise / 2
        return x + (s - t) * drift + (sigma * (t - s)).sqrt() * normal_like(x, generator)

    return step


@partial(Sampler, "ddim")
def sample_ddim(process: Process, denoiser: Denoiser, generator: torch.Generator | None) -> Step:
    """Deterministic DDIM: the same estimates of x0 and noise, mixed as at the next time (Song et al. 2021, eq. 12)."""
    return lambda x, t, s: _toward(process, x, denoiser(x, t), t, s)


@partial(Sampler, "ancestral")
def sample_ancestral(process: Process, denoiser: Denoiser, generator: torch.Generator | None) -> Step:
    """Draws from the posterior of each step given the estimate of x0, with the learned variance where there is one.

    Source: Ho et al. 2020, Alg. 2. A step that ends at the data adds no noise.
    """

    def step(x: Tensor, t: Tensor, s: Tensor) -> Tensor:
        x0, share = predict(denoiser, x, t)
        mean, variance = process.step_back(x, x0, t, s, share)
        return mean + variance.sqrt() * normal_like(x, generator)

    return step


@partial(Sampler, "dpmpp_2m")
def sample_dpmpp_2m(process: Process, denoiser: Denoiser, generator: torch.Generator | None) -> Step:
    """DPM-Solver++(2M): second order by the last two estimates of x0, one evaluation a step.

    Source: Lu et al. 2022b, Alg. 2; first order in the first step and in one that ends at the data.
    """
    estimate = _extrapolated(process, denoiser)
    return lambda x, t, s: _toward(process, x, estimate(x, t, s), t, s)


@partial(Sampler, "dpmpp_2m_sde")
def sample_dpmpp_2m_sde(process: Process, denoiser: Denoiser, generator: torch.Generator | None) -> Step:
    """DPM-Solver++(2M) that draws noise in each step from where the data are as loud as the noise, sigma <= alpha.

    Noise there repairs what the network gets wrong; earlier it would only cost accuracy, and a step is
    DPM-Solver++(2M)'s. The steps with noise are SDE-DPM-Solver++(2M)'s (Lu et al. 2022b): the ancestral ones, without
    learned variance, with the estimate of second order. Where it starts is ours: BENCHMARKS.md has what it gains.
    """
    estimate = _extrapolated(process, denoiser)

    def step(x: Tensor, t: Tensor, s: Tensor) -> Tensor:
        x0 = estimate(x, t, s)
        if process.sigma(t) > process.alpha(t):
            return _toward(process, x, x0, t, s)
        mean, variance = process.step_back(x, x0, t, s)
        return mean + variance.sqrt() * normal_like(x, generator)

    return step


def _extrapolated(process: Process, denoiser: Denoiser) -> Callable[[Tensor, Tensor, Tensor], Tensor]:
    """Estimates of x0 for a step from t to s, of second order by the one before, of first where there is none."""
    last: tuple[Tensor, Tensor] | None = None  # its time and estimate

    def log_snr(t: Tensor) -> Tensor:
        """Of amplitudes: infinite at pure noise and at data."""
        return (process.alpha(t) / process.sigma(t)).log()

    def estimate(x: Tensor, t: Tensor, s: Tensor) -> Tensor:
        nonlocal last
        x0 = mixed = denoiser(x, t)
        if last is not None and process.sigma(s) > 0:
            before, x0_before = last
            now = log_snr(t)
            mixed = x0 + (log_snr(s) - now) / (2 * (now - log_snr(before))) * (x0 - x0_before)
        last = t, x0
        return mixed

    return estimate


def _toward(process: Process, x: Tensor, x0: Tensor, t: Tensor, s: Tensor) -> Tensor:
    """x_s = alpha_s x0 + sigma_s noise, the noise being what ``x`` is beyond ``x0`` at t."""
    kept = process.sigma(s) / process.sigma(t)
    return kept * x + (process.alpha(s) - kept * process.alpha(t)) * x0


SAMPLERS: dict[str, Sampler] = {
    sampler.name: sampler
    for sampler in (
        sample_euler,
        sample_heun,
        sample_flow_sde,
        sample_ddim,
        sample_ancestral,
        sample_dpmpp_2m,
        sample_dpmpp_2m_sde,
    )
}
