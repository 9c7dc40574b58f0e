"""Noise schedules: grids of times for sampling, betas for training; all on the host, which steps through them."""

import math

import torch
from torch import Tensor

from genraven.errors import InputError
from genraven.methods.draws import at_least_float32, finest


def _check_steps(num_steps: int) -> None:
    if num_steps < 1:
        raise InputError(f"expected 1 sampling step or more, got {num_steps}.")


def check_positive(**settings: float) -> None:
    """Raises InputError at the first of ``settings`` of a process, by their names, that is not above 0, or infinite."""
    for name, value in settings.items():
        if not 0 < value < math.inf:
            raise InputError(f"expected process.{name} to be a finite number above 0, got {value}.")


def normal_quantiles(uniform: Tensor) -> Tensor:
    """What a standard normal number is below with probability ``uniform`` in [0, 1); float32, or as fine as that."""
    return torch.special.ndtri(uniform.to(finest(uniform.device))).to(at_least_float32(uniform))


def uniform_times(num_steps: int) -> Tensor:
    """(num_steps + 1,) times from 1 to 0."""
    _check_steps(num_steps)
    return torch.linspace(1, 0, num_steps + 1, dtype=torch.float32, device="cpu")


def karras_sigmas(num_steps: int, sigma_min: float, sigma_max: float, rho: float = 7.0) -> Tensor:
    """(num_steps + 1,) sigmas: evenly spaced powers 1/rho from ``sigma_max`` to ``sigma_min``, then 0.

    Source: Karras et al. 2022, eq. 5.
    """
    _check_steps(num_steps)
    ends = torch.tensor([sigma_max, sigma_min], dtype=torch.float64, device="cpu") ** (1 / rho)
    ramp = torch.linspace(0, 1, num_steps, dtype=torch.float64, device="cpu")
    sigmas = (ends[0] + ramp * (ends[1] - ends[0])) ** rho
    return torch.cat([sigmas, sigmas.new_zeros(1)]).float()


def spaced_times(num_steps: int, num_trained: int, spacing: float = 1.0, last: float | None = None) -> Tensor:
    """(num_steps + 1,) times k / num_trained, k whole, none twice, nearest to ``num_trained`` u**spacing for even u.

    ``last`` is the time before the data that they are to reach; None leaves it to the even u.

    Raises:
        InputError: more steps than there are.
    """
    _check_steps(num_steps)
    if num_steps > num_trained:
        raise InputError(f"expected at most {num_trained} sampling steps, as many as the process has, got {num_steps}.")
    left = torch.arange(num_steps, -1, -1, dtype=torch.float64, device="cpu")  # steps to come: k cannot be smaller
    even = left / num_steps
    if last is not None:
        even[:-1] = torch.linspace(1, last ** (1 / spacing), num_steps, dtype=torch.float64, device="cpu")
    steps = (num_trained * even**spacing).round()
    steps = steps.clamp(min=left, max=left + num_trained - num_steps)
    return (steps / num_trained).float()


def linear_betas(num_steps: int, first: float, last: float) -> Tensor:
    """(num_steps,) float64 variances of the noise that each forward step adds (Ho et al. 2020, sec. 4)."""
    return torch.linspace(first, last, num_steps, dtype=torch.float64, device="cpu")
