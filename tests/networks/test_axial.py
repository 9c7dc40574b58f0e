"""Networks that are told which cells belong together, and nothing else."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from genraven.errors import InputError
from genraven.networks.axial import AxialMasked, AxialTransformer, groups_of_cells

SIZE: dict[str, Any] = {"width": 36, "depth": 2, "num_heads": 3}
CELLS = torch.stack([torch.randint(0, n, (3, 81), generator=torch.Generator().manual_seed(n)) for n in (8, 11, 11)], -1)
MASKED = torch.rand(3, 81, generator=torch.Generator().manual_seed(1)) < 0.5


def strong(network: nn.Module) -> Any:
    """In float64, with outputs that depend strongly on what is read."""
    torch.manual_seed(0)
    for parameter in network.parameters():
        nn.init.normal_(parameter, std=0.3)
    return network.double().eval().requires_grad_(False)


def causal(**settings: Any) -> AxialTransformer:
    network: AxialTransformer = strong(AxialTransformer(**SIZE | settings))
    return network


def masked(**settings: Any) -> AxialMasked:
    network: AxialMasked = strong(AxialMasked(**SIZE | settings))
    return network


def is_changed(before: Tensor, after: Tensor) -> Tensor:
    """(L,) which positions are."""
    return (before - after).abs().amax((0, 2)) > 1e-9


def test_groups_are_panels_rows_and_the_puzzle() -> None:
    panel, row, puzzle = groups_of_cells((3, 3, 9))
    assert panel.sum(1).tolist() == [9] * 81
    assert row.sum(1).tolist() == [27] * 81
    assert puzzle.all()
    assert panel[8, 0] and not panel[9, 8] and row[26, 0] and not row[27, 26]


@pytest.mark.parametrize("changed", [0, 8, 40, 79])
def test_a_cell_changes_what_comes_after_it_and_nothing_before(changed: int) -> None:
    network, cells = causal(), CELLS[:, :80]
    other = cells.clone()
    other[:, changed, 1] = (other[:, changed, 1] + 3) % 8
    found = is_changed(network(cells), network(other))
    assert not found[: changed + 1].any()
    assert found[changed + 1 :].all()


@pytest.mark.parametrize(("group", "first"), [(0, 36), (1, 27), (2, 0)])
def test_each_head_reads_the_cells_of_its_group(group: int, first: int) -> None:
    """Before cell 40, the fifth of the fifth panel; by one block: more of them pass on what they have read."""
    network = causal(depth=1)
    (block,) = network.blocks
    block.reads[:] = block.reads[group]
    before = network(CELLS[:, :80])[:, 40]
    reads = []
    for cell in range(80):
        other = CELLS[:, :80].clone()
        other[:, cell] = (other[:, cell] + 3) % 8
        reads.append(bool((network(other)[:, 40] - before).abs().max() > 1e-9))
    last = 39  # the position itself holds it
    assert reads == [first <= cell <= last for cell in range(80)]


@pytest.mark.parametrize("chunks", [[1] * 80, [0, 50, 30], [9, 1, 70]])
def test_cached_equals_uncached(chunks: list[int]) -> None:
    network = causal(num_labels=40)
    labels, cells = torch.tensor([0, 7, 39]), CELLS[:, :80]
    cache = network.new_cache(3)
    first, *rest = cells.split(chunks, 1)
    parts = [network(first, labels, cache), *(network(part, None, cache) for part in rest)]
    assert (torch.cat(parts, 1) - network(cells, labels)).abs().max() < 1e-10


def test_a_cache_of_fixed_shapes_and_of_selected_sequences() -> None:
    network, cells, chosen = causal(), CELLS[:, :80], torch.tensor([2, 0, 0])
    cache = network.new_cache(3)
    network(cells[:, :40], None, cache)
    cache.select(chosen)
    cache.fix_shapes()
    parts = [network(cells[chosen, i : i + 1], None, cache) for i in range(40, 80)]
    assert (torch.cat(parts, 1) - network(cells[chosen])[:, 41:]).abs().max() < 1e-10


def test_what_stands_under_a_mask_is_not_read_and_all_else_is() -> None:
    network = masked()
    before = network(CELLS, MASKED)
    other = torch.where(MASKED.unsqueeze(-1), 3, CELLS)
    assert (network(other, MASKED) - before).abs().max() == 0
    known = int((~MASKED).all(0).nonzero()[0])
    other = CELLS.clone()
    other[:, known, 2] = (other[:, known, 2] + 3) % 8
    assert is_changed(before, network(other, MASKED)).all()


def test_positions_are_a_part_of_the_whole() -> None:
    """To rounding: a product of other sizes may be summed in another order."""
    network = masked()
    positions = torch.tensor([[80, 0, 5], [1, 1, 2], [9, 40, 7]])
    whole = network(CELLS, MASKED)
    expected = whole.gather(1, positions.unsqueeze(-1).expand(-1, -1, 701))
    assert torch.allclose(network(CELLS, MASKED, positions=positions), expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("make", [causal, masked])
def test_labels_are_read(make: Any) -> None:
    network = make(num_labels=4)
    inputs = (CELLS[:, :80],) if make is causal else (CELLS, MASKED)
    none, of_one = (network(*inputs, torch.full((3,), label)) for label in (4, 1))
    assert torch.equal(network(*inputs), none)
    assert is_changed(none, of_one).all()


@pytest.mark.parametrize("network", [AxialTransformer, AxialMasked])
@pytest.mark.parametrize("sizes", [(40, 4), (36, 5), (36, 2)])
def test_sizes_that_do_not_fit(network: Any, sizes: tuple[int, int]) -> None:
    with pytest.raises(InputError, match=f"got width {sizes[0]} and {sizes[1]} heads"):
        network(width=sizes[0], num_heads=sizes[1])


def test_a_network_of_axes_learns_what_is_constant_in_a_panel() -> None:
    """By chance it is log 7 = 1.95."""
    torch.manual_seed(0)
    network = AxialMasked(width=36, depth=1, num_heads=3)
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-2)
    for _ in range(60):
        shapes = torch.randint(1, 8, (16, 9, 1)).expand(-1, -1, 9).flatten(1)
        cells = torch.stack([shapes, torch.ones_like(shapes), torch.ones_like(shapes)], -1)
        hidden = torch.rand(16, 81) < 0.5
        hidden[:, ::9] = False
        found = network(cells, hidden).log_softmax(-1)
        states = 1 + (shapes - 1) * 100
        loss = -found.gather(-1, states.unsqueeze(-1)).squeeze(-1)[hidden].mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss < 1
