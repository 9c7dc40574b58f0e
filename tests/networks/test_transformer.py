import pytest
import torch
from torch import Tensor

from genraven.networks.transformer import Head, Transformer

torch.set_num_threads(1)


def make(head: Head = "separate", num_labels: int = 0) -> Transformer:
    """A small network in float64 whose logits depend strongly on what it reads."""
    torch.manual_seed(0)
    network = Transformer(width=24, depth=3, num_heads=4, head=head, num_labels=num_labels).double().eval()
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return network.requires_grad_(False)


def random_cells(num: int, length: int = 80) -> Tensor:
    draws = torch.Generator().manual_seed(1)
    return torch.stack([torch.randint(0, n, (num, length), generator=draws) for n in (8, 11, 11)], -1)


@pytest.mark.parametrize("head", ["separate", "joint"])
@pytest.mark.parametrize("changed", [0, 1, 40, 79])
@pytest.mark.parametrize("attribute", [0, 2])
def test_a_cell_changes_nothing_before_the_cell_after_it(head: Head, changed: int, attribute: int) -> None:
    network, cells = make(head), random_cells(2)
    other = cells.clone()
    other[:, changed, attribute] = (other[:, changed, attribute] + 3) % 8
    before, after = network(cells), network(other)
    difference = (before - after).abs().amax((0, 2))
    assert difference[: changed + 1].max() < 1e-12
    assert (difference[changed + 1 :] > 1e-6).all()


@pytest.mark.parametrize("head", ["separate", "joint"])
@pytest.mark.parametrize("prefix", [0, 1, 50])
def test_cached_equals_uncached(head: Head, prefix: int) -> None:
    network, cells = make(head, num_labels=40), random_cells(3)
    labels = torch.tensor([0, 7, 39])
    cache = network.new_cache(3)
    parts = [network(cells[:, :prefix], labels, cache)]
    parts += [network(cells[:, i : i + 1], None, cache) for i in range(prefix, 80)]
    assert cache.length == 81
    assert (torch.cat(parts, 1) - network(cells, labels)).abs().max() < 1e-10


def test_cached_chunks_equal_uncached() -> None:
    network, cells = make(), random_cells(2)
    cache = network.new_cache(2)
    parts = [network(part, None, cache) for part in cells.split([5, 7, 68], 1)]
    assert (torch.cat(parts, 1) - network(cells)).abs().max() < 1e-10


@pytest.mark.parametrize(
    ("settings", "published"),
    [
        ({"width": 384, "depth": 12, "num_heads": 6, "head": "separate"}, 21_334_302),
        ({"width": 384, "depth": 12, "num_heads": 6, "head": "joint"}, 21_703_112),
        ({"width": 768, "depth": 12, "num_heads": 12, "head": "separate"}, 85_135_902),
        ({"width": 768, "depth": 24, "num_heads": 12, "head": "separate"}, 170_190_366),
    ],
)
def test_parameter_counts_are_the_published_ones_within_2_percent(settings: dict[str, int], published: int) -> None:
    with torch.device("meta"):
        network = Transformer(**settings)  # type: ignore[arg-type]
    assert sum(p.numel() for p in network.parameters()) == pytest.approx(published, rel=0.02)


@pytest.mark.parametrize(("head", "sizes"), [("separate", (8, 11, 11)), ("joint", (701,))])
def test_heads_split_the_logits(head: Head, sizes: tuple[int, ...]) -> None:
    network = make(head)
    assert network.head_sizes == sizes
    assert network(random_cells(2, 5)).shape == (2, 6, sum(sizes))


def test_a_separate_head_reads_its_third_of_the_width_alone() -> None:
    network, cells = make(), random_cells(1, 3)
    before = network(cells).split(network.head_sizes, -1)
    network.norm.weight[8:16] += 1  # the second third of 24
    after = network(cells).split(network.head_sizes, -1)
    assert [torch.equal(a, b) for a, b in zip(before, after, strict=True)] == [True, False, True]


def test_labels_change_the_logits_of_a_network_with_labels() -> None:
    network, cells = make(num_labels=40), random_cells(2, 4)
    unconditional = network(cells)
    assert torch.equal(unconditional, network(cells, torch.tensor([40, 40])))
    labelled = network(cells, torch.tensor([3, 40]))
    assert (labelled[0] - unconditional[0]).abs().amax(-1).gt(1e-6).all()
    assert torch.equal(labelled[1], unconditional[1])


def test_a_network_without_labels_knows_one_start_alone() -> None:
    network, cells = make(num_labels=0), random_cells(2, 4)
    assert network.start.num_embeddings == 1
    assert torch.equal(network(cells), network(cells, torch.tensor([0, 0])))


def test_dropout_acts_in_training_alone() -> None:
    torch.manual_seed(0)
    network = Transformer(width=24, depth=1, num_heads=4, dropout=0.5)
    cells = random_cells(1, 5)
    assert not torch.equal(network(cells), network(cells))
    network.eval()
    assert torch.equal(network(cells), network(cells))


@pytest.mark.parametrize(("width", "num_heads"), [(25, 5), (24, 5)])
def test_a_width_that_does_not_divide_is_refused(width: int, num_heads: int) -> None:
    with pytest.raises(ValueError, match=f"got width {width} and {num_heads} heads"):
        Transformer(width=width, depth=1, num_heads=num_heads)
