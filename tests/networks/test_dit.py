import pytest
import torch
from torch import Tensor, nn

from genraven.networks.dit import DiT

torch.set_num_threads(1)


def awake(network: DiT) -> DiT:
    """The network with nothing left at the zeros that it starts from."""
    for parameter in network.parameters():
        nn.init.normal_(parameter, std=0.15)
    return network.requires_grad_(False)


def inputs(num: int = 2) -> tuple[Tensor, Tensor]:
    draws = torch.Generator().manual_seed(0)
    return torch.randn(num, 3, 9, 9, generator=draws), torch.rand(num, generator=draws)


@pytest.mark.parametrize("patch", [1, 3, 9])
@pytest.mark.parametrize("out_channels", [3, 6])
def test_output_is_zero_at_initialisation(patch: int, out_channels: int) -> None:
    x, times = inputs()
    output = DiT(width=24, depth=2, num_heads=4, patch=patch, out_channels=out_channels)(x, times)
    assert torch.equal(output, torch.zeros(2, out_channels, 9, 9))


def test_each_block_is_the_identity_at_initialisation() -> None:
    torch.manual_seed(0)
    network = DiT(width=24, depth=3, num_heads=4)
    x, condition = torch.randn(2, 81, 24), torch.randn(2, 24)
    for block in network.blocks:
        assert torch.equal(block(x, condition), x)
    awake(network)
    for block in network.blocks:
        assert not torch.allclose(block(x, condition), x)


@pytest.mark.parametrize(
    ("settings", "count"),
    [
        ({"width": 384, "depth": 12, "num_heads": 6, "patch": 1}, 32_466_054),
        ({"width": 384, "depth": 12, "num_heads": 6, "patch": 3}, 32_493_750),
        ({"width": 768, "depth": 12, "num_heads": 12, "patch": 1}, 129_517_830),
    ],
)
def test_parameter_counts_are_the_published_ones(settings: dict[str, int], count: int) -> None:
    with torch.device("meta"):
        network = DiT(out_channels=6, **settings)
    assert sum(p.numel() for p in network.parameters()) == count


def without_blocks(patch: int) -> DiT:
    """Width for all numbers of a patch; what comes out of a patch depends on that patch alone."""
    torch.manual_seed(0)
    network = DiT(width=-(-3 * patch**2 // 4) * 4, depth=0, num_heads=1, patch=patch)
    return awake(network)


@pytest.mark.parametrize("patch", [1, 3, 9])
def test_a_net_that_copies_patches_copies_the_picture(patch: int) -> None:
    network, n = without_blocks(patch), 3 * patch**2
    network.norm = nn.Identity()  # type: ignore[assignment]
    network.modulation.weight.zero_()
    network.modulation.bias.zero_()
    network.patches.weight.copy_(torch.eye(network.patches.out_features, n))
    network.out.weight.copy_(torch.eye(n, network.out.in_features))
    x, times = inputs()
    copied = network(x, times) - network(torch.zeros_like(x), times)  # less what the positions add
    assert torch.allclose(copied, x, atol=1e-5)


@pytest.mark.parametrize("row", range(9))
def test_a_patch_of_three_is_a_panel_in_the_order_of_reading(row: int) -> None:
    network = without_blocks(3)
    x, times = inputs(1)
    for column in range(9):
        other = x.clone()
        other[0, 1, row, column] += 1
        changed = (network(other, times) != network(x, times)).any(1)[0]
        panel = torch.zeros(9, 9, dtype=torch.bool)
        panel[row // 3 * 3 :, column // 3 * 3 :][:3, :3] = True
        assert torch.equal(changed, panel)


def test_positions_differ() -> None:
    network = without_blocks(1)
    same_everywhere = network(torch.zeros(1, 3, 9, 9), torch.zeros(1))[0].flatten(1).T
    assert len(same_everywhere.unique(dim=0)) == 81


def test_all_patches_see_one_another_and_the_time() -> None:
    torch.manual_seed(0)
    network = awake(DiT(width=24, depth=1, num_heads=4))
    x, times = inputs()
    other = x.clone()
    other[0, 0, 8, 8] += 5
    changed = (network(other, times) != network(x, times)).any(1)
    assert changed[0].all()
    assert not changed[1].any()
    assert ((network(x, times + 0.01) - network(x, times)).abs().amax(1) > 1e-6).all()


def test_labels_change_the_output_of_a_network_with_labels_alone() -> None:
    torch.manual_seed(0)
    x, times = inputs()
    network = awake(DiT(width=24, depth=1, num_heads=4, num_labels=40))
    unconditional, labelled = network(x, times), network(x, times, torch.tensor([3, 40]))
    assert not torch.allclose(labelled[0], unconditional[0])
    assert torch.equal(labelled[1], unconditional[1])
    without = awake(DiT(width=24, depth=1, num_heads=4))
    assert torch.equal(without(x, times), without(x, times, torch.tensor([0, 0])))


@pytest.mark.parametrize("settings", [{"width": 26}, {"patch": 2}, {"num_heads": 5}])
def test_sizes_that_do_not_divide_are_refused(settings: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="expected width divisible by num_heads and 4"):
        DiT(**{"width": 24, "depth": 1, "num_heads": 2, **settings})
