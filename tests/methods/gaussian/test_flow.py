import torch
from torch import Tensor

from genraven.methods.gaussian.flow import Flow

interpolate = Flow().interpolate


def draws() -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    x0, noise = torch.randn(2, 5, 3, 9, 9, generator=generator)
    return x0, noise, torch.rand(5, generator=generator) * 0.9 + 0.05


def test_the_path_goes_straight_from_data_to_noise() -> None:
    x0, noise, _ = draws()
    assert torch.equal(interpolate(x0, noise, torch.zeros(5)), x0)
    assert torch.equal(interpolate(x0, noise, torch.ones(())), noise)
    mixed = interpolate(x0, noise, torch.tensor([0.0, 0.25, 0.5, 0.75, 1.0]))
    assert torch.allclose(mixed[1], 0.75 * x0[1] + 0.25 * noise[1])
    assert torch.allclose(mixed[3], 0.25 * x0[3] + 0.75 * noise[3])


def test_loss_of_an_exact_predictor_is_zero() -> None:
    x0, noise, times = draws()

    def exact(x: Tensor, times: Tensor, labels: Tensor | None = None) -> Tensor:
        return (x - x0) / times.view(-1, 1, 1, 1)  # x_t = x0 + t * velocity

    loss = Flow().loss(exact, x0, noise, times)
    assert loss.shape == (5,)
    assert loss.max() < 1e-9


def test_loss_of_zero_and_of_a_constant_is_the_mean_square_of_each_puzzle() -> None:
    x0, noise, times = draws()
    for value in (0.0, 2.0):
        loss = Flow().loss(lambda x, times, labels, value=value: torch.full_like(x, value), x0, noise, times)
        by_hand = [((value - (noise[i] - x0[i])) ** 2).sum() / 243 for i in range(5)]
        assert torch.allclose(loss, torch.stack(by_hand))


def test_loss_gives_the_network_times_and_labels() -> None:
    x0, noise, times = draws()
    labels = torch.arange(5)
    seen: list[Tensor | None] = []

    def network(x: Tensor, times: Tensor, labels: Tensor | None = None) -> Tensor:
        seen.extend((times, labels))
        return x.to(torch.bfloat16)

    assert Flow().loss(network, x0, noise, times, labels).dtype == torch.float32
    assert seen[0] is times
    assert seen[1] is labels


def test_the_denoiser_asks_the_network_at_one_time_for_the_whole_batch() -> None:
    x = torch.randn(5, 3, 9, 9, generator=torch.Generator().manual_seed(1))
    labels = torch.arange(5)

    def network(x: Tensor, times: Tensor, labels: Tensor | None = None) -> Tensor:
        assert labels is not None
        assert times.tolist() == [0.25] * 5
        return (x + labels.view(-1, 1, 1, 1)).to(torch.bfloat16)

    t = torch.tensor(0.25)
    out = Flow().denoiser(network, labels)(x, t)
    velocity = (x + labels.view(-1, 1, 1, 1)).to(torch.bfloat16).float()
    assert out.dtype == x.dtype
    assert torch.equal(out, x - 0.25 * velocity)
    assert torch.allclose(Flow().velocity(x, out, t), velocity, atol=1e-5)
