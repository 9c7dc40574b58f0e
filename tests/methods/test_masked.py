"""Masked diffusion against exact answers: a small distribution whose conditionals can be enumerated."""

import itertools
import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from scipy import stats
from torch import Tensor

from datamodules.batches import Batch
from genraven.errors import InputError
from genraven.methods.masked import MaskedDiffusion, MaskedSampling
from genraven.methods.orders import ORDERS, Order, first_positions
from genraven.methods.unmasking import Writing, write_masked
from genraven.networks.bidirectional import BidirectionalTransformer
from genraven.networks.dit import DiT
from genraven.networks.transformer import Transformer
from genraven.puzzles import layout
from genraven.puzzles.generate import generate
from genraven.puzzles.masks import last_panel_mask
from genraven.puzzles.spec import NUM_RULES, TOKENS_PER_PUZZLE
from launch.trained.sampling import sampling_options
from lightning_modules import DiffusionModule
from lightning_modules.draws import BatchDraw

torch.set_num_threads(1)
LENGTH, SYMBOLS = 3, 4
OUTCOMES = torch.tensor(list(itertools.product(range(SYMBOLS), repeat=LENGTH)))  # (64, 3)
DRAWS = 20_000


def dependent_cells() -> Tensor:
    """(64,) probabilities of the outcomes."""
    weights = torch.rand(len(OUTCOMES), generator=torch.Generator().manual_seed(0)).double() ** 6
    return weights / weights.sum()


JOINT = dependent_cells()


def exact(states: Tensor, masked: Tensor, positions: Tensor | None) -> Tensor:
    """Logarithms of each masked cell's distribution given the cells that are not masked."""
    agree = ((states.unsqueeze(1) == OUTCOMES) | masked.unsqueeze(1)).all(-1)  # (B, 64)
    weights = agree * JOINT
    marginals = torch.stack([weights @ (OUTCOMES[:, [i]] == torch.arange(SYMBOLS)).double() for i in range(LENGTH)], 1)
    logits = (marginals / weights.sum(1)[:, None, None]).log().float()
    return logits if positions is None else logits.gather(1, positions.unsqueeze(-1).expand(-1, -1, SYMBOLS))


def written(num: int = DRAWS, given: dict[int, int] | None = None, **settings: Any) -> Tensor:
    """(num, 3) written by the exact network."""
    states, masked = torch.zeros(num, LENGTH, dtype=torch.int64), torch.ones(num, LENGTH, dtype=torch.bool)
    for place, value in (given or {}).items():
        states[:, place], masked[:, place] = value, False
    return write_masked(exact, states, masked, Writing(**settings), generator=torch.Generator().manual_seed(1))


def frequencies(states: Tensor) -> Tensor:
    index = (states * torch.tensor([SYMBOLS**2, SYMBOLS, 1])).sum(1)
    return torch.bincount(index, minlength=len(OUTCOMES))


def p_value(counts: Tensor, expected: Tensor) -> float:
    kept = expected > 0
    assert counts[~kept].sum() == 0
    return float(stats.chisquare(counts[kept].numpy(), (expected[kept] * counts.sum()).numpy()).pvalue)


def test_one_cell_an_evaluation_in_random_order_draws_from_the_distribution() -> None:
    assert p_value(frequencies(written()), JOINT) > 1e-3
    assert p_value(frequencies(written(num_steps=81)), JOINT) > 1e-3  # no more evaluations than cells


def test_all_cells_at_once_draw_from_the_product_of_the_marginals() -> None:
    """Wrong in the way that is known: each cell by itself is right, together they are as if independent."""
    counts = frequencies(written(num_steps=1))
    marginals = exact(torch.zeros(1, LENGTH, dtype=torch.int64), torch.ones(1, LENGTH, dtype=torch.bool), None)[0]
    product = torch.stack([marginals[i][OUTCOMES[:, i]] for i in range(LENGTH)]).sum(0).exp().double()
    assert p_value(counts, product / product.sum()) > 1e-3
    assert p_value(counts, JOINT) < 1e-9


def test_two_evaluations_write_two_cells_as_if_independent_and_then_the_third_rightly() -> None:
    counts = frequencies(written(num_steps=2))
    expected = torch.zeros(len(OUTCOMES), dtype=torch.float64)
    for pair in itertools.combinations(range(LENGTH), 2):  # each two cells are as likely the first
        (last,) = set(range(LENGTH)) - set(pair)
        table = JOINT.view(SYMBOLS, SYMBOLS, SYMBOLS)
        single = [table.sum(tuple(j for j in range(LENGTH) if j != i)) for i in pair]
        both = table.sum(last, keepdim=True)
        product = torch.einsum("i,j->ij", *single).unsqueeze(last)
        expected += (product * (table / both).nan_to_num()).flatten() / 3
    assert p_value(counts, expected / expected.sum()) > 1e-3


@pytest.mark.parametrize("given", [{0: 2}, {1: 3}, {0: 1, 2: 0}])
def test_completion_draws_from_the_exact_conditional(given: dict[int, int]) -> None:
    counts = frequencies(written(given=given))
    agree = torch.stack([OUTCOMES[:, place] == value for place, value in given.items()]).all(0)
    assert p_value(counts, JOINT * agree / (JOINT * agree).sum()) > 1e-3


@pytest.mark.parametrize("order", ["confidence", "entropy", "margin"])
def test_sure_cells_come_first(order: str) -> None:
    """Cell 1 is nearly certain, cell 0 and 2 are not: with one of three evaluations made, only cell 1 is written."""
    seen: list[Tensor] = []

    def predict(states: Tensor, masked: Tensor, positions: Tensor | None) -> Tensor:
        seen.append(masked.clone())
        return torch.tensor([[0.0, 0.1, 0, 0], [0, 0, 0, 9.0], [0.2, 0, 0, 0]]).expand(len(states), -1, -1)

    blank = torch.zeros(5, LENGTH, dtype=torch.int64)
    write_masked(predict, blank, torch.ones_like(blank, dtype=torch.bool), Writing(order=order, temperature=0))
    assert [int(masked[0].sum()) for masked in seen] == [3, 2, 1]
    assert (~seen[1]).nonzero()[:, 1].tolist() == [1] * 5


@pytest.mark.parametrize("order", ["random", "margin"])
@pytest.mark.parametrize("num_steps", [1, 2, 4, 7, 9, 81])
def test_every_open_cell_is_written_and_no_other(order: str, num_steps: int) -> None:
    """Also where puzzles have different numbers of open cells."""
    masked = torch.rand(6, 9, generator=torch.Generator().manual_seed(0)) < torch.linspace(0, 1, 6).unsqueeze(1)
    states = torch.full((6, 9), 5)
    evaluations: list[Tensor] = []

    def predict(states: Tensor, masked: Tensor, positions: Tensor | None) -> Tensor:
        evaluations.append(masked)
        return torch.zeros(len(states), 9 if positions is None else positions.shape[1], 3)

    done = write_masked(predict, states, masked, Writing(num_steps, order))
    assert (done[~masked] == 5).all()
    assert (done[masked] < 3).all()
    assert len(evaluations) == min(num_steps, 9)


def test_remasked_cells_are_written_again() -> None:
    masks: list[Tensor] = []

    def predict(states: Tensor, masked: Tensor, positions: Tensor | None) -> Tensor:
        masks.append(masked)
        return torch.zeros(len(states), 9 if positions is None else positions.shape[1], 3)

    blank = torch.zeros(200, 9, dtype=torch.int64)
    done = write_masked(predict, blank, torch.ones_like(blank, dtype=torch.bool), Writing(num_steps=9, remasking=0.3))
    again = sum((later & ~earlier).sum().item() for earlier, later in itertools.pairwise(masks))
    assert again > 200
    written_before = torch.stack([~mask for mask in masks]).sum((1, 2)) / 200
    assert (written_before <= torch.arange(9)).all()  # never ahead of the plain schedule
    assert (done < 3).all()


def test_no_cell_open_is_left_as_it_is() -> None:
    states = torch.arange(6).view(2, 3)
    nothing = torch.zeros(2, 3, dtype=torch.bool)
    assert torch.equal(write_masked(exact, states, nothing, Writing()), states)


def test_a_new_order_is_one_entry(monkeypatch: pytest.MonkeyPatch) -> None:
    """Found by generation, by completion, by the options and by the errors; each step asks about its cells alone."""
    outwards = Order(before=lambda uniform: torch.arange(uniform.shape[1], device=uniform.device).expand(uniform.shape))
    monkeypatch.setitem(ORDERS, "outwards", outwards)
    asked: list[Tensor] = []

    def predict(states: Tensor, masked: Tensor, positions: Tensor | None) -> Tensor:
        assert positions is not None
        asked.append(positions[0])
        return torch.zeros(*positions.shape, 3)

    blank = torch.zeros(2, 6, dtype=torch.int64)
    write_masked(predict, blank, torch.ones_like(blank, dtype=torch.bool), Writing(num_steps=3, order="outwards"))
    assert [positions.tolist() for positions in asked] == [[5, 4], [3, 2], [1, 0]]
    assert sampling_options()["order"].choices[-1] == "outwards"
    assert sampling_options()["completion_order"].choices == tuple(ORDERS)
    model = module(MaskedSampling(num_steps=3, order="outwards", completion_steps=2)).eval()
    assert (model.generate(2) != -2).all()
    with pytest.raises(InputError, match="margin, outwards, got outward: did you mean outwards?"):
        model.sample_by({"order": "outward"})


def test_an_order_may_score_with_infinity() -> None:
    """A cell that it likes least is written all the same, and none that is given."""
    least = {"inf": Order(before=lambda uniform: torch.where(uniform < 0.5, -torch.inf, 0.0)), "nan": Order(
        before=lambda uniform: torch.where(uniform < 0.5, torch.nan, 0.0))}  # fmt: skip
    for order in least.values():
        scores = order.before(torch.rand(64, 20, generator=torch.Generator().manual_seed(0)))  # type: ignore[misc]
        masked = torch.arange(20).expand(64, -1) >= 11
        positions, _ = first_positions(scores, masked, torch.full((64,), 9), 9)
        assert torch.equal(positions.sort(1).values, torch.arange(11, 20).expand(64, -1))


# The method -----------------------------------------------------------------------------------------------------


def network(**settings: Any) -> BidirectionalTransformer:
    torch.manual_seed(0)
    return BidirectionalTransformer(**{"width": 24, "depth": 1, "num_heads": 2} | settings)


def module(sampling: MaskedSampling | None = None, *, masked_share: float = 0.0, **settings: Any) -> DiffusionModule:
    return DiffusionModule(network(**settings), MaskedDiffusion(masked_share, sampling))


def draw(num: int, seed: int = 0, total: int | None = None, start: int = 0) -> BatchDraw:
    puzzles = torch.zeros(num, 3, 9, 9, dtype=torch.int8)
    batch = Batch(puzzles, torch.zeros(num, dtype=torch.int64), 0, start, total or num)
    return BatchDraw(batch, torch.Generator().manual_seed(seed))


class Fixed(BidirectionalTransformer):
    """Knows the puzzles of a list, each as likely: its answers are the exact conditionals."""

    def __init__(self, puzzles: Tensor) -> None:
        super().__init__(width=24, depth=1, num_heads=2)
        self.known = layout.tokens_to_states(layout.puzzles_to_tokens(puzzles))
        self.seen: list[Tensor] = []

    def forward(
        self, cells: Tensor, masked: Tensor, labels: Tensor | None = None, positions: Tensor | None = None
    ) -> Tensor:
        self.seen.append(masked)
        states = layout.tokens_to_states((cells - 1).to(torch.int8))
        agree = ((states.unsqueeze(1) == self.known) | masked.unsqueeze(1)).all(-1).double()  # (B, N)
        alike = (self.known.unsqueeze(1) == self.known).double()  # (N, N, L)
        p = torch.einsum("bm,mnl->bln", agree / agree.sum(1, keepdim=True).clamp(min=1), alike)  # of what each holds
        known = self.known.T.expand(len(cells), -1, -1)
        logits = torch.full((*masked.shape, 701), -50.0).scatter(2, known, p.log().clamp(min=-50).float())
        return logits if positions is None else logits.gather(1, positions.unsqueeze(-1).expand(-1, -1, 701))


@pytest.mark.parametrize("order", ORDERS)
@torch.no_grad()
def test_every_order_completes_what_is_determined_and_generates_what_is_known(order: str) -> None:
    """The cells that are given tell the known puzzles apart; what is written from nothing is one of them."""
    puzzles = torch.cat([generate(rule, 0, 2, seed=1) for rule in (0, 10)])
    method, known = MaskedDiffusion(), Fixed(puzzles).eval()
    sampling, generator = MaskedSampling(order=order), torch.Generator().manual_seed(0)
    scattered = torch.rand(4, 9, 9, generator=generator) < 0.5
    for mask in (last_panel_mask(4), scattered):
        blank = puzzles.masked_fill(mask.unsqueeze(1), -1)
        assert torch.equal(method.complete(known, blank, mask, sampling, generator), puzzles)
    made = method.generate(known, 3, None, sampling, generator)
    assert (made.unsqueeze(1) == puzzles).flatten(2).all(2).any(1).all()


def test_the_bound_is_the_likelihood_where_the_network_is_exact() -> None:
    """For exact conditionals the bound in expectation is the negative log-likelihood: ln(N) / 81 of N known puzzles."""
    puzzles = torch.cat([generate(rule, 0, 2, seed=1) for rule in (0, 10)])
    method, exact_network = MaskedDiffusion(), Fixed(puzzles).eval()
    many = puzzles.repeat(60, 1, 1, 1)
    draws = torch.cat([method.nats_per_cell(exact_network, many, None, draw(len(many), seed)) for seed in range(8)], 1)
    error = draws.mean(0).std().item() / math.sqrt(draws.shape[1])
    assert error < 0.01
    assert draws.mean().item() == pytest.approx(math.log(4) / TOKENS_PER_PUZZLE, abs=4 * error)


def test_the_bound_is_above_the_likelihood_where_the_network_is_wrong() -> None:
    """A network that knows one puzzle too many pays for it in every order."""
    puzzles = torch.cat([generate(0, 0, 3, seed=1), generate(10, 0, 3, seed=1)])
    four, right = puzzles[:4].repeat(60, 1, 1, 1), math.log(4) / TOKENS_PER_PUZZLE
    bound = MaskedDiffusion().nats_per_cell(Fixed(puzzles).eval(), four, None, draw(len(four))).mean().item()
    assert bound > right
    assert bound == pytest.approx(math.log(6) / TOKENS_PER_PUZZLE, abs=0.01)


def test_as_many_cells_are_masked_as_there_are_draws_and_only_these_count() -> None:
    method, spy = MaskedDiffusion(), Fixed(generate(0, 0, 1))
    losses = method.losses(spy.train(), generate(0, 0, 81), None, draw(81))
    counts = spy.seen[0].sum(1).sort().values
    assert (counts - torch.arange(1, 82)).abs().max() <= 1  # one of each number, but for where two draws share an edge
    assert losses.shape == (81,)


def test_training_may_mask_most_cells_more_often_and_validation_does_not() -> None:
    method, spy = MaskedDiffusion(training_spacing=0.25), Fixed(generate(0, 0, 1))
    method.losses(spy.train(), generate(0, 0, 81), None, draw(81))
    method.losses(spy.eval(), generate(0, 0, 81), None, draw(81))
    training, validation = (seen.sum(1).sort().values for seen in spy.seen)
    assert training.float().mean() == pytest.approx(81 / 1.25, abs=1)  # the mean of u ** 0.25 is 1 / 1.25
    assert (training > 75).float().mean() == pytest.approx(1 - (75 / 81) ** 4, abs=0.03)
    assert (validation - torch.arange(1, 82)).abs().max() <= 1


@pytest.mark.parametrize("spacing", [0.0, -1.0, math.inf, math.nan])
def test_a_spacing_that_is_none_is_refused(spacing: float) -> None:
    with pytest.raises(InputError, match="training_spacing"):
        MaskedDiffusion(training_spacing=spacing)


def test_the_number_of_masked_cells_of_a_puzzle_does_not_depend_on_the_world() -> None:
    method, one = MaskedDiffusion(), Fixed(generate(0, 0, 1))
    method.losses(one, generate(0, 0, 8), None, draw(8))
    for start in (0, 4):
        method.losses(one, generate(0, start, 4), None, draw(4, total=8, start=start))
    assert torch.equal(one.seen[0], torch.cat(one.seen[1:]))


def test_a_share_of_the_training_puzzles_is_masked_within_panels_and_none_in_validation() -> None:
    method, spy = MaskedDiffusion(masked_share=1.0), Fixed(generate(0, 0, 1))
    method.losses(spy.train(), generate(0, 0, 400), None, draw(400))
    method.losses(spy.eval(), generate(0, 0, 400), None, draw(400))
    last = layout.mask_to_tokens(last_panel_mask(1))
    within_last = [(~(mask & ~last).any(1)).float().mean().item() for mask in spy.seen]
    assert within_last[0] > 0.4
    assert within_last[1] < 0.05


def test_completion_keeps_what_is_given_for_any_mask() -> None:
    model, puzzles = module().eval(), generate(5, 0, 4)
    mask = torch.rand(4, 9, 9, generator=torch.Generator().manual_seed(2)) < 0.4
    once, again = (model.complete(puzzles, mask, torch.Generator().manual_seed(3)) for _ in range(2))
    kept = ~mask.unsqueeze(1).expand_as(puzzles)
    assert torch.equal(once, again)
    assert torch.equal(once[kept], puzzles[kept])
    assert not torch.equal(once, puzzles)


def test_what_stands_in_open_cells_is_not_read() -> None:
    model, puzzles, mask = module().eval(), generate(5, 0, 4), last_panel_mask(4)
    other = puzzles.clone()
    other[mask.unsqueeze(1).expand_as(other)] = 3
    one, same = (model.complete(given, mask, torch.Generator().manual_seed(3)) for given in (puzzles, other))
    assert torch.equal(one, same)


def test_the_network_does_not_read_masked_cells_and_reads_all_others() -> None:
    net = network().eval()
    cells = torch.randint(1, 8, (1, 81, 3), generator=torch.Generator().manual_seed(0))
    masked = torch.zeros(1, 81, dtype=torch.bool)
    masked[0, 40] = True
    before = net(cells, masked)
    for place, is_read in ((40, False), (0, True), (80, True)):
        other = cells.clone()
        other[0, place] = 1 + cells[0, place] % 7
        assert torch.equal(net(other, masked), before) != is_read


def test_logits_at_places_are_those_of_all_places() -> None:
    net = network().eval()
    cells, masked = torch.randint(0, 8, (2, 81, 3)), torch.rand(2, 81) < 0.5
    positions = torch.tensor([[3, 80], [7, 0]])
    whole = net(cells, masked)
    some = net(cells, masked, None, positions)
    assert torch.allclose(some, torch.stack([whole[i, p] for i, p in enumerate(positions)]), atol=1e-6)


def test_labels_are_strengthened_by_the_guidance_scale() -> None:
    rules, made = torch.arange(3), []
    for scale in (1.0, 4.0):
        model = module(MaskedSampling(num_steps=3, guidance_scale=scale), num_labels=NUM_RULES).eval()
        made.append([model.generate(3, labels, torch.Generator().manual_seed(0)) for labels in (rules, None)])
    assert not torch.equal(made[0][0], made[1][0])
    assert torch.equal(made[0][1], made[1][1])


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"num_steps": 82}, "num_steps to be at most 81"),
        ({"completion_steps": 82}, "completion_steps to be at most 81"),
        ({"num_steps": 0}, "num_steps to be 1 or more"),
        (
            {"order": "sorted"},
            "order to be one of random, left_to_right, panels, confidence, entropy, margin, got sorted",
        ),
        ({"temperature": 0.0}, "temperature above 0 to generate, got 0"),
        ({"temperature": 0.0, "order": "margin"}, "temperature above 0 to generate, got 0"),
        ({"remasking": 1.0}, "remasking to be below 1"),
        ({"temperature": math.nan}, "temperature to be 0 or more"),
        ({"temperature": math.inf}, "temperature to be a finite number, got inf"),
        ({"guidance_scale": math.nan}, "guidance_scale to be a finite number, got nan"),
    ],
)
def test_settings_that_make_no_sense(settings: dict[str, Any], says: str) -> None:
    with pytest.raises(InputError, match=says):
        module(MaskedSampling(**settings))


def test_the_likeliest_state_is_for_completion() -> None:
    for order in ("random", "margin"):
        sampling = MaskedSampling(num_steps=2, completion_steps=3, order=order, completion_temperature=0.0)
        model = module(sampling).eval()
        done = [model.complete(generate(0, 0, 2), last_panel_mask(2), torch.Generator().manual_seed(0)) for _ in "ab"]
        assert torch.equal(*done)


def test_cells_are_not_masked_again_for_an_evaluation_that_does_not_come() -> None:
    model = module(MaskedSampling(num_steps=1, completion_steps=1))
    with pytest.raises(InputError, match=r"expected 2 network evaluations or more with remasking 0.2, got 1"):
        model.sample_by({"remasking": 0.2})
    model.sample_by({"remasking": 0.2, "completion_steps": 2})
    model.sample_by({"remasking": 0.2, "completion_steps": None})  # one for each open cell
    unheeded = MaskedSampling(completion_steps=1, remasking=0.2).unheeded("complete")
    assert unheeded["remasking"] == "does not matter to complete, because completion_steps is 1"


@pytest.mark.parametrize("temperature", [0.0, 1e-9])
def test_a_temperature_at_which_nothing_is_drawn_is_refused(temperature: float) -> None:
    with pytest.raises(InputError, match=f"expected a temperature above 0 to generate, got {temperature:g}, which"):
        module(MaskedSampling(temperature=temperature))


def test_the_bound_is_of_generation_in_random_order() -> None:
    model = module(MaskedSampling())
    assert model.likelihood == ("bound", 8)
    model.sample_by({"order": "left_to_right"})
    assert model.likelihood is None
    model.sample_by({"completion_order": "left_to_right"})
    assert model.likelihood == ("bound", 8)


def test_no_puzzle_is_written_and_completed() -> None:
    model, none = module(MaskedSampling()), generate(0, 0, 1)[:0]
    assert model.generate(0).shape == model.complete(none, last_panel_mask(0)).shape == (0, 3, 9, 9)


@pytest.mark.parametrize("make", [lambda: Transformer(width=24, depth=1, num_heads=2), lambda: DiT(width=24, depth=1)])
def test_networks_of_other_methods_are_refused(make: Callable[[], torch.nn.Module]) -> None:
    with pytest.raises(InputError, match="reads masked cells, such as .* got (Transformer|DiT)"):
        DiffusionModule(make(), MaskedDiffusion())


def test_reading_levels_are_shares_of_masked_cells() -> None:
    assert MaskedDiffusion().reading_levels([0.0, 0.5]) == [0.0, 0.5]
    with pytest.raises(InputError, match="fraction of masked cells, from 0 to below 1, got 1"):
        MaskedDiffusion().reading_levels([1.0])
