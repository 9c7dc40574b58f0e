"""Samplers that carry noise to data: functions of a process, its denoiser, a start and the times.

B batch; fields are (B, C, S, S), ``x`` at ``times[0]`` in and at ``times[-1]`` out, x0 where the times end at the
data. ``denoiser(x, t)`` estimates x0 at a scalar t. ``project(x, s)`` may change the state after each step: how given
cells are held (inpainting.py). ODE samplers draw no noise.
"""

import functools
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from genraven.errors import InputError, suggestion
from genraven.methods.draws import normal_draws
from genraven.methods.gaussian.process import Denoiser, Process, predict
from genraven.progress import watched

Projection = Callable[[Tensor, Tensor], Tensor]


class Sampler(Protocol):
    """What each function below is."""

    def __call__(
        self,
        process: Process,
        denoiser: Denoiser,
        x: Tensor,
        times: Tensor,
        *,
        generator: torch.Generator | None = None,
        project: Projection = ...,
    ) -> Tensor: ...


@dataclass(frozen=True)
class Entry:
    """A sampler in the table of all."""

    sample: Sampler
    can_use: Callable[[Process], bool]
    nfe: Callable[[int], int]
    """Number of function evaluations of the denoiser, from the number of steps, of which the last ends at the data."""


SAMPLERS: dict[str, Entry] = {}
"""By the names that users give them."""


def check_sampler(name: str, process: Process) -> None:
    """Raises InputError unless there is a sampler of that name, and it can use ``process``."""
    usable = [other for other, entry in SAMPLERS.items() if entry.can_use(process)]
    if name not in usable:
        hint = suggestion(name, usable, "choose one of those.")
        raise InputError(f"expected a sampler that {type(process).__name__} can use, one of {', '.join(usable)}, got "
                         f"{name}: {hint}")  # fmt: skip


def _sampler(
    *,
    can_use: Callable[[Process], bool] = lambda process: True,
    nfe: Callable[[int], int] = lambda steps: steps,
) -> Callable[[Sampler], Sampler]:
    """Puts ``sample_NAME`` into the table as NAME, and keeps it from processes that it cannot use."""

    def enter(sample: Sampler) -> Sampler:
        name = sample.__name__.removeprefix("sample_")  # type: ignore[attr-defined]

        @functools.wraps(sample)
        def checked(process: Process, *args: Tensor, **kwargs: object) -> Tensor:
            check_sampler(name, process)
            return sample(process, *args, **kwargs)  # type: ignore[arg-type]

        SAMPLERS[name] = Entry(checked, can_use, nfe)  # type: ignore[arg-type]
        return checked  # type: ignore[return-value]

    return enter


def steps(times: Tensor) -> Iterable[tuple[Tensor, Tensor]]:
    """(t, s) of every step, s the later one in sampling."""
    return watched([*zip(times[:-1], times[1:], strict=True)])


def normal_like(x: Tensor, generator: torch.Generator | None) -> Tensor:
    """Standard normal draws of ``x``'s shape and dtype."""
    return normal_draws(x.shape, x.device, generator).to(x.dtype)


def leave(x: Tensor, s: Tensor) -> Tensor:
    """The projection that changes nothing."""
    return x


@_sampler(can_use=lambda process: process.has_ode)
def sample_euler(
    process: Process, denoiser: Denoiser, x: Tensor, times: Tensor, *,
    generator: torch.Generator | None = None, project: Projection = leave,
) -> Tensor:  # fmt: skip
    """The probability-flow ODE: first order, one evaluation a step."""
    for t, s in steps(times):
        x = project(x + (s - t) * process.velocity(x, denoiser(x, t), t), s)
    return x


@_sampler(can_use=lambda process: process.has_ode, nfe=lambda steps: 2 * steps - 1)
def sample_heun(
    process: Process, denoiser: Denoiser, x: Tensor, times: Tensor, *,
    generator: torch.Generator | None = None, project: Projection = leave,
) -> Tensor:  # fmt: skip
    """The probability-flow ODE: second order, two evaluations a step, one where it ends at the data.

    Source: Karras et al. 2022, Alg. 1. At the data the slope is 0 / 0, and the estimate of x0 is the answer.
    """
    for t, s in steps(times):
        slope = process.velocity(x, denoiser(x, t), t)
        ahead = x + (s - t) * slope
        if process.sigma(s) > 0:
            slope = (slope + process.velocity(ahead, denoiser(ahead, s), s)) / 2
            ahead = x + (s - t) * slope
        x = project(ahead, s)
    return x


@_sampler(can_use=lambda process: process.is_linear_path)
def sample_flow_sde(
    process: Process, denoiser: Denoiser, x: Tensor, times: Tensor, *,
    generator: torch.Generator | None = None, project: Projection = leave,
) -> Tensor:  # fmt: skip
    """The reverse SDE of the flow by Euler-Maruyama, with diffusion coefficient w(t) = sigma(t).

    dx = (velocity - w score / 2) dt + sqrt(w) dW backwards; a step that ends at the data adds no noise and goes to the
    estimate of x0. Source: Ma et al. 2024 (SiT), eq. 4 and its last step "Mean".
    """
    for t, s in steps(times):
        x0, sigma = denoiser(x, t), process.sigma(t)
        if process.sigma(s) > 0:
            noise = (x - process.alpha(t) * x0) / sigma  # the score is -noise / sigma
            drift = process.velocity(x, x0, t) + noise / 2
            x = x + (s - t) * drift + (sigma * (t - s)).sqrt() * normal_like(x, generator)
        else:
            x = x0
        x = project(x, s)
    return x


@_sampler()
def sample_ddim(
    process: Process, denoiser: Denoiser, x: Tensor, times: Tensor, *,
    generator: torch.Generator | None = None, project: Projection = leave,
) -> Tensor:  # fmt: skip
    """Deterministic DDIM: the same estimates of x0 and noise, mixed as at the next time (Song et al. 2021, eq. 12)."""
    for t, s in steps(times):
        x = project(_toward(process, x, denoiser(x, t), t, s), s)
    return x


@_sampler()
def sample_ancestral(
    process: Process, denoiser: Denoiser, x: Tensor, times: Tensor, *,
    generator: torch.Generator | None = None, project: Projection = leave,
) -> Tensor:  # fmt: skip
    """Draws from the posterior of each step given the estimate of x0, with the learned variance where there is one.

    Source: Ho et al. 2020, Alg. 2. A step that ends at the data adds no noise.
    """
    for t, s in steps(times):
        x0, fraction = predict(denoiser, x, t)
        mean, variance = process.step_back(x, x0, t, s, fraction)
        x = project(mean + variance.sqrt() * normal_like(x, generator), s)
    return x


@_sampler()
def sample_dpmpp_2m(
    process: Process, denoiser: Denoiser, x: Tensor, times: Tensor, *,
    generator: torch.Generator | None = None, project: Projection = leave,
) -> Tensor:  # fmt: skip
    """DPM-Solver++(2M): second order by the last two estimates of x0, one evaluation a step.

    Source: Lu et al. 2022b, Alg. 2; first order in the first step and in one that ends at the data.
    """
    estimate = _extrapolated(process, denoiser)
    for t, s in steps(times):
        x = project(_toward(process, x, estimate(x, t, s), t, s), s)
    return x


@_sampler()
def sample_dpmpp_2m_sde(
    process: Process, denoiser: Denoiser, x: Tensor, times: Tensor, *,
    generator: torch.Generator | None = None, project: Projection = leave,
) -> Tensor:  # fmt: skip
    """DPM-Solver++(2M) that draws noise in each step from where the data are as loud as the noise, sigma <= alpha.

    Noise there repairs what the network gets wrong; earlier it would only cost accuracy, and a step is
    DPM-Solver++(2M)'s. The steps with noise are SDE-DPM-Solver++(2M)'s (Lu et al. 2022b): the ancestral ones, without
    learned variance, with the estimate of second order. Where it starts is ours: docs/lab/samplers.md says what it
    gains.
    """
    estimate = _extrapolated(process, denoiser)
    for t, s in steps(times):
        x0 = estimate(x, t, s)
        if process.sigma(t) > process.alpha(t):
            x = _toward(process, x, x0, t, s)
        else:
            mean, variance = process.step_back(x, x0, t, s)
            x = mean + variance.sqrt() * normal_like(x, generator)
        x = project(x, s)
    return x


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
