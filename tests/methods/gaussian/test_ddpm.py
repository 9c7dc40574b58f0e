"""DDPM's tables and losses against the formulas of Ho et al. 2020 and Nichol & Dhariwal 2021, written out."""

import math

import pytest
import torch
from exact import DOUBLE, normal
from torch import Tensor
from torch.distributions import Normal, kl_divergence

from genraven.errors import InputError
from genraven.methods.gaussian.ddpm import Ddpm

BETAS = [1e-4 + (0.02 - 1e-4) * i / 999 for i in range(1000)]


def abar(k: int) -> float:
    return math.prod(1 - beta for beta in BETAS[:k])


def test_path() -> None:
    for k in (0, 1, 2, 500, 1000):
        for dtype, tolerance in ((torch.float32, 1e-6), (DOUBLE, 1e-12)):
            t = torch.tensor(k / 1000, dtype=dtype)
            assert Ddpm().alpha(t).item() == pytest.approx(abar(k) ** 0.5, rel=tolerance)
            assert Ddpm().sigma(t).item() == pytest.approx((1 - abar(k)) ** 0.5, rel=tolerance)
            assert Ddpm().sigma(t).dtype == dtype
    assert abar(1000) < 5e-5  # what noise starts from


def test_uniform_draws_choose_every_step_equally_often() -> None:
    uniform = (torch.arange(4000) + 0.5) / 4000
    steps = (Ddpm().training_times(uniform) * 1000).round().long()
    assert steps.bincount().tolist() == [0] + [4] * 1000
    assert (Ddpm().training_times(torch.tensor([0.0, 1 - 2**-24])) * 1000).tolist() == [1, 1000]


def network(x: Tensor, times: Tensor, labels: Tensor | None = None) -> Tensor:
    noise = 0.9 * x + 0.1 * times.view(-1, 1, 1, 1)
    return torch.cat([noise, x.roll(1, -1).tanh()], 1)


@pytest.mark.parametrize("k", [1, 2, 3, 250, 1000])
def test_loss_and_its_variational_term(k: int) -> None:
    x0, noise = normal(0, 2, 3, 4, 4), normal(1, 2, 3, 4, 4)
    times = torch.full((2,), k / 1000, dtype=DOUBLE)
    x = abar(k) ** 0.5 * x0 + (1 - abar(k)) ** 0.5 * noise
    said, fraction = network(x, torch.full((2,), k / 1000)).chunk(2, 1)
    simple = (said - noise).square().flatten(1).mean(1)
    plain = Ddpm(learned_variance=False)
    assert torch.allclose(plain.loss(lambda *a: network(*a)[:, :3], x0, noise, times), simple)

    def posterior_variance(k: int) -> float:
        return BETAS[k - 1] * (1 - abar(k - 1)) / (1 - abar(k))

    def posterior_mean(guess: Tensor) -> Tensor:  # Ho et al., eq. 7
        beta = BETAS[k - 1]
        first = abar(k - 1) ** 0.5 * beta / (1 - abar(k))
        return first * guess + (1 - beta) ** 0.5 * (1 - abar(k - 1)) / (1 - abar(k)) * x

    guess = (x - (1 - abar(k)) ** 0.5 * said) / abar(k) ** 0.5
    lower, upper = math.log(posterior_variance(max(k, 2))), math.log(BETAS[k - 1])
    v = (fraction + 1) / 2
    model = Normal(posterior_mean(guess), torch.exp(v * upper + (1 - v) * lower).sqrt())
    if k == 1:
        nats = -model.log_prob(x0)
    else:
        nats = kl_divergence(Normal(posterior_mean(x0), math.sqrt(posterior_variance(k))), model)
    bits = nats.flatten(1).mean(1) / math.log(2)
    assert torch.allclose(Ddpm().loss(network, x0, noise, times), simple + bits)  # 1e-3 of a sum of 1000 terms
    assert torch.allclose(Ddpm(variational_weight=0.01).loss(network, x0, noise, times), simple + 10 * bits)


def test_the_variational_term_teaches_the_variance_only() -> None:
    x0, noise = normal(0, 8, 3, 4, 4), normal(1, 8, 3, 4, 4)
    times = torch.linspace(0.001, 1, 8, dtype=DOUBLE)
    scale = torch.tensor([0.9, 0.3], dtype=DOUBLE, requires_grad=True)

    def learner(x: Tensor, times: Tensor, labels: Tensor | None = None) -> Tensor:
        return torch.cat([scale[0] * x, scale[1] * x], 1)

    (whole,) = torch.autograd.grad(Ddpm().loss(learner, x0, noise, times).sum(), scale)
    plain = Ddpm(learned_variance=False).loss(lambda *a: scale[0] * a[0], x0, noise, times)
    (simple,) = torch.autograd.grad(plain.sum(), scale)
    assert whole[0].item() == pytest.approx(simple[0].item())
    assert whole[1].item() != 0


def test_prediction() -> None:
    x, times = normal(0, 2, 3, 4, 4), torch.tensor([0.001, 0.7], dtype=DOUBLE)
    x0, fraction = Ddpm().predict(network, x, times)
    said, v = network(x, times).chunk(2, 1)
    for i, k in enumerate((1, 700)):
        assert torch.allclose(abar(k) ** 0.5 * x0[i] + (1 - abar(k)) ** 0.5 * said[i], x[i])
    assert fraction is not None
    assert torch.allclose(fraction, (v + 1) / 2)
    assert Ddpm(learned_variance=False).predict(lambda *a: network(*a)[:, :3], x, times).fraction is None


def test_a_network_with_the_wrong_number_of_channels() -> None:
    x = normal(0, 2, 3, 4, 4)
    with pytest.raises(InputError, match="6 output channels for Ddpm, got 3: set its out_channels"):
        Ddpm().predict(lambda *a: network(*a)[:, :3], x, torch.ones(2))
    with pytest.raises(InputError, match="3 output channels for Ddpm, got 6"):
        Ddpm(learned_variance=False).predict(network, x, torch.ones(2))


@pytest.mark.parametrize("settings", [{"num_steps": 0}, {"beta_first": 0.0}, {"beta_last": 1.0}])
def test_senseless_settings(settings: dict[str, float]) -> None:
    with pytest.raises(InputError, match="0 < beta_first <= beta_last < 1"):
        Ddpm(**settings)


def test_tables_first_used_in_evaluation_serve_training() -> None:
    process = Ddpm(num_steps=77)  # that no other test uses
    with torch.inference_mode():
        process.alpha(torch.tensor(1.0))
    x = torch.ones(2, 3, 4, 4, requires_grad=True)
    (process.alpha(torch.tensor(1.0)) * x).sum().backward()
    process.loss(network, torch.ones(2, 3, 4, 4), x, torch.tensor([0.1, 0.5])).sum().backward()


def test_times_on_the_host_leave_what_was_prepared_for_another_device() -> None:
    process, elsewhere = Ddpm(num_steps=10), torch.empty(1, device="meta")
    process.prepare(elsewhere)
    there = process._tables
    before = Ddpm(num_steps=10).alpha(torch.tensor([0.1, 0.7]))
    for t in (torch.tensor([0.1, 0.7]), torch.tensor([0.1, 0.7], dtype=torch.float64)):
        assert torch.allclose(process.alpha(t), before.to(t.dtype))
        assert process.alpha(t).dtype == t.dtype
    assert process.alpha(elsewhere).is_meta
    assert process._tables is there
