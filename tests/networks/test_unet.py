import math
import runpy

import pytest
import torch
from torch import Tensor, nn

from genraven.networks import unet
from genraven.networks.convolution import Convolution, of_resampled, resample
from genraven.networks.unet import Block, UNet

torch.set_num_threads(1)


def make(num_labels: int = 0, **settings: float) -> UNet:
    """A small network in float64 with nothing left near the zeros that it starts from."""
    torch.manual_seed(0)
    network = UNet(channels=8, num_labels=num_labels, **settings).double().eval()  # type: ignore[arg-type]
    for name, parameter in network.named_parameters():
        if parameter.ndim > 1 and name != "label.weight":
            nn.init.normal_(parameter, std=1 / math.sqrt(parameter[0].numel()))
    return network.requires_grad_(False)


def inputs(num: int = 2) -> tuple[Tensor, Tensor]:
    draws = torch.Generator().manual_seed(0)
    times = torch.randn(num, generator=draws, dtype=torch.float64)
    return torch.randn(num, 3, 9, 9, generator=draws, dtype=torch.float64), times


@pytest.mark.parametrize(
    ("channels", "num_blocks", "count"), [(64, 1, 11_468_419), (128, 2, 63_250_819), (192, 3, 181_471_491)]
)
def test_parameter_counts_are_the_published_ones(channels: int, num_blocks: int, count: int) -> None:
    with torch.device("meta"):
        network = UNet(channels=channels, num_blocks=num_blocks)
    assert sum(p.numel() for p in network.parameters()) == count


@pytest.mark.parametrize("out_channels", [3, 6])
def test_output_is_nearly_zero_at_initialisation(out_channels: int) -> None:
    torch.manual_seed(0)
    x, times = inputs()
    output = UNet(channels=16, out_channels=out_channels)(x.float(), times.float())
    assert output.shape == (2, out_channels, 9, 9)
    assert 0 < output.abs().max() < 1e-3


@pytest.mark.parametrize("num_blocks", [1, 2])
def test_blocks_stand_at_the_sides_and_attend_where_published(num_blocks: int) -> None:
    network, seen = make(num_blocks=num_blocks), []

    def note(block: nn.Module, _: object, output: Tensor) -> None:
        seen.append((output.shape[-1], block.attends))

    for module in network.modules():
        if isinstance(module, Block):
            module.register_forward_hook(note)
    network(*inputs())
    encoder = [*[(9, True)] * num_blocks, (3, False), *[(3, True)] * num_blocks, (1, False), *[(1, False)] * num_blocks]
    decoder = [(1, False)] * (num_blocks + 1)
    for side in (3, 9):
        decoder += [(side, False)] * (num_blocks + 1) + [(side, True)]  # one resamples, num_blocks + 1 merge
    assert seen == [*encoder, (1, True), (1, False), *decoder]


def test_resampling_repeats_and_takes_means() -> None:
    x = torch.arange(81.0).view(1, 1, 9, 9).expand(1, 4, 9, 9)
    down = resample(x, 1 / 3)
    assert torch.allclose(down[0, 0], x[0, 0].view(3, 3, 3, 3).mean((1, 3)))
    up = resample(down, 3)
    assert torch.equal(up[0, 0], down[0, 0].repeat_interleave(3, 0).repeat_interleave(3, 1))


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize(("side", "repeats"), [(9, 1), (3, 1), (1, 1), (3, 3), (1, 3), (3, 2), (1, 2)])
def test_a_convolution_leaves_out_nothing_that_counts(side: int, repeats: int, bias: bool) -> None:
    torch.manual_seed(0)
    ours, plain = Convolution(4, 5).double(), nn.Conv2d(4, 5, 3, padding=1, bias=bias).double()
    ours.bias = nn.Parameter(torch.empty(5).double()) if bias else None
    ours.load_state_dict(plain.state_dict())
    x = torch.randn(2, 4, side, side, dtype=torch.float64, requires_grad=True)
    written, expected = ours(x, repeats), plain(x.repeat_interleave(repeats, 2).repeat_interleave(repeats, 3))
    assert (written - expected).abs().max() < 1e-12
    weights = torch.randn_like(expected)
    gradients = [
        torch.autograd.grad(y, [x, *of.parameters()], weights) for y, of in ((written, ours), (expected, plain))
    ]
    assert all((a - b).abs().max() < 1e-12 for a, b in zip(*gradients, strict=True))


@pytest.mark.parametrize("scale", [3, 1, 1 / 3])
@pytest.mark.parametrize("layer", [Convolution(4, 5), nn.Conv2d(4, 5, 1), nn.Identity()])
def test_fewer_products_of_a_resampled_field_are_the_same_field(layer: nn.Module, scale: float) -> None:
    layer, plain = layer.double(), nn.Conv2d(4, 5, 3, padding=1).double()
    if isinstance(layer, Convolution):
        plain.load_state_dict(layer.state_dict())
    x = torch.randn(2, 4, 3, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    expected = (plain if isinstance(layer, Convolution) else layer)(resample(x, scale))
    assert (of_resampled(layer, x, scale) - expected).abs().max() < 1e-12


@pytest.mark.parametrize("channels_in", [8, 12])
@pytest.mark.parametrize("attention", [False, True])
def test_a_block_is_what_the_papers_write(channels_in: int, attention: bool) -> None:
    torch.manual_seed(0)
    block = Block(channels_in, 8, 16, 0.13, attention=attention).double().eval().requires_grad_(False)
    x, condition = torch.randn(2, channels_in, 3, 3).double(), torch.randn(2, 16).double()

    def normalise(h: Tensor, num_groups: int) -> Tensor:
        groups = h.reshape(2, num_groups, -1)
        return ((groups - groups.mean(2, True)) / (groups.var(2, correction=0, keepdim=True) + 1e-6).sqrt()).view_as(h)

    def silu(h: Tensor) -> Tensor:
        return h / (1 + (-h).exp())

    h = block.convolution1(silu(normalise(x, channels_in // 4)))
    h = h + block.condition(condition).view(2, 8, 1, 1)
    h = block.convolution2(silu(normalise(h, 2)))
    expected = (h + (block.skip(x) if channels_in != 8 else x)) / 2**0.5
    if attention:
        q, k, v = block.qkv(normalise(expected, 2)).view(2, 3, 8, 9).unbind(1)
        weights = torch.einsum("bcq,bck->bqk", q, k).div(8**0.5).softmax(2)
        attended = torch.einsum("bqk,bck->bcq", weights, v).view(2, 8, 3, 3)
        expected = (expected + block.attention_out(attended)) / 2**0.5
    assert (block(x, condition) - expected).abs().max() < 1e-12


def test_computes_also_where_first_imported_to_be_built_without_memory() -> None:
    with torch.device("meta"):  # as where a sweep's configs are checked
        convolution = runpy.run_path(unet.__file__)["Convolution"]
    assert torch.isfinite(convolution(2, 3)(torch.ones(1, 2, 3, 3))).all()


def test_all_cells_see_one_another_and_the_time() -> None:
    network = make()
    x, times = inputs()
    other = x.clone()
    other[0, 0, 8, 8] += 5
    difference = (network(other, times) - network(x, times)).abs().amax(1)
    assert (difference[0] > 1e-9).all()
    assert difference[1].max() == 0
    assert ((network(x, times + 0.01) - network(x, times)).abs().amax(1) > 1e-9).all()


def test_times_of_any_sign_are_told_apart_and_scaled_as_asked() -> None:
    x, _ = inputs(1)
    outputs = [make()(x, torch.tensor([t], dtype=torch.float64)) for t in (-1.5, -0.1, 0.1, 1.5)]
    assert all((a - b).abs().max() > 1e-6 for i, a in enumerate(outputs) for b in outputs[:i])
    scaled = make(time_scale=5.0)(x, torch.tensor([0.3], dtype=torch.float64))
    assert torch.allclose(scaled, make()(x, torch.tensor([1.5], dtype=torch.float64)), atol=1e-6)


def test_labels_change_the_output_of_a_network_with_labels_alone() -> None:
    x, times = inputs()
    network = make(num_labels=40)
    unconditional, labelled = network(x, times), network(x, times, torch.tensor([3, 40]))
    assert not torch.allclose(labelled[0], unconditional[0])
    assert torch.equal(labelled[1], unconditional[1])
    without = make()
    assert torch.equal(without(x, times), without(x, times, torch.tensor([0, 0])))


def test_the_unconditional_label_stays_zero_in_training() -> None:
    torch.manual_seed(0)
    network = UNet(channels=8, num_labels=4)
    optimizer = torch.optim.AdamW(network.parameters(), lr=0.1, weight_decay=0.1)
    x, times = inputs()
    before = network.label.weight.detach().clone()  # type: ignore[union-attr]
    network(x.float(), times.float(), torch.tensor([1, 4])).square().sum().backward()
    optimizer.step()
    after = network.label.weight.detach()  # type: ignore[union-attr]
    assert torch.equal(after[4], torch.zeros(8))
    assert not torch.allclose(after[1], before[1])


def test_dropout_acts_in_training_alone() -> None:
    network = make()
    x, times = inputs()
    assert torch.equal(network(x, times), network(x, times))
    network.train()
    assert not torch.equal(network(x, times), network(x, times))


@pytest.mark.parametrize("settings", [{"channels": 10}, {"side": 12}])
def test_sizes_that_do_not_divide_are_refused(settings: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="expected channels divisible by 4 and a side that 3 levels can divide by 3"):
        UNet(**{"channels": 8, **settings})  # type: ignore[arg-type]
