"""The mixture's velocity: x_t of component k is normal with mean (1 - t) m_k and variance (1 - t)^2 s_k^2 + t^2."""

import pytest
import torch
from torch import Tensor

from genraven.diffusion.samplers import SAMPLERS, sample_euler, sample_heun, uniform_times

torch.set_num_threads(1)
MEANS = torch.tensor([[-2.0, 1.0], [2.0, 0.0]], dtype=torch.float64)
STDS = torch.tensor([0.3, 0.6], dtype=torch.float64)
WEIGHTS = torch.tensor([0.3, 0.7], dtype=torch.float64)


def mixture_velocity(x: Tensor, t: Tensor) -> Tensor:
    """E[noise - x0 | x_t = x] for pictures (B, 1, 1, 2)."""
    offset = x.flatten(1).unsqueeze(1) - (1 - t) * MEANS  # B, component, 2
    variance = (1 - t) ** 2 * STDS**2 + t**2
    log_density = WEIGHTS.log() - offset.square().sum(-1) / (2 * variance) - variance.log()  # two dimensions
    x0 = MEANS + ((1 - t) * STDS**2 / variance).unsqueeze(-1) * offset
    noise = (t / variance).unsqueeze(-1) * offset
    return (log_density.softmax(-1).unsqueeze(-1) * (noise - x0)).sum(1).view_as(x)


@pytest.mark.parametrize(("name", "num_steps"), [("euler", 250), ("heun", 40)])
def test_recovers_a_mixture(name: str, num_steps: int) -> None:
    n = 20_000
    noise = torch.randn(n, 1, 1, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    samples = SAMPLERS[name](mixture_velocity, noise, uniform_times(num_steps).double()).flatten(1)

    mean = WEIGHTS @ MEANS
    centred = MEANS - mean
    covariance = centred.T @ (WEIGHTS.unsqueeze(1) * centred) + (WEIGHTS @ STDS**2) * torch.eye(2)
    assert torch.allclose(samples.mean(0), mean, atol=0.04)  # four standard errors
    assert torch.allclose(samples.T.cov(), covariance, atol=0.05)

    nearest = torch.cdist(samples, MEANS).argmin(1)
    assert nearest.bincount().double().div(n).tolist() == pytest.approx(WEIGHTS.tolist(), abs=0.012)
    for k in range(2):
        mode = samples[nearest == k]
        assert torch.allclose(mode.mean(0), MEANS[k], atol=0.03)
        assert mode.std(0).tolist() == pytest.approx([STDS[k].item()] * 2, abs=0.03)


@pytest.mark.parametrize(("name", "order"), [("euler", 1), ("heun", 2)])
def test_error_falls_with_the_order_of_the_solver(name: str, order: int) -> None:
    mean, std = 1.5, 0.5  # for one Gaussian the flow takes noise z to mean + std * z exactly

    def velocity(x: Tensor, t: Tensor) -> Tensor:
        variance = (1 - t) ** 2 * std**2 + t**2
        return (t - (1 - t) * std**2) / variance * (x - (1 - t) * mean) - mean

    noise = torch.linspace(-3, 3, 61, dtype=torch.float64).view(-1, 1, 1, 1)
    errors = []
    for num_steps in (40, 80, 160, 320):
        times = torch.linspace(1, 0, num_steps + 1, dtype=torch.float64)
        errors.append((SAMPLERS[name](velocity, noise, times) - (mean + std * noise)).abs().max().item())
    assert errors[-1] < 0.01
    for coarse, fine in zip(errors[:-1], errors[1:], strict=True):
        assert coarse / fine == pytest.approx(2**order, rel=0.15)


@pytest.mark.parametrize(("sampler", "evaluations"), [(sample_euler, 1), (sample_heun, 2)])
def test_evaluations_of_a_step(sampler: object, evaluations: int) -> None:
    seen: list[float] = []

    def velocity(x: Tensor, t: Tensor) -> Tensor:
        seen.append(float(t))
        return torch.zeros_like(x)

    assert callable(sampler)
    sampler(velocity, torch.zeros(1, 1, 1, 1), uniform_times(4))
    assert seen == ([1.0, 0.75, 0.5, 0.25] if evaluations == 1 else [1.0, 0.75, 0.75, 0.5, 0.5, 0.25, 0.25, 0.0])


@pytest.mark.parametrize("num_steps", [1, 7, 50])
def test_times_go_evenly_from_noise_to_data(num_steps: int) -> None:
    times = uniform_times(num_steps)
    assert times.tolist() == pytest.approx([1 - i / num_steps for i in range(num_steps + 1)], abs=1e-6)
    assert (times[0], times[-1]) == (1, 0)  # exactly: the last step must end on the data


@pytest.mark.parametrize("name", SAMPLERS)
def test_the_start_is_left_as_it_was(name: str) -> None:
    noise = torch.ones(2, 1, 1, 2, dtype=torch.float64)
    SAMPLERS[name](mixture_velocity, noise, uniform_times(3).double(), project=lambda x, t: x)
    assert torch.equal(noise, torch.ones_like(noise))
