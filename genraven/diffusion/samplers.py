"""Samplers that carry noise to data: plain functions of a process, its denoiser, a start and the times.

B batch; pictures are (B, C, S, S). ``x`` is a picture at ``times[0]``; the result is one at ``times[-1]``, x0 where the
times end at the data. ``denoiser(x, t)`` estimates x0 at a scalar t. ``project(x, t)`` may change the state after each
step, which is how given cells are held (inpainting.py). Noise comes from ``generator``; ODE samplers draw none.
Each raises InputError for a process that it cannot use.
"""

from collections.abc import Callable, Iterator
from typing import Literal, Protocol

import torch
from torch import Tensor

from genraven.diffusion.process import Denoiser, Process, predict

Projection = Callable[[Tensor, Tensor], Tensor]
SamplerName = Literal["euler", "heun", "flow_sde", "ddim", "ancestral", "dpmpp_2m"]


class Sampler(Protocol):
    """Carries ``x`` from ``times[0]`` to ``times[-1]``."""

    def __call__(
        self,
        process: Process,
        denoiser: Denoiser,
        x: Tensor,
        times: Tensor,
        *,
        generator: torch.Generator | None = None,
        project: Projection | None = None,
    ) -> Tensor: ...


def steps(times: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """(t, s) of every step, s the later one in sampling."""
    return zip(times[:-1], times[1:], strict=True)


def normal_like(x: Tensor, generator: torch.Generator | None) -> Tensor:
    """Standard normal draws of ``x``'s shape."""
    return torch.randn(x.shape, generator=generator, device=x.device, dtype=x.dtype)


def sample_euler(
    process: Process,
    denoiser: Denoiser,
    x: Tensor,
    times: Tensor,
    *,
    generator: torch.Generator | None = None,
    project: Projection | None = None,
) -> Tensor:
    """The probability-flow ODE: first order, one evaluation a step."""
    process.check_sampler("euler")
    for t, s in steps(times):
        x = x + (s - t) * process.velocity(x, denoiser(x, t), t)
        x = project(x, s) if project else x
    return x


def sample_heun(
    process: Process,
    denoiser: Denoiser,
    x: Tensor,
    times: Tensor,
    *,
    generator: torch.Generator | None = None,
    project: Projection | None = None,
) -> Tensor:
    """The probability-flow ODE: second order, two evaluations a step, one where it ends at the data.

    Source: Karras et al. 2022, Alg. 1. At the data the slope is 0 / 0, and the estimate of x0 is the answer.
    """
    process.check_sampler("heun")
    for t, s in steps(times):
        slope = process.velocity(x, denoiser(x, t), t)
        ahead = x + (s - t) * slope
        if process.sigma(s) > 0:
            slope = (slope + process.velocity(ahead, denoiser(ahead, s), s)) / 2
            ahead = x + (s - t) * slope
        x = project(ahead, s) if project else ahead
    return x


def sample_flow_sde(
    process: Process,
    denoiser: Denoiser,
    x: Tensor,
    times: Tensor,
    *,
    generator: torch.Generator | None = None,
    project: Projection | None = None,
) -> Tensor:
    """The reverse SDE of the flow by Euler-Maruyama, with diffusion coefficient w(t) = sigma(t).

    dx = (velocity - w score / 2) dt + sqrt(w) dW backwards; a step that ends at the data adds no noise and goes to the
    estimate of x0. Source: Ma et al. 2024 (SiT), eq. 4 and its last step "Mean".
    """
    process.check_sampler("flow_sde")
    for t, s in steps(times):
        x0, sigma = denoiser(x, t), process.sigma(t)
        if process.sigma(s) > 0:
            noise = (x - process.alpha(t) * x0) / sigma  # the score is -noise / sigma
            drift = process.velocity(x, x0, t) + noise / 2
            x = x + (s - t) * drift + (sigma * (t - s)).sqrt() * normal_like(x, generator)
        else:
            x = x0
        x = project(x, s) if project else x
    return x


def sample_ddim(
    process: Process,
    denoiser: Denoiser,
    x: Tensor,
    times: Tensor,
    *,
    generator: torch.Generator | None = None,
    project: Projection | None = None,
) -> Tensor:
    """Deterministic DDIM: the same estimates of x0 and noise, mixed as at the next time (Song et al. 2021, eq. 12)."""
    process.check_sampler("ddim")
    for t, s in steps(times):
        x = _toward(process, x, denoiser(x, t), t, s)
        x = project(x, s) if project else x
    return x


def _toward(process: Process, x: Tensor, x0: Tensor, t: Tensor, s: Tensor) -> Tensor:
    """x_s = alpha_s x0 + sigma_s noise, the noise being what ``x`` is beyond ``x0`` at t."""
    kept = process.sigma(s) / process.sigma(t)
    return kept * x + (process.alpha(s) - kept * process.alpha(t)) * x0


def sample_ancestral(
    process: Process,
    denoiser: Denoiser,
    x: Tensor,
    times: Tensor,
    *,
    generator: torch.Generator | None = None,
    project: Projection | None = None,
) -> Tensor:
    """Draws from the posterior of each step given the estimate of x0, with the learned variance where there is one.

    Source: Ho et al. 2020, Alg. 2. A step that ends at the data adds no noise.
    """
    process.check_sampler("ancestral")
    for t, s in steps(times):
        x0, share = predict(denoiser, x, t)
        mean, variance = process.step_back(x, x0, t, s, share)
        x = mean + variance.sqrt() * normal_like(x, generator)
        x = project(x, s) if project else x
    return x


def sample_dpmpp_2m(
    process: Process,
    denoiser: Denoiser,
    x: Tensor,
    times: Tensor,
    *,
    generator: torch.Generator | None = None,
    project: Projection | None = None,
) -> Tensor:
    """DPM-Solver++(2M): second order by the last two estimates of x0, one evaluation a step.

    Source: Lu et al. 2022b, Alg. 2; first order in the first step and in one that ends at the data.
    """
    process.check_sampler("dpmpp_2m")
    log_snr = (process.alpha(times) / process.sigma(times)).log()  # of amplitudes: infinite at pure noise and at data
    before: Tensor | None = None
    for i, (t, s) in enumerate(steps(times)):
        x0 = denoiser(x, t)
        mixed = x0
        if before is not None and process.sigma(s) > 0:
            mixed = x0 + (log_snr[i + 1] - log_snr[i]) / (2 * (log_snr[i] - log_snr[i - 1])) * (x0 - before)
        before = x0
        x = _toward(process, x, mixed, t, s)
        x = project(x, s) if project else x
    return x


SAMPLERS: dict[str, Sampler] = {
    "euler": sample_euler,
    "heun": sample_heun,
    "flow_sde": sample_flow_sde,
    "ddim": sample_ddim,
    "ancestral": sample_ancestral,
    "dpmpp_2m": sample_dpmpp_2m,
}
