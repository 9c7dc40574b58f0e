"""Exact denoisers of known distributions, for any process. Pictures are (B, 1, 1, D)."""

from collections.abc import Callable

import torch
from torch import Tensor

from genraven.methods.gaussian.ddpm import Ddpm
from genraven.methods.gaussian.edm import Edm
from genraven.methods.gaussian.flow import Flow
from genraven.methods.gaussian.process import Process
from genraven.methods.gaussian.samplers import SAMPLERS

torch.set_num_threads(1)
DOUBLE = torch.float64
PROCESSES: dict[str, Process] = {"flow": Flow(), "edm": Edm(), "ddpm": Ddpm()}


def usable(process: Process) -> list[str]:
    """Names of the samplers that can use ``process``."""
    return [name for name, entry in SAMPLERS.items() if entry.can_use(process)]


PAIRS = [(process, sampler) for process in PROCESSES for sampler in usable(PROCESSES[process])]

MEANS = torch.tensor([[-2.0, 1.0], [2.0, 0.0]], dtype=DOUBLE)
STDS = torch.tensor([0.3, 0.6], dtype=DOUBLE)
WEIGHTS = torch.tensor([0.3, 0.7], dtype=DOUBLE)


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def normal(seed: int, *shape: int) -> Tensor:
    return torch.randn(shape, generator=seeded(seed), dtype=DOUBLE)


def mixture(process: Process) -> Callable[[Tensor, Tensor], Tensor]:
    """E[x0 | x_t] of two Gaussians: x_t of component k has mean alpha m_k and variance alpha^2 s_k^2 + sigma^2."""

    def denoiser(x: Tensor, t: Tensor) -> Tensor:
        alpha, sigma = process.alpha(t), process.sigma(t)
        offset = x.flatten(1).unsqueeze(1) - alpha * MEANS  # B, component, 2
        variance = alpha**2 * STDS**2 + sigma**2
        log_density = WEIGHTS.log() - offset.square().sum(-1) / (2 * variance) - variance.log()  # two dimensions
        x0 = MEANS + (alpha * STDS**2 / variance).unsqueeze(-1) * offset
        return (log_density.softmax(-1).unsqueeze(-1) * x0).sum(1).view_as(x)

    return denoiser


def gaussian(process: Process, mean: Tensor, covariance: Tensor) -> Callable[[Tensor, Tensor], Tensor]:
    """E[x0 | x_t] of a Gaussian with ``mean`` (D,) and ``covariance`` (D, D)."""

    def denoiser(x: Tensor, t: Tensor) -> Tensor:
        alpha, sigma = process.alpha(t), process.sigma(t)
        gain = alpha * covariance @ torch.linalg.inv(alpha**2 * covariance + sigma**2 * torch.eye(len(mean)))
        return mean + (x - alpha * mean) @ gain.T

    return denoiser
