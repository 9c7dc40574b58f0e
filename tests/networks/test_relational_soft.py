"""The relational network of noisy one-hot fields: its layout, its probabilities, and what it reads."""

from typing import Any

import pytest
import torch
from switched import SIZE, SWITCHES, awake, labels_of, puzzle_cells
from torch import Tensor

from genraven.errors import InputError
from genraven.methods.gaussian import GaussianDiffusion
from genraven.methods.gaussian.ddpm import Ddpm
from genraven.methods.gaussian.edm import Edm
from genraven.methods.gaussian.flow import Flow
from genraven.methods.gaussian.process import Process
from genraven.networks.relational_soft import RelationalSoft
from genraven.puzzles import layout
from lightning_modules import DiffusionModule

torch.set_num_threads(1)
SYMBOLS = (8, 11, 11)
TIMES = torch.tensor([0.05, 0.4, 0.7, 0.97])


@pytest.fixture(params=SWITCHES)
def network(request: pytest.FixtureRequest) -> RelationalSoft:
    return awake(RelationalSoft, in_channels=30, **SWITCHES[request.param])


def clean_fields(num: int) -> Tensor:
    """(num, 30, 9, 9)"""
    return layout.puzzles_to_onehot(layout.tokens_to_puzzles((puzzle_cells(num) - 1).to(torch.int8)))


def noisy_fields(num: int, seed: int = 0) -> Tensor:
    clean, t = clean_fields(num), TIMES[:num, None, None, None]
    return (1 - t) * clean + t * torch.randn(clean.shape, generator=torch.Generator().manual_seed(seed))


def test_fields_are_rows_of_panels_of_cells_and_back() -> None:
    network, fields = RelationalSoft(**SIZE), clean_fields(4)
    cells = network._cells(fields)
    assert cells.shape == (4, 3, 3, 9, 30)
    assert torch.equal(network._fields(cells), fields)
    symbols = torch.stack([part.argmax(-1) for part in cells.split(SYMBOLS, -1)], -1)
    assert torch.equal(symbols.flatten(1, 3), puzzle_cells(4))


def test_each_attribute_has_probabilities_and_all_are_empty_together(network: RelationalSoft) -> None:
    logits = network(noisy_fields(4), TIMES, labels_of(network, 4))
    assert logits.shape == (4, 30, 9, 9)
    parts = logits.split(SYMBOLS, 1)
    for part in parts:
        assert torch.allclose(part.logsumexp(1), torch.zeros(4, 9, 9), atol=1e-4)
        assert torch.allclose(part[:, 0], parts[0][:, 0], atol=1e-4)
    assert parts[0].exp().std() > 0.01


def test_clean_cells_that_are_shown_are_answered_as_they_are() -> None:
    """A network that is told where it writes; as it begins, before anything is learned."""
    torch.manual_seed(0)
    network, clean = RelationalSoft(**SIZE), clean_fields(4)
    writes = torch.zeros(4, 1, 9, 9)
    writes[:, :, 6:, 6:] = 1
    noise = torch.randn(clean.shape, generator=torch.Generator().manual_seed(0))
    x = torch.cat([torch.where(writes > 0, noise, clean), writes], 1)
    with torch.no_grad():
        logits = network(x, torch.full((4,), 0.99))
    for part, truth in zip(logits.split(SYMBOLS, 1), clean.split(SYMBOLS, 1), strict=True):
        right = (part.softmax(1) * (truth > 0)).sum(1)
        assert (right[writes[:, 0] == 0] > 0.95).all()
        assert right[writes[:, 0] > 0].mean() < 0.9


def test_noise_is_read_less_the_more_there_is() -> None:
    """As it begins: near time 1 a cell says nothing, so that another field changes little."""
    torch.manual_seed(0)
    network = RelationalSoft(**SIZE, in_channels=30).requires_grad_(False)
    one, other = (torch.randn(2, 30, 9, 9, generator=torch.Generator().manual_seed(i)) for i in (0, 1))
    changes = [
        (network(one, t.expand(2)) - network(other, t.expand(2))).abs().mean() for t in torch.tensor([0.2, 0.9, 0.99])
    ]
    assert changes[0] > 3 * changes[1] > 9 * changes[2]


@pytest.mark.parametrize("rows_summed", [True, False])
def test_rows_that_change_places_take_their_outputs_along(rows_summed: bool) -> None:
    network, x = awake(RelationalSoft, in_channels=30, rows_summed=rows_summed), noisy_fields(4)
    order = torch.arange(9).view(3, 3)[[2, 0, 1]].flatten()
    moved, still = network(x[:, :, order], TIMES), network(x, TIMES)[:, :, order]
    assert torch.allclose(moved, still, rtol=1e-4, atol=1e-4) == rows_summed


def test_unknown_cells_say_nothing() -> None:
    network, x = awake(RelationalSoft, in_channels=30, reads_unknown=True), noisy_fields(4)
    unknown = torch.rand(4, 9, 9, generator=torch.Generator().manual_seed(2)) < 0.3
    others = torch.where(unknown.unsqueeze(1), noisy_fields(4, seed=1), x)
    assert torch.equal(network(x, TIMES, unknown=unknown), network(others, TIMES, unknown=unknown))
    assert torch.equal(network(x, TIMES, unknown=torch.zeros_like(unknown)), network(x, TIMES))
    assert not torch.allclose(network(x, TIMES), network(others, TIMES))


@pytest.mark.parametrize("process", [Edm(), Ddpm(learned_variance=False)])
def test_a_process_whose_noise_it_cannot_read_is_refused(process: Process) -> None:
    """It takes the noise of a time to be that of a linear path."""
    with pytest.raises(InputError, match="expected a process on a linear path for RelationalSoft, .*: choose Flow"):
        DiffusionModule(RelationalSoft(**SIZE), GaussianDiffusion(process, "onehot", masked_share=0.5))


@pytest.mark.parametrize("t", [0.3, 0.5, 0.9])
def test_what_a_cell_says_is_bayes_rule(t: float) -> None:
    """At first, before the gains are learned: the code times 2 alpha / sigma^2."""
    network, times = RelationalSoft(**SIZE, in_channels=30), torch.full((2,), t)
    torch.nn.init.zeros_(network.gain[-1].weight)
    torch.nn.init.zeros_(network.gain[-1].bias)
    x, flow = noisy_fields(2), Flow()
    said = torch.cat(network._evidence(x, times, None), -1)
    assert torch.allclose(said, network._cells(x) * (2 * flow.alpha(times) / flow.sigma(times) ** 2)[0], rtol=1e-5)


def test_labels_change_the_logits_of_a_network_with_labels() -> None:
    network, x = awake(RelationalSoft, in_channels=30, num_labels=4), noisy_fields(2)
    unconditional = network(x, TIMES[:2])
    assert torch.equal(unconditional, network(x, TIMES[:2], torch.tensor([4, 4])))
    labelled = network(x, TIMES[:2], torch.tensor([3, 4]))
    assert not torch.allclose(labelled[0], unconditional[0], atol=1e-3)
    assert torch.equal(labelled[1], unconditional[1])


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"symbols": (8, 12, 11), "in_channels": 31, "out_channels": 31}, r"at most 10 values .* \(8, 12, 11\)"),
        ({"shape": (3, 4, 9)}, r"rows of 3 panels .* got shape \(3, 4, 9\): choose a transformer"),
        ({"shape": (3, 3, 8)}, r"square panels .* got shape \(3, 3, 8\)"),
        ({"width": 17}, "width divisible by num_heads, got width 17 and 2 heads"),
        ({"in_channels": 3, "out_channels": 3}, "out_channels 30, a channel for each symbol, .* choose code onehot"),
        ({"out_channels": 60}, "out_channels 30, .* got 60 and 31: choose code onehot"),
    ],
)
def test_sizes_that_do_not_fit(settings: dict[str, Any], says: str) -> None:
    with pytest.raises(InputError, match=says) as caught:
        RelationalSoft(**(SIZE | settings))
    assert "\n" not in str(caught.value)
