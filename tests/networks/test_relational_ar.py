"""The likelihood of the relational autoregressive network is what it claims, with each assumption on and off."""

from itertools import product
from typing import Any

import pytest
import torch
from switched import SIZE, SWITCHES, awake, labels_of, puzzle_cells
from torch import Tensor

from genraven.errors import InputError
from genraven.methods import decoding
from genraven.methods.autoregressive import Autoregressive, AutoregressiveSampling
from genraven.networks.relational_ar import RelationalAR
from genraven.networks.relational_writer import state_log_probs
from genraven.puzzles import layout
from genraven.states import states_to_symbols, symbols_to_states

torch.set_num_threads(1)
ALIKE = {"rtol": 1e-4, "atol": 1e-4}  # the network computes in float32
UNIFORM = torch.tensor([0.1, 0.5, 0.9])  # a draw of each row


@pytest.fixture(params=SWITCHES)
def network(request: pytest.FixtureRequest) -> RelationalAR:
    return awake(RelationalAR, set_weight=0.0, one_row=False, **SWITCHES[request.param])


def nats_of(network: RelationalAR, cells: Tensor, labels: Tensor | None = None, **read: Any) -> Tensor:
    """(B, L) nats of each cell by ``forward``."""
    log_p = network(cells[:, :-1], labels, **read)
    return -log_p.gather(-1, symbols_to_states(cells, network.symbols).unsqueeze(-1)).squeeze(-1)


# Factors of cells -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("num_hypotheses", [0, 5])
def test_a_cell_is_empty_or_one_of_its_values_mixed_over_who_carries_the_rule(num_hypotheses: int) -> None:
    """Three attributes of 2, 4 and 3 values; the last two hypotheses change the values of none."""
    values, draws = (2, 4, 3), torch.Generator().manual_seed(0)
    logits = torch.randn(2, 2, 3, 4, generator=draws)  # carrying or not, cells, attributes, values
    beyond = torch.arange(4) >= torch.tensor(values)[:, None]
    carrying, plain = logits.masked_fill(beyond, -torch.inf).log_softmax(-1)
    filled = torch.randn(2, *([num_hypotheses] if num_hypotheses else []), generator=draws)
    weights = torch.randn(2, num_hypotheses, generator=draws).log_softmax(-1) if num_hypotheses else None
    found = state_log_probs(filled, plain, values, *((carrying, weights) if num_hypotheses else ()))

    wanted = torch.zeros(2, 25)
    for cell, h in product(range(2), range(num_hypotheses or 1)):
        weight = weights[cell, h].exp() if weights is not None else 1.0
        p_filled = (filled[cell, h] if num_hypotheses else filled[cell]).sigmoid()
        wanted[cell, 0] += weight * (1 - p_filled)
        tables = [(carrying if num_hypotheses and a == h else plain)[cell, a].exp() for a in range(3)]
        for state in range(1, 25):
            symbols = states_to_symbols(torch.tensor(state), (3, 5, 4)).tolist()
            p_values = torch.stack([table[symbol - 1] for table, symbol in zip(tables, symbols, strict=True)]).prod()
            wanted[cell, state] += weight * p_filled * p_values
    assert torch.allclose(found.exp(), wanted, atol=1e-6)
    assert torch.allclose(wanted.sum(1), torch.ones(2))


# Likelihood -----------------------------------------------------------------------------------------------------------


def test_all_states_of_a_cell_sum_to_one(network: RelationalAR) -> None:
    log_p = network(puzzle_cells(2)[:, :-1], labels_of(network, 2))
    assert log_p.shape == (2, 81, 701)
    assert torch.allclose(log_p.logsumexp(-1), torch.zeros(2, 81), atol=1e-4)
    assert log_p.exp().amax(-1).std() > 0.01  # and cells differ


def test_the_training_loss_is_the_nats_of_forward_and_the_mean_of_those_of_rows(network: RelationalAR) -> None:
    cells = puzzle_cells(3)
    labels, learned = labels_of(network, 3), torch.rand(3, 81, generator=torch.Generator().manual_seed(0)) < 0.5
    nats = nats_of(network, cells, labels)
    assert torch.allclose(network.training_losses(cells, labels, None, None, UNIFORM), nats.mean(1), **ALIKE)
    of_learned = (nats * learned).sum(1) / learned.sum(1)
    whole = network.training_losses(cells, labels, learned, None, UNIFORM)
    assert torch.allclose(whole, of_learned, **ALIKE)

    network.one_row = True
    of_rows = [
        network.training_losses(cells, labels, learned, None, torch.full((3,), (row + 0.5) / 3)) for row in range(3)
    ]
    assert torch.allclose(torch.stack(of_rows).mean(0), whole, **ALIKE)
    assert not torch.allclose(of_rows[0], of_rows[1])
    mixed = network.training_losses(cells, labels, learned, None, UNIFORM)
    assert torch.allclose(mixed, torch.stack([of_rows[i][i] for i in range(3)]), **ALIKE)


def test_the_second_target_is_added_and_is_of_all_rows(network: RelationalAR) -> None:
    cells, labels = puzzle_cells(3), labels_of(network, 3)
    alone = network.training_losses(cells, labels, None, None, UNIFORM)
    network.set_weight = 2.0
    twice = network.training_losses(cells, labels, None, None, UNIFORM) - alone
    network.set_weight, network.one_row = 1.0, True
    once = network.training_losses(cells, labels, None, None, UNIFORM)
    network.set_weight = 0.0
    once = once - network.training_losses(cells, labels, None, None, UNIFORM)
    assert (once > 0.01).all()
    assert torch.allclose(twice, 2 * once, **ALIKE)


@pytest.mark.parametrize("carrier", [True, False])
def test_the_likelihood_of_every_completion_of_a_row_sums_to_one(carrier: bool) -> None:
    """Puzzles of two rows of three panels of two cells with three states: 729 completions of the last row."""
    small = {"symbols": (3, 2), "shape": (2, 3, 2), "carrier": carrier, "set_weight": 0.0, "one_row": False}
    network = awake(RelationalAR, **small)
    every = torch.tensor(list(product(range(3), repeat=6)))
    first = torch.tensor([1, 0, 2, 2, 0, 1]).expand(len(every), -1)
    cells = states_to_symbols(torch.cat([first, every], 1), (3, 2))
    of_last = (torch.arange(12) >= 6).expand(len(every), -1)
    nats = 6 * network.training_losses(cells, None, of_last, None, torch.zeros(len(every)))
    assert (-nats).exp().sum().item() == pytest.approx(1, abs=1e-4)
    assert (-nats).exp().max() > 5 / 729


def test_every_completion_of_a_cell_is_drawn_as_often_as_it_is_likely() -> None:
    """Draws that lie evenly in [0, 1) fall into each state within one of its expected number."""
    network, num = awake(RelationalAR, std=0.1, set_weight=0.0, one_row=False), 40_000
    cells, cache = puzzle_cells(1), network.new_cache(1)
    network(cells[:, :79], None, cache, last_only=True)
    logits = network(cells[:, 79:80], None, cache)[:, -1]
    uniform = ((torch.arange(num) + 0.5) / num).unsqueeze(1)
    found = decoding.pick(logits.expand(num, -1), network.head_sizes, uniform, 1.0)[:, 0].bincount(minlength=701)

    completed = cells.repeat(701, 1, 1)
    completed[:, -1] = states_to_symbols(torch.arange(701), network.symbols)
    is_last = (torch.arange(81) == 80).expand(701, -1)
    expected = num * (-network.training_losses(completed, None, is_last, None, torch.zeros(701))).exp()
    assert expected.sum().item() == pytest.approx(num, rel=1e-4)
    assert (found - expected).abs().max() < 1.5
    assert found.float().std() > 1.5


# Order ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("changed", [0, 8, 31, 71, 79])
def test_a_cell_changes_nothing_before_the_cell_after_it(network: RelationalAR, changed: int) -> None:
    cells = puzzle_cells(2)[:, :-1]
    other = cells.clone()
    other[:, changed] = torch.tensor([5, 9, 3]).where(cells[:, changed] == 0, 0)  # full for empty, or empty for full
    before, after = network(cells), network(other)
    assert torch.equal(before[:, : changed + 1], after[:, : changed + 1])  # not even by rounding
    assert ((before - after)[:, changed + 1 :].abs().amax((0, 2)) > 1e-6).all()


@pytest.mark.parametrize("prefix", [0, 1, 9, 26, 50])
def test_cached_equals_uncached(network: RelationalAR, prefix: int) -> None:
    cells, labels = puzzle_cells(4)[:, :-1], labels_of(network, 4)
    cache, whole = network.new_cache(4), network(cells, labels)
    parts = [network(cells[:, :prefix], labels, cache)]
    parts += [network(cells[:, i : i + 1], None, cache) for i in range(prefix, 80)]
    assert torch.allclose(torch.cat(parts, 1), whole, **ALIKE)
    cache = network.new_cache(4)
    last = network(cells[:, :prefix], labels, cache, last_only=True)
    assert last.shape[1] == 1
    assert torch.allclose(last[:, 0], whole[:, prefix], **ALIKE)
    assert torch.allclose(network(cells[:, prefix : prefix + 1], None, cache)[:, 0], whole[:, prefix + 1], **ALIKE)
    assert torch.allclose(network(cells[:, :prefix], labels, last_only=True), whole[:, prefix : prefix + 1], **ALIKE)


@pytest.mark.parametrize("chunks", [[1, 79], [5, 7, 68], [9, 18, 1, 2, 50], [0, 30, 50]])
def test_cached_chunks_equal_uncached(network: RelationalAR, chunks: list[int]) -> None:
    cells, labels = puzzle_cells(2)[:, :-1], labels_of(network, 2)
    cache = network.new_cache(2)
    parts = [network(part, labels if i == 0 else None, cache) for i, part in enumerate(cells.split(chunks, 1))]
    assert torch.allclose(torch.cat(parts, 1), network(cells, labels), **ALIKE)


@pytest.mark.parametrize("prefix", [4, 22, 63])
def test_a_cache_goes_on_with_the_sequences_that_are_selected(network: RelationalAR, prefix: int) -> None:
    cells, labels, chosen = puzzle_cells(4), labels_of(network, 4), torch.tensor([3, 0, 0, 1, 2])
    cache = network.new_cache(4)
    network(cells[:, : prefix - 1], labels, cache, last_only=True)
    network(cells[:, prefix - 1 : prefix], None, cache)  # also a context that was made before
    cache.select(chosen)
    changed = cells[chosen]
    changed[:, prefix:] = cells[torch.tensor([0, 1, 2, 3, 0]), prefix:]
    found = [network(changed[:, i : i + 1], None, cache) for i in range(prefix, min(prefix + 12, 80))]
    whole = network(changed[:, :-1], labels[chosen] if labels is not None else None)
    assert torch.allclose(torch.cat(found, 1), whole[:, prefix + 1 : prefix + 13], **ALIKE)


def test_labels_are_read_by_every_cell_that_is_generated() -> None:
    """Each panel asks for the label anew."""
    network, label = awake(RelationalAR, num_labels=4), torch.tensor([2])
    written = Autoregressive().generate(network, 1, label, AutoregressiveSampling(), torch.Generator().manual_seed(0))
    tokens = layout.puzzles_to_tokens(written)
    uniform = torch.rand(1, 81, 1, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    log_p = network(tokens[:, :-1].long() + 1, label)
    assert torch.equal(decoding.from_symbols(decoding.pick(log_p, (701,), uniform, 1.0)), tokens)


# What is assumed ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rows_summed", [True, False])
def test_the_order_of_earlier_rows_matters_only_where_rows_are_in_order(rows_summed: bool) -> None:
    network, cells = awake(RelationalAR, rows_summed=rows_summed), puzzle_cells(4)
    swapped = torch.cat([cells[:, 27:54], cells[:, :27], cells[:, 54:]], 1)
    before, after = (nats_of(network, part)[:, 54:] for part in (cells, swapped))
    assert torch.allclose(before, after, **ALIKE) == rows_summed
    assert network.rows_exchangeable == rows_summed


def test_a_network_learns_of_an_unknown_cell_that_it_is_not_known() -> None:
    network, cells = awake(RelationalAR, reads_unknown=True, one_row=False, set_weight=0.0), puzzle_cells(3)
    unknown = torch.rand(3, 81, generator=torch.Generator().manual_seed(0)) < 0.2
    others = torch.where(unknown.unsqueeze(-1), puzzle_cells(3, start=9).roll(1, 0), cells)
    nats, of_others = (nats_of(network, part, unknown=unknown[:, :-1]) for part in (cells, others))
    assert torch.equal(nats[~unknown], of_others[~unknown])
    losses = [network.training_losses(part, None, ~unknown, unknown, UNIFORM) for part in (cells, others)]
    assert torch.equal(*losses)
    assert torch.allclose(losses[0], (nats * ~unknown).sum(1) / (~unknown).sum(1), **ALIKE)
    none = torch.zeros_like(unknown)
    assert torch.equal(nats_of(network, cells, unknown=none[:, :-1]), nats_of(network, cells))
    emptied = cells.masked_fill(unknown.unsqueeze(-1), 0)  # an unknown cell is no empty one
    assert not torch.allclose(nats_of(network, emptied), nats_of(network, emptied, unknown=unknown[:, :-1]))


def test_labels_change_the_log_probabilities_of_a_network_with_labels() -> None:
    network, cells = awake(RelationalAR, num_labels=4), puzzle_cells(2)[:, :-1]
    unconditional = network(cells)
    assert torch.equal(unconditional, network(cells, torch.tensor([4, 4])))
    labelled = network(cells, torch.tensor([3, 4]))
    assert (labelled[0] - unconditional[0]).abs().amax(-1).gt(1e-6).all()
    assert torch.equal(labelled[1], unconditional[1])


# What does not fit ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"symbols": (8, 12, 11)}, r"at most 10 values .* got symbols \(8, 12, 11\) and 9 cells a panel"),
        ({"shape": (3, 3, 16)}, r"at most 10 values .* and 16 cells a panel: choose a transformer"),
        ({"shape": (3, 2, 9)}, r"rows of 3 panels .* got shape \(3, 2, 9\): choose a transformer"),
        ({"width": 17}, "width divisible by num_heads, got width 17 and 2 heads"),
    ],
)
def test_sizes_that_do_not_fit(settings: dict[str, Any], says: str) -> None:
    with pytest.raises(InputError, match=says) as caught:
        RelationalAR(**(SIZE | settings))
    assert "\n" not in str(caught.value)
