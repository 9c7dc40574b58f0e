"""The EDM wrapper: unit variances at every noise level, and the loss written out."""

import math

import pytest
import torch
from exact import DOUBLE, normal
from scipy import stats
from torch import Tensor

from genraven.errors import InputError
from genraven.methods.gaussian import GaussianDiffusion
from genraven.methods.gaussian.categorical import Categorical
from genraven.methods.gaussian.edm import Edm
from genraven.methods.gaussian.settings import CodeName
from genraven.puzzles import layout
from genraven.puzzles.generate import generate
from genraven.puzzles.spec import NUM_RULES

SIGMAS = [0.002, 0.05, 0.3, 0.5, 1.0, 7.0, 80.0]


@pytest.mark.parametrize("sigma_data", [0.5, 1.0])
@pytest.mark.parametrize("sigma", SIGMAS)
def test_preconditioning_is_that_of_table_1(sigma: float, sigma_data: float) -> None:
    total = sigma**2 + sigma_data**2
    skip, out, scale, clock = Edm(sigma_data=sigma_data).preconditioning(torch.tensor(sigma, dtype=DOUBLE))
    assert skip.item() == pytest.approx(sigma_data**2 / total)
    assert out.item() == pytest.approx(sigma * sigma_data / total**0.5)
    assert scale.item() == pytest.approx(1 / total**0.5)
    assert clock.item() == pytest.approx(torch.tensor(sigma).log().item() / 4, rel=1e-5)


@pytest.mark.parametrize("sigma_data", [0.5, 1.0])
@pytest.mark.parametrize("sigma", SIGMAS)
def test_input_target_and_weighted_output_have_unit_variance(sigma: float, sigma_data: float) -> None:
    process, n = Edm(sigma_data=sigma_data), 100_000
    level = torch.full((n,), sigma, dtype=DOUBLE)
    x0, noise = sigma_data * normal(0, n, 1, 1, 1), normal(1, n, 1, 1, 1)
    seen: list[Tensor] = []

    def network(x: Tensor, times: Tensor, labels: Tensor | None = None) -> Tensor:
        seen.append(x)
        return torch.ones_like(x)

    x = process.interpolate(x0, noise, level)
    x1 = process.predict(network, x, level).x0
    target = process.target(x0, noise, level)
    skip, out, _, _ = process.preconditioning(level[:1])
    assert seen[0].var().item() == pytest.approx(1, rel=0.02)
    assert target.var().item() == pytest.approx(1, rel=0.02)
    assert torch.allclose(skip * x + out * target, x0)  # the network that says the target denoises perfectly
    weight = (sigma**2 + sigma_data**2) / (sigma * sigma_data) ** 2
    assert (weight * out**2).item() == pytest.approx(1)  # an error of the network weighs the same at every sigma
    assert torch.allclose(x1, skip * x + out)
    assert (skip * x0 + skip * sigma * noise - x0).var().item() <= 1.02 * out.item() ** 2  # c_out is as small as can be


def test_loss_is_the_weighted_error_of_the_denoiser() -> None:
    process = Edm(sigma_data=0.5)
    x0, noise = normal(0, 6, 3, 4, 4), normal(1, 6, 3, 4, 4)
    uniform, labels = torch.linspace(0.001, 0.999, 6, dtype=DOUBLE), torch.arange(6)

    def network(x: Tensor, times: Tensor, labels: Tensor | None = None) -> Tensor:
        assert labels is not None
        return x.roll(1, -1) * times.view(-1, 1, 1, 1) + labels.view(-1, 1, 1, 1)

    loss = process.loss(network, x0, noise, process.training_times(uniform), labels)
    for i in range(6):
        sigma = stats.lognorm(s=1.2, scale=torch.tensor(-1.2).exp().item()).ppf(uniform[i].item())
        total = sigma**2 + 0.25
        x = x0[i] + sigma * noise[i]
        raw = (x / total**0.5).roll(1, -1) * float(torch.tensor(sigma).log() / 4) + i
        denoised = 0.25 / total * x + sigma * 0.5 / total**0.5 * raw
        by_hand = total / (sigma * 0.5) ** 2 * (denoised - x0[i]).square().mean()
        assert loss[i].item() == pytest.approx(by_hand.item(), rel=1e-5)


def test_training_sigmas_are_log_normal_and_never_zero() -> None:
    sigma = Edm(p_mean=-0.4, p_std=1.0).training_times(torch.rand(20_000, generator=torch.Generator().manual_seed(0)))
    logs = sigma.log().double()
    assert stats.kstest(logs.numpy(), stats.norm(-0.4, 1.0).cdf).pvalue > 0.01
    smallest = Edm().training_times(torch.zeros(1))
    assert 0 < smallest.item() < 1e-3


@pytest.mark.parametrize("value", [0.0, -1.0, math.inf, math.nan])
@pytest.mark.parametrize("name", ["sigma_data", "p_std", "rho", "sigma_min", "sigma_max"])
def test_senseless_settings(name: str, value: float) -> None:
    with pytest.raises(InputError, match=f"expected process.{name} to be a finite number above 0, got"):
        Edm(**{name: value})


@pytest.mark.parametrize("settings", [{"p_mean": math.nan}, {"sigma_min": 80.0, "sigma_max": 1.0}])
def test_settings_that_make_no_grid(settings: dict[str, float]) -> None:
    with pytest.raises(InputError, match=r"expected a finite process.p_mean, and process.sigma_min below"):
        Edm(**settings)


@pytest.mark.parametrize("code", ["numbers", "onehot"])
@pytest.mark.parametrize("sigma", [0.02, 0.3, 1.0, 10.0])
def test_input_and_target_of_real_puzzles_have_unit_variance(code: CodeName, sigma: float) -> None:
    """Sigma_data is that of the data: with the study's 0.5 they have up to 3.8 times that."""
    method = GaussianDiffusion(Edm(), code)
    x0 = method.code.encode(torch.cat([generate(rule, 0, 40) for rule in range(NUM_RULES)]))
    process = method.process.path if isinstance(method.process, Categorical) else method.process
    noise = torch.randn(x0.shape, generator=torch.Generator().manual_seed(0))
    level = torch.full((len(x0),), sigma)
    assert process.network_input(process.interpolate(x0, noise, level), level)[0].var().item() == pytest.approx(
        1, rel=0.01
    )
    assert process.target(x0, noise, level).var().item() == pytest.approx(1, rel=0.01)  # type: ignore[attr-defined]


def test_the_deviation_of_fields_is_that_of_any_rules_puzzles() -> None:
    for rule in range(NUM_RULES):
        fields = layout.puzzles_to_fields(generate(rule, 0, 200))
        assert fields.square().mean().sqrt().item() == pytest.approx(layout.FIELDS_DEVIATION, rel=0.05)


def test_validation_is_at_the_same_noise_whatever_training_was_at() -> None:
    """Otherwise recipes could not be compared by their validation loss."""
    uniform = torch.rand(1000, generator=torch.Generator().manual_seed(0))
    recipe = Edm(p_mean=0.4, p_std=2.0, training_draws=[(0, 0), (0.5, 0.1), (1, 1)])
    assert torch.equal(recipe.validation_times(uniform), Edm().training_times(uniform))
    assert not torch.equal(recipe.validation_times(uniform), recipe.training_times(uniform))
