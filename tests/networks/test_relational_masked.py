"""The relational network of masked cells reads what is known, and nothing else."""

import itertools
from typing import Any

import pytest
import torch
from switched import SIZE, SWITCHES, awake, labels_of, puzzle_cells
from torch import Tensor

from genraven.errors import InputError
from genraven.networks.relational_masked import RelationalMasked
from genraven.states import symbols_to_states

torch.set_num_threads(1)
ALIKE = {"rtol": 1e-4, "atol": 1e-4}  # the network computes in float32


@pytest.fixture(params=SWITCHES)
def network(request: pytest.FixtureRequest) -> RelationalMasked:
    return awake(RelationalMasked, set_weight=0.0, **SWITCHES[request.param])


def some_masked(num: int, fraction: float = 0.5) -> Tensor:
    masked = torch.rand(num, 81, generator=torch.Generator().manual_seed(0)) < fraction
    masked[0] = True
    masked[1] = torch.arange(81) >= 72
    return masked


def test_all_states_of_a_cell_sum_to_one(network: RelationalMasked) -> None:
    log_p = network(puzzle_cells(4), some_masked(4), labels_of(network, 4))
    assert log_p.shape == (4, 81, 701)
    assert torch.allclose(log_p.logsumexp(-1), torch.zeros(4, 81), atol=1e-4)
    assert log_p.exp().amax(-1).std() > 0.01


def test_what_stands_under_a_mask_is_not_read(network: RelationalMasked) -> None:
    cells, masked, labels = puzzle_cells(4), some_masked(4), labels_of(network, 4)
    others = torch.where(masked.unsqueeze(-1), puzzle_cells(4, start=7).roll(1, 0), cells)
    assert not torch.equal(others, cells)
    assert torch.equal(network(others, masked, labels), network(cells, masked, labels))
    learned = masked & (torch.rand(4, 81, generator=torch.Generator().manual_seed(1)) < 0.5)
    others = torch.where(learned.unsqueeze(-1), cells, others)  # but what is learned
    losses = [network.training_losses(part, masked, learned, labels) for part in (cells, others)]
    assert torch.equal(*losses)


def test_what_is_not_masked_is_read(network: RelationalMasked) -> None:
    cells, masked = puzzle_cells(4)[:1], torch.arange(81).unsqueeze(0) >= 72
    whole = network(cells, masked)[:, 72:]
    for place in (0, 40, 71):
        other = cells.clone()
        other[:, place] = torch.tensor([5, 9, 3]).where(cells[:, place] == 0, 0)
        assert ((network(other, masked)[:, 72:] - whole).abs().amax((0, 2)) > 1e-6).all()


def test_places_are_a_part_of_the_whole(network: RelationalMasked) -> None:
    cells, masked, labels = puzzle_cells(4), some_masked(4), labels_of(network, 4)
    positions = torch.rand(4, 81, generator=torch.Generator().manual_seed(2)).argsort(1)[:, :7]
    whole = network(cells, masked, labels)
    chosen = whole.gather(1, positions.unsqueeze(-1).expand(-1, -1, 701))
    assert torch.allclose(network(cells, masked, labels, positions), chosen, **ALIKE)


@pytest.mark.parametrize("rows_summed", [True, False])
def test_rows_that_change_places_take_their_outputs_along(rows_summed: bool) -> None:
    network = awake(RelationalMasked, rows_summed=rows_summed)
    cells, masked = puzzle_cells(4), some_masked(4)
    order = torch.arange(81).view(3, 27)[[2, 0, 1]].flatten()
    moved = network(cells[:, order], masked[:, order])
    assert torch.allclose(moved, network(cells, masked)[:, order], **ALIKE) == rows_summed


def test_the_training_loss_is_the_nats_of_forward(network: RelationalMasked) -> None:
    cells, masked, labels = puzzle_cells(4), some_masked(4), labels_of(network, 4)
    learned = masked & (torch.rand(4, 81, generator=torch.Generator().manual_seed(1)) < 0.7)
    learned[3] = False
    states = symbols_to_states(cells, network.symbols).unsqueeze(-1)
    nats = -network(cells, masked, labels).gather(-1, states).squeeze(-1)
    expected = (nats * learned).sum(1) / learned.sum(1).clamp(min=1)
    found = network.training_losses(cells, masked, learned, labels)
    assert torch.allclose(found, expected, **ALIKE)
    assert found[3] == 0


def test_the_second_target_is_of_panels_that_are_known_in_the_end(network: RelationalMasked) -> None:
    """Not of those without a cell to learn, which are read, nor of those with cells that nobody knows."""
    cells, labels = puzzle_cells(4), labels_of(network, 4)
    last = (torch.arange(81) >= 72).expand(4, -1)
    network.set_weight = 1.0
    both = network.training_losses(cells, last, last, labels)
    network.set_weight = 0.0
    assert ((both - network.training_losses(cells, last, last, labels)) > 0.01).all()
    network.set_weight = 1.0
    learned = last & (torch.arange(81) != 80)
    with_gap = network.training_losses(cells, last, learned, labels)
    network.set_weight = 0.0
    assert torch.equal(with_gap, network.training_losses(cells, last, learned, labels))


def test_labels_change_the_log_probabilities_of_a_network_with_labels() -> None:
    network, cells, masked = awake(RelationalMasked, num_labels=4), puzzle_cells(2), some_masked(2)
    unconditional = network(cells, masked)
    assert torch.equal(unconditional, network(cells, masked, torch.tensor([4, 4])))
    labelled = network(cells, masked, torch.tensor([3, 4]))
    assert (labelled[0] - unconditional[0]).abs().amax(-1).gt(1e-6).all()
    assert torch.equal(labelled[1], unconditional[1])


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"symbols": (8, 12, 11)}, r"at most 10 values .* got symbols \(8, 12, 11\) and 9 cells a panel"),
        ({"shape": (3, 4, 9)}, r"rows of 3 panels .* got shape \(3, 4, 9\): choose a transformer"),
        ({"width": 17}, "width divisible by num_heads, got width 17 and 2 heads"),
    ],
)
def test_sizes_that_do_not_fit(settings: dict[str, Any], says: str) -> None:
    with pytest.raises(InputError, match=says) as caught:
        RelationalMasked(**(SIZE | settings))
    assert "\n" not in str(caught.value)


def test_no_two_parameters_do_the_same() -> None:
    """Else one is too many, and torch 2.13's CPU compiler fails on the two equal sums over cells of their gradients."""
    torch.manual_seed(0)
    network = RelationalMasked(width=16, hidden=24, writer=12, occupancy=8, num_heads=2)
    cells = torch.stack([torch.randint(0, n, (4, 81)) for n in (8, 11, 11)], -1)
    masked = torch.rand(4, 81) < 0.5
    network.training_losses(cells, masked, masked, None).sum().backward()
    gradients = [(name, p.grad) for name, p in network.named_parameters() if p.grad is not None and bool(p.grad.any())]
    for (name, one), (_, other) in itertools.combinations(gradients, 2):
        assert one.shape != other.shape or not torch.allclose(one, other, rtol=1e-4), name
