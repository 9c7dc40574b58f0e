"""Log-probabilities of what was written, and what is expected of them, against enumeration."""

import pytest
import torch
from torch import Tensor

from genraven.methods import decoding
from genraven.methods.masked import MaskedDiffusion, log_probability_in_order
from genraven.methods.method import all_methods
from genraven.networks.bidirectional import BidirectionalTransformer
from genraven.networks.relational_soft import log_prob_of_others
from genraven.networks.transformer import Transformer
from genraven.puzzles import layout
from genraven.puzzles.generate import generate
from genraven.puzzles.masks import last_panel_mask
from lightning_modules import AutoregressiveModule, DiffusionModule, PuzzleModule

torch.set_num_threads(1)


def models() -> dict[str, PuzzleModule]:
    torch.manual_seed(0)
    network = BidirectionalTransformer(width=24, depth=1, num_heads=2)
    return {
        "separate": AutoregressiveModule(Transformer(width=24, depth=1, num_heads=2)).eval(),
        "joint": AutoregressiveModule(Transformer(width=24, depth=1, num_heads=2, head="joint")).eval(),
        "masked": DiffusionModule(network, MaskedDiffusion()).eval(),
    }


@pytest.mark.parametrize("sizes", [(8, 11, 11), (701,)])
def test_the_entropy_of_a_cell_is_that_of_all_its_states(sizes: tuple[int, ...]) -> None:
    logits = torch.randn(5, sum(sizes), generator=torch.Generator().manual_seed(0))
    tokens = layout.states_to_tokens(torch.arange(701))
    log_p = torch.stack([decoding.cell_log_likelihood(row.expand(701, -1), sizes, tokens) for row in logits])
    assert torch.allclose(decoding.cell_entropy(logits, sizes), -(log_p.exp() * log_p).sum(1), atol=1e-4)


@pytest.mark.parametrize("gap", [4.0, 12.0, 16.0, 18.0, 25.0, 60.0])
def test_an_empty_cell_that_is_hardly_possible_is_as_likely_as_in_exact_arithmetic(gap: float) -> None:
    """With separate heads; below 1e-7, 1 - prod(1 - p) is rounding noise in float32, whose logarithm may be NaN."""
    sizes, draws = (8, 11, 11), torch.Generator().manual_seed(0)
    logits = [torch.randn(400, n, generator=draws) for n in sizes]
    for part in logits:
        part[:, 0] = part[:, 1:].max(1).values - gap
    cells, whole = layout.states_to_tokens(torch.arange(701)), torch.cat(logits, 1)
    first, second, third = (part.double().log_softmax(1) for part in logits)
    filled = [part[:, 1:].logsumexp(1) for part in (first, second)]
    empty = torch.stack([first[:, 0], filled[0] + second[:, 0], filled[0] + filled[1] + third[:, 0]]).logsumexp(0)
    values = (first[:, 1:, None, None] + second[:, None, 1:, None] + third[:, None, None, 1:]).flatten(1)
    exact = torch.cat([empty.unsqueeze(1), values], 1)  # all 701 states

    found = decoding.cell_log_likelihood(whole.unsqueeze(1).expand(-1, 701, -1), sizes, cells.expand(400, -1, -1))
    assert torch.allclose(found.double(), exact, rtol=1e-6, atol=1e-5)
    entropy = torch.special.entr(exact.exp()).sum(1)
    assert torch.allclose(decoding.cell_entropy(whole, sizes).double(), entropy, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("head", ["separate", "joint"])
def test_an_autoregressive_panel_has_its_part_of_the_likelihood(head: str) -> None:
    model, puzzles, everywhere = models()[head], generate(3, 0, 4), torch.ones(4, 9, 9, dtype=torch.bool)
    last = last_panel_mask(4)
    whole, panel = model.log_probability(puzzles, everywhere), model.log_probability(puzzles, last)
    nats = model.method.nats_per_cell(model.network, puzzles, None, None)  # type: ignore[arg-type]
    assert torch.allclose(whole.total, -81 * nats[:, 0], rtol=1e-5)
    assert torch.equal(panel.cells[:, -9:], whole.cells[:, -9:])
    assert not panel.cells[:, :-9].any() and not panel.expected[:, :-9].any()
    assert torch.allclose(panel.surplus, (whole.cells - whole.expected)[:, -9:].sum(1), atol=1e-4)


def joint(states: Tensor, masked: Tensor, positions: Tensor | None) -> Tensor:
    """Two cells of two states, of which the second repeats the first with probability 0.9: exact conditionals."""
    table = torch.tensor([[0.63, 0.07], [0.03, 0.27]])
    rows = []
    for state, open_cells, place in zip(states, masked, positions.squeeze(1), strict=True):  # type: ignore[union-attr]
        own = table if place == 0 else table.T
        rows.append(own.sum(1) if open_cells.all() else own[:, state[1 - place]])
    return torch.stack(rows).log().unsqueeze(1)


def test_every_order_of_an_exact_network_says_the_same() -> None:
    states = torch.tensor([[0, 0], [0, 1], [1, 0], [1, 1]]).repeat(8, 1)
    generator = torch.Generator().manual_seed(0)
    cells, expected = log_probability_in_order(joint, states, torch.ones(32, 2, dtype=torch.bool), generator=generator)
    exact = torch.tensor([0.63, 0.07, 0.03, 0.27]).log().repeat(8)
    assert torch.allclose(cells.sum(1), exact, atol=1e-5)
    assert (expected < 0).all()
    one = torch.tensor([[True, False]]).expand(32, 2)
    cells, expected = log_probability_in_order(joint, states, one, generator=generator)
    assert torch.allclose(cells[:4, 0].exp(), torch.tensor([0.63 / 0.66, 0.07 / 0.34, 0.03 / 0.66, 0.27 / 0.34]))
    assert not cells[:, 1].any() and not expected[:, 1].any()


def test_masked_diffusion_reads_the_open_cells_alone() -> None:
    model, puzzles = models()["masked"], generate(3, 0, 4)
    mask = last_panel_mask(4)
    mask[2] = False
    mask[2, 0, :2] = True  # other puzzles may have fewer open cells
    found = model.log_probability(puzzles, mask, torch.Generator().manual_seed(0))
    open_cells = layout.mask_to_tokens(mask)
    assert (found.cells[open_cells] < 0).all() and not found.cells[~open_cells].any()
    assert torch.equal(found.cells, model.log_probability(puzzles, mask, torch.Generator().manual_seed(0)).cells)


def test_methods_say_which_confidences_they_have() -> None:
    for method in all_methods():
        has = "log_probability" in vars(method)
        of_all = method.confidences
        confidences = of_all if isinstance(of_all, tuple) else method().confidences
        assert ("log_probability" in confidences) == has == (method.likelihood is not None)


def test_the_probability_that_another_hypothesis_holds_is_as_in_exact_arithmetic() -> None:
    log_p = torch.tensor([[30.0, 0.0, 1.0], [0.1, 0.2, 0.3], [-50.0, 50.0, -50.0]]).double().log_softmax(-1)
    exact = torch.stack([log_p[:, [1, 2]], log_p[:, [0, 2]], log_p[:, [0, 1]]], 1).logsumexp(-1)
    assert torch.allclose(log_prob_of_others(log_p.float()).double(), exact, atol=1e-5)
