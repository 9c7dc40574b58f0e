"""Solvers that carry noise (t = 1) to data (t = 0): plain functions of a velocity field, a start and the times.

``project(x, t)`` may change the state after each step, which is how given cells are held (inpainting.py).
"""

from collections.abc import Callable
from typing import Protocol

import torch
from torch import Tensor

from genraven.diffusion.flow import Velocity

Projection = Callable[[Tensor, Tensor], Tensor]


class Sampler(Protocol):
    """Integrates ``velocity`` from ``times[0]`` to ``times[-1]``."""

    def __call__(
        self, velocity: Velocity, x: Tensor, times: Tensor, *, project: Projection | None = None
    ) -> Tensor: ...


def uniform_times(num_steps: int, device: torch.device | str | None = None) -> Tensor:
    """(num_steps + 1,) times from 1 to 0."""
    return torch.linspace(1, 0, num_steps + 1, device=device)


def sample_euler(velocity: Velocity, x: Tensor, times: Tensor, *, project: Projection | None = None) -> Tensor:
    """X at ``times[-1]``: first order, one evaluation a step."""
    for t, t_next in zip(times[:-1], times[1:], strict=True):
        x = x + (t_next - t) * velocity(x, t)
        x = project(x, t_next) if project else x
    return x


def sample_heun(velocity: Velocity, x: Tensor, times: Tensor, *, project: Projection | None = None) -> Tensor:
    """X at ``times[-1]``: second order, two evaluations a step."""
    for t, t_next in zip(times[:-1], times[1:], strict=True):
        slope = velocity(x, t)
        ahead = velocity(x + (t_next - t) * slope, t_next)
        x = x + (t_next - t) * (slope + ahead) / 2
        x = project(x, t_next) if project else x
    return x


SAMPLERS: dict[str, Sampler] = {"euler": sample_euler, "heun": sample_heun}
