"""Autoregression in any order, against a network that knows the exact conditionals of a few puzzles."""

import math
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn.functional import one_hot

from datamodules.batches import Batch
from genraven.errors import InputError
from genraven.methods.any_order import NUM_ORDERS, AnyOrder, AnyOrderSampling
from genraven.methods.autoregressive import Autoregressive
from genraven.methods.orders import ORDERS, Order, known_before, positions_in_order
from genraven.networks.any_order import AnyOrderTransformer
from genraven.networks.cells import AnyOrderNetwork
from genraven.networks.transformer import Transformer
from genraven.puzzles import layout
from genraven.puzzles.generate import generate
from genraven.puzzles.masks import last_panel_mask
from genraven.puzzles.spec import TOKENS_PER_PUZZLE
from lightning_modules import AutoregressiveModule
from lightning_modules.draws import BatchDraw

torch.set_num_threads(1)
PUZZLES = torch.cat([generate(rule, 0, 2, seed=1) for rule in (0, 10)])
WHOLE = torch.ones(4, 9, 9, dtype=torch.bool)


class Known(AnyOrderNetwork):
    """Knows the puzzles of a list, each as likely: its answers are the exact conditionals, in any order."""

    num_labels, head_sizes = 0, (701,)

    def __init__(self, puzzles: Tensor = PUZZLES) -> None:
        super().__init__()
        self.known = states(puzzles)

    def new_cache(self, batch_size: int, order: Tensor | None = None) -> Any:
        return SimpleNamespace(order=order, cells=torch.empty(batch_size, 0, 3, dtype=torch.int64))

    def forward(
        self, cells: Tensor, labels: Any = None, cache: Any = None, *, last_only: bool = False, unknown: Any = None,
        order: Tensor | None = None,
    ) -> Tensor:  # fmt: skip
        if cache is not None:
            order, cells = cache.order, torch.cat([cache.cells, cells], 1)
            cache.cells = cells
        assert order is not None
        ordered = self.known.expand(len(cells), -1, -1).gather(2, order.unsqueeze(1).expand(-1, len(self.known), -1))
        read = layout.tokens_to_states((cells - 1).to(torch.int8))
        agree = (ordered[..., : read.shape[1]] == read.unsqueeze(1)).double().cumprod(2)  # B, N, L
        agree = torch.cat([agree.new_ones(*ordered.shape[:2], 1), agree], 2)
        first = agree.shape[2] - 1 if last_only or cache is not None else 0
        of_next = one_hot(ordered[..., first : agree.shape[2]], 701).double()
        p = torch.einsum("bnl,bnlv->blv", (agree / agree.sum(1, keepdim=True).clamp(min=1))[..., first:], of_next)
        return p.log().clamp(min=-50).float()


def states(puzzles: Tensor) -> Tensor:
    return layout.tokens_to_states(layout.puzzles_to_tokens(puzzles))


def draw(num: int, start: int = 0, total: int | None = None) -> BatchDraw:
    batch = Batch(torch.zeros(num, 3, 9, 9), torch.zeros(num), 0, start, total or num)
    return BatchDraw(batch, torch.Generator().manual_seed(3))


def network(**settings: Any) -> AnyOrderTransformer:
    """With weights of which all matter."""
    torch.manual_seed(0)
    made = AnyOrderTransformer(**{"width": 24, "depth": 2, "num_heads": 2, "head": "joint"} | settings)
    for parameter in made.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    return made


@pytest.mark.parametrize("order", known_before())
def test_the_likelihood_is_that_of_enumeration_in_every_order(order: str) -> None:
    """Of N known puzzles, as likely, ln N; of a panel given the others, ln of how many of these go on otherwise."""
    method, known = AnyOrder(sampling=AnyOrderSampling(order=order)), Known().eval()
    assert method.likelihood == (("exact", 1) if order == "left_to_right" else ("bound", 8))
    nats = method.nats_per_cell(known, PUZZLES, None, draw(4))
    assert nats.shape == (4, method.likelihood[1])
    torch.testing.assert_close(nats, torch.full_like(nats, math.log(4) / TOKENS_PER_PUZZLE))
    torch.testing.assert_close(method.losses(known, PUZZLES, None, draw(4)), nats[:, 0])
    twins = PUZZLES.clone()
    twins[1:] = PUZZLES[:1]
    open_cells = torch.zeros(4, 9, 9, dtype=torch.bool)
    open_cells[:, 3, 4] = open_cells[:, 5, 0] = True
    twins[2:, 0, 3, 4] = (twins[2:, 0, 3, 4] + 1) % 6  # another object there
    found = method.log_probability(Known(twins).eval(), twins, open_cells, torch.Generator().manual_seed(0))
    torch.testing.assert_close(found.total, torch.full((4,), -math.log(2)), atol=1e-4, rtol=0)
    torch.testing.assert_close(found.expected.sum(1), torch.full((4,), -math.log(2)), atol=1e-4, rtol=0)


@pytest.mark.parametrize("order", known_before())
def test_every_order_completes_what_is_determined_and_generates_what_is_known(order: str) -> None:
    method, known = AnyOrder(), Known()
    sampling, generator = AnyOrderSampling(completion_order=order), torch.Generator().manual_seed(0)
    scattered = torch.rand(4, 9, 9, generator=generator) < 0.5
    scattered[:, 8, 8], scattered[:, 0, 0] = False, True  # with given cells after open ones
    for mask in (last_panel_mask(4), scattered):
        blank = PUZZLES.masked_fill(mask.unsqueeze(1), -1)
        assert torch.equal(method.complete(known, blank, mask, sampling, generator), PUZZLES)
    made = method.generate(known, 8, None, AnyOrderSampling(order), generator)
    assert (states(made).unsqueeze(1) == states(PUZZLES)).all(2).any(1).all()


def test_cells_are_read_with_a_cache_as_they_are_without() -> None:
    """Each is told where it stands and where it writes, and nothing that comes later in the order matters."""
    made, puzzles = network().eval(), PUZZLES[:2]
    order = positions_in_order("random", torch.rand(2, 81, generator=torch.Generator().manual_seed(0)))
    cells = layout.puzzles_to_tokens(puzzles).long().add(1).gather(1, order.unsqueeze(2).expand(-1, -1, 3))
    with torch.no_grad():
        whole, cache = made(cells[:, :-1], order=order), made.new_cache(2, order)
        parts = [made(cells[:, :30], None, cache)] + [made(cells[:, i : i + 1], None, cache) for i in range(30, 80)]
        torch.testing.assert_close(torch.cat(parts, 1), whole, atol=1e-4, rtol=1e-4)
        other = cells.clone()
        other[:, 40:] = cells[:, 40:].flip(0)
        torch.testing.assert_close(made(other[:, :-1], order=order)[:, :41], whole[:, :41], atol=1e-4, rtol=1e-4)
        turned = order.clone()
        turned[:, 50:] = order[:, 50:].flip(1)
        changed = (made(cells[:, :-1], order=turned) - whole).abs().amax((0, 2)) > 1e-3
        assert changed.tolist() == [False] * 50 + [True] * 31


def test_left_to_right_it_is_the_autoregressive_model() -> None:
    for made in (network(), network(head="separate")):
        forwards = AnyOrder(1.0, sampling=AnyOrderSampling("left_to_right"))
        for mode in (made.train(), made.eval()):
            plain = Autoregressive().losses(mode, PUZZLES, None, draw(4))
            assert torch.equal(forwards.losses(mode, PUZZLES, None, draw(4)), plain)
        wanted = Autoregressive().nats_per_cell(made, PUZZLES, None, draw(4))
        torch.testing.assert_close(forwards.nats_per_cell(made, PUZZLES, None, draw(4)), wanted)


class Spy(AnyOrderTransformer):
    """Notes the orders that it is asked for."""

    def forward(self, *args: Any, **settings: Any) -> Tensor:
        self.order = settings["order"]
        return super().forward(*args, **settings)


def test_a_share_is_read_left_to_right_and_of_masked_puzzles_the_given_cells_come_first() -> None:
    spy = Spy(width=24, depth=1, num_heads=2).train()
    AnyOrder(left_to_right=0.25).losses(spy, PUZZLES[:1].expand(200, -1, -1, -1), None, draw(200))
    assert torch.equal(spy.order.sort(1).values, torch.arange(81).expand(200, -1))
    assert (spy.order == torch.arange(81)).all(1).float().mean() == pytest.approx(0.25, abs=0.1)
    AnyOrder(left_to_right=1.0, masked_share=1.0).losses(spy, PUZZLES[:1].expand(200, -1, -1, -1), None, draw(200))
    falls = (spy.order.diff(dim=1) < 0).sum(1)
    assert (falls <= 1).all()
    assert (falls == 0).float().mean() == pytest.approx(0.5, abs=0.1), "half open the last panel"


def test_draws_do_not_depend_on_how_a_batch_is_split() -> None:
    made, method = network().train(), AnyOrder(left_to_right=0.3, masked_share=0.5)
    puzzles = torch.cat([PUZZLES, PUZZLES])
    whole = method.losses(made, puzzles, None, draw(8))
    halves = [method.losses(made, puzzles[i : i + 4], None, draw(4, i, 8)) for i in (0, 4)]
    torch.testing.assert_close(torch.cat(halves), whole)


@pytest.mark.parametrize(
    ("build", "said"),
    [
        (lambda: AnyOrder(1.5), "expected left_to_right between 0 and 1, got 1.5"),
        (lambda: AnyOrder(masked_share=-1.0), "expected masked_share between 0 and 1, got -1.0"),
        (
            lambda: AutoregressiveModule(network(), AnyOrder(1.0)),
            "expected order to be left_to_right for a model that is trained in that order alone, got random",
        ),
        (
            lambda: AutoregressiveModule(
                network(), AnyOrder(1.0, sampling=AnyOrderSampling("left_to_right", completion_order="panels"))
            ),
            "expected completion_order to be left_to_right for a model .* got panels",
        ),
        (lambda: AnyOrderSampling("outwards"), "expected order to be one of random, left_to_right.*got outwards"),
        (
            lambda: AutoregressiveModule(network(), AnyOrder(sampling=AnyOrderSampling("entropy"))),
            "expected order to be one of random, left_to_right, panels for autoregression.*got entropy, which needs",
        ),
        (
            lambda: AutoregressiveModule(network(), AnyOrder()).sample_by({"completion_order": "margin"}),
            "expected completion_order to be one of random, left_to_right, panels for autoregression.*got margin",
        ),
        (
            lambda: AutoregressiveModule(Transformer(width=24, depth=1, num_heads=2), AnyOrder()),
            "expected a network that reads where it writes next.*got Transformer: use it with another method",
        ),
    ],
)
def test_what_cannot_be_followed_is_refused_in_a_line(build: Callable[[], Any], said: str) -> None:
    with pytest.raises(InputError, match=said) as caught:
        build()
    assert "\n" not in str(caught.value)


def test_panels_come_one_after_the_other_in_the_order_of_panels() -> None:
    order = positions_in_order("panels", torch.rand(5, 81, generator=torch.Generator().manual_seed(0)))
    assert torch.equal(order // 9, torch.arange(81).div(9, rounding_mode="floor").expand(5, -1))
    assert len(order.unique(dim=0)) == 5
    assert [name for name, entry in ORDERS.items() if entry.is_fixed] == ["left_to_right"]
    places = torch.arange(81).expand(1, -1)
    one_of_two = Order(before=lambda uniform: torch.where(uniform[:, :1] < 0.5, -places, places))
    seldom_other = Order(before=lambda uniform: torch.where(uniform[:, :1] < 0.99, -places, places))
    assert not one_of_two.is_fixed
    assert not seldom_other.is_fixed


def spied(monkeypatch: pytest.MonkeyPatch, **sampling: Any) -> tuple[AutoregressiveModule, list[Tensor]]:
    """A model, and the orders in which its network reads."""
    module, read = AutoregressiveModule(network(), AnyOrder(sampling=AnyOrderSampling(**sampling))).eval(), []
    forward = module.network.forward

    def reading(*args: Any, order: Tensor, **rest: Any) -> Any:
        read.extend(order)
        return forward(*args, order=order, **rest)

    monkeypatch.setattr(module.network, "forward", reading)
    return module, read


FORWARDS = torch.arange(TOKENS_PER_PUZZLE)


def test_a_network_that_never_reads_missing_cells_is_not_to_be_told_to() -> None:
    with pytest.raises(InputError, match=r"got AnyOrderTransformer, which never does: use another network, or set"):
        AutoregressiveModule(network(), Autoregressive(input_masking=0.15))


def test_a_model_of_left_to_right_alone_reads_in_no_other_order(monkeypatch: pytest.MonkeyPatch) -> None:
    """Given cells stay in their places: those after an open one are not read for it, and it says so."""
    settings = AnyOrderSampling("left_to_right")
    forwards, other = AnyOrder(1.0, sampling=settings), AnyOrder(0.5, sampling=settings)
    made, middle = network(), torch.zeros(4, 9, 9, dtype=torch.bool)
    middle[:, 3:6, 3:6] = True
    read = list[Tensor]()

    def decode(network: Any, tokens: Tensor, *args: Any, order: Tensor, **settings: Any) -> Tensor:
        read.append(order)
        return tokens

    monkeypatch.setattr("genraven.methods.decoding.decode", decode)
    for method in (forwards, other):
        done = method.complete(made, PUZZLES, middle, settings, torch.Generator().manual_seed(0))
        assert torch.equal(done, PUZZLES)
    assert torch.equal(read[0], FORWARDS.expand(4, -1))
    assert not torch.equal(read[1], read[0])
    assert [bool(method.leaves_unread(made, middle, settings).all()) for method in (forwards, other)] == [True, False]
    assert not forwards.leaves_unread(made, last_panel_mask(4), settings).any()
    assert ["stability" in method.confidences for method in (forwards, other)] == [False, True]
    assert "stability" in AnyOrder(1.0, masked_share=0.5, sampling=settings).confidences


def test_what_a_model_of_left_to_right_completes_is_as_likely_as_it_is_read() -> None:
    """Its own completions of the middle panel, read again, are likely as they were drawn: in token order."""
    method = AnyOrder(1.0, sampling=AnyOrderSampling("left_to_right", temperature=0.0))
    made, middle = network(), torch.zeros(4, 9, 9, dtype=torch.bool)
    middle[:, 3:6, 3:6] = True
    with torch.no_grad():
        done = method.complete(made, PUZZLES, middle, method.sampling, torch.Generator().manual_seed(0))  # type: ignore[arg-type]
        again = method.complete(made, done, middle, method.sampling, torch.Generator().manual_seed(1))  # type: ignore[arg-type]
        found = method.log_probability(made, done, middle, torch.Generator().manual_seed(0)).cells
        whole = method.log_probability(made, done, WHOLE, torch.Generator().manual_seed(0)).cells
    assert torch.equal(done, again)
    written = layout.mask_to_tokens(middle)
    torch.testing.assert_close(found[written], whole[written])


@pytest.mark.parametrize("asked", [{"order": "left_to_right"}, {"completion_order": "left_to_right"}])
def test_what_is_how_likely_is_asked_in_the_order_that_is_sampled(
    asked: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    module, read = spied(monkeypatch, order="random")
    assert module.likelihood == ("bound", NUM_ORDERS)
    module.sample_by(asked)
    assert module.likelihood == (("exact", 1) if "order" in asked else ("bound", NUM_ORDERS))
    module.log_probability(PUZZLES, last_panel_mask(4), torch.Generator().manual_seed(0))
    assert all(torch.equal(order, FORWARDS) for order in read)
    module.sample_by({})
    assert module.likelihood == ("bound", NUM_ORDERS)


@pytest.mark.parametrize(("order", "completion_order"), [("left_to_right", "random"), ("random", "left_to_right")])
def test_a_whole_puzzle_is_as_likely_as_it_is_generated(
    order: str, completion_order: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also beside one that is completed."""
    module, read = spied(monkeypatch, order=order, completion_order=completion_order)
    mask = torch.cat([WHOLE[:2], last_panel_mask(2)])
    found = module.log_probability(PUZZLES, mask, torch.Generator().manual_seed(0))
    whole, completed = ([read[i + j] for i in range(0, len(read), 4) for j in part] for part in ((0, 1), (2, 3)))
    assert all(torch.equal(one, FORWARDS) for one in whole) == (order == "left_to_right")
    assert all(torch.equal(one, FORWARDS) for one in completed) == (order == "random")
    if order == "left_to_right":
        nats = AnyOrder(sampling=AnyOrderSampling(order)).nats_per_cell(module.network, PUZZLES[:2], None, draw(2))
        torch.testing.assert_close(found.total[:2], -TOKENS_PER_PUZZLE * nats[:, 0])


def test_an_order_that_no_draw_changes_has_an_exact_likelihood(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody has to say that it is one; a config is also tried without memory for weights."""
    backwards = Order(before=lambda uniform: torch.arange(uniform.shape[1], device=uniform.device).expand_as(uniform))
    monkeypatch.setitem(ORDERS, "backwards", backwards)
    with torch.device("meta"):
        found = {name: AnyOrder(sampling=AnyOrderSampling(order=name)).likelihood for name in known_before()}
    assert found == {
        "random": ("bound", NUM_ORDERS), "left_to_right": ("exact", 1), "panels": ("bound", NUM_ORDERS),
        "backwards": ("exact", 1),
    }  # fmt: skip
