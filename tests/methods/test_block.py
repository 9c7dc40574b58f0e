"""Block diffusion: both ends, and between them against a network that knows the exact conditionals of a few puzzles."""

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
from genraven.methods.block import BlockDiffusion, BlockSampling
from genraven.methods.draws import PlacedGenerator
from genraven.methods.masked import MaskedDiffusion
from genraven.methods.orders import ORDERS
from genraven.networks.bidirectional import BidirectionalTransformer
from genraven.networks.block import BlockTransformer
from genraven.networks.cells import BlockNetwork
from genraven.puzzles import layout
from genraven.puzzles.generate import generate
from genraven.puzzles.masks import last_panel_mask
from genraven.puzzles.spec import TOKENS_PER_PUZZLE
from lightning_modules import DiffusionModule
from lightning_modules.draws import BatchDraw

torch.set_num_threads(1)
PUZZLES = torch.cat([generate(rule, 0, 2, seed=1) for rule in (0, 10)])
CELLS = layout.puzzles_to_tokens(PUZZLES).long() + 1


def draw(num: int, seed: int = 3, start: int = 0, total: int | None = None) -> BatchDraw:
    batch = Batch(torch.zeros(num, 3, 9, 9), torch.zeros(num), 0, start, total or num)
    return BatchDraw(batch, torch.Generator().manual_seed(seed))


def network(**settings: Any) -> BlockTransformer:
    torch.manual_seed(0)
    return BlockTransformer(**{"width": 24, "depth": 2, "num_heads": 2} | settings).eval()


def states(puzzles: Tensor) -> Tensor:
    return layout.tokens_to_states(layout.puzzles_to_tokens(puzzles))


class Known(BlockNetwork):
    """Knows the puzzles of a list, each as likely: its answers are the exact conditionals, in blocks of any size."""

    num_labels = 0

    def __init__(self, puzzles: Tensor = PUZZLES) -> None:
        super().__init__()
        self.known = states(puzzles)

    def _logits(self, known: Tensor, agree: Tensor, fits: Tensor, positions: Tensor | None = None) -> Tensor:
        """Of cells ``known`` (N, n) of a block: from who agrees before it (B, N) and in it (B, N)."""
        weights = (agree & fits).double()
        p = torch.einsum(
            "bn,nlv->blv", weights / weights.sum(1, keepdim=True).clamp(min=1), one_hot(known, 701).double()
        )
        logits = p.log().clamp(min=-50).float()
        return logits if positions is None else logits.gather(1, positions.unsqueeze(-1).expand(-1, -1, 701))

    def forward(self, *inputs: Any) -> Tensor:
        raise NotImplementedError

    def all_blocks(
        self, cells: Tensor, masked: Tensor, labels: Any = None, *, block_size: int, unknown: Any = None
    ) -> Tensor:
        same = layout.tokens_to_states((cells - 1).to(torch.int8)).unsqueeze(1) == self.known  # B, N, L
        fits = (same | masked.unsqueeze(1)).unflatten(2, (-1, block_size)).all(3)
        whole = same.unflatten(2, (-1, block_size)).all(3).long().cumprod(2).bool()
        before = torch.cat([torch.ones_like(whole[..., :1]), whole[..., :-1]], 2)
        parts = self.known.split(block_size, 1)
        return torch.cat([self._logits(part, before[..., i], fits[..., i]) for i, part in enumerate(parts)], 1)

    def new_cache(self, batch_size: int) -> Any:
        return SimpleNamespace(agree=torch.ones(batch_size, len(self.known), dtype=torch.bool), length=0)

    def next_block(self, cells: Tensor, masked: Tensor, labels: Any, positions: Tensor | None, cache: Any) -> Tensor:
        known = self.known[:, cache.length : cache.length + cells.shape[1]]
        read = layout.tokens_to_states((cells - 1).to(torch.int8))
        fits = ((read.unsqueeze(1) == known) | masked.unsqueeze(1)).all(2)
        return self._logits(known, cache.agree, fits, positions)

    def keep(self, cells: Tensor, labels: Any, cache: Any, *, block_size: int) -> None:
        known = self.known[:, cache.length : cache.length + cells.shape[1]]
        cache.agree &= (layout.tokens_to_states((cells - 1).to(torch.int8)).unsqueeze(1) == known).all(2)
        cache.length += cells.shape[1]


# Both ends -------------------------------------------------------------------------------------------------------


def test_one_block_is_masked_diffusion() -> None:
    made, block, whole = network(), BlockDiffusion(81, 0.3), MaskedDiffusion(0.3)
    for mode in (made.train(), made.eval()):
        found, wanted = (method.losses(mode, PUZZLES, None, draw(4)) for method in (block, whole))
        torch.testing.assert_close(found, wanted)
    assert block.likelihood == whole.likelihood == ("bound", 8)
    bounds = [method.nats_per_cell(made, PUZZLES, None, draw(4)) for method in (block, whole)]
    torch.testing.assert_close(*bounds)
    mask, written = last_panel_mask(4), list[Tensor]()
    settings: dict[str, Any] = {"num_steps": 5, "completion_steps": 3, "completion_order": "margin"}
    for method in (block, whole):
        sampling, generator = method.settings(**settings), torch.Generator().manual_seed(0)
        with torch.no_grad():
            written.append(method.generate(made, 3, None, sampling, generator))
            written.append(method.complete(made, PUZZLES, mask, sampling, generator))
    assert torch.equal(written[0], written[2])
    assert torch.equal(written[1], written[3])


def test_blocks_of_a_cell_are_the_likelihood_from_left_to_right_of_the_network_that_reads_masks_in_place() -> None:
    """Against the network that reads whole cells one by one, and each next one as a mask in its place."""
    made, method = network(), BlockDiffusion(1)
    assert method.likelihood == ("exact", 1)
    cache, nats = made.new_cache(4), []
    with torch.no_grad():
        for i in range(TOKENS_PER_PUZZLE):
            masked = torch.ones(4, 1, dtype=torch.bool)
            logits = made.next_block(torch.full_like(CELLS[:, :1], 5), masked, None, None, cache)
            nats.append(-logits[:, 0].log_softmax(1).gather(1, states(PUZZLES)[:, i : i + 1]))
            made.keep(CELLS[:, i : i + 1], None, cache, block_size=1)
        wanted = torch.cat(nats, 1)
        found = method.nats_per_cell(made, PUZZLES, None, draw(4))
        torch.testing.assert_close(found[:, 0], wanted.mean(1))
        assert torch.equal(found[:, 0], method.losses(made, PUZZLES, None, draw(4, seed=9))), "whatever is drawn"
        whole = torch.ones(4, 9, 9, dtype=torch.bool)
        torch.testing.assert_close(method.log_probability(made, PUZZLES[:1], whole[:1], None).cells, -wanted[:1])


# Between them ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("block_size", [3, 27])
def test_all_blocks_at_once_are_read_as_one_after_the_other(block_size: int) -> None:
    made, masked = network(), torch.rand(4, 81, generator=torch.Generator().manual_seed(0)) < 0.5
    with torch.no_grad():
        whole, parts, cache = made.all_blocks(CELLS, masked, block_size=block_size), [], made.new_cache(4)
        made.keep(CELLS[:, :54], None, cache, block_size=block_size)
        for i in range(54, 81, block_size):
            part = slice(i, i + block_size)
            hidden = CELLS[:, part].masked_fill(masked[:, part].unsqueeze(2), 3)
            parts.append(made.next_block(hidden, masked[:, part], None, None, cache))
            made.keep(CELLS[:, part], None, cache, block_size=block_size)
    torch.testing.assert_close(torch.cat(parts, 1), whole[:, 54:], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("block_size", [1, 9, 27])
def test_the_bound_is_the_likelihood_where_the_network_is_exact(block_size: int) -> None:
    """In expectation ln N of N known puzzles; of a panel given the others, that of the puzzles that go on otherwise."""
    method, known = BlockDiffusion(block_size), Known().eval()
    many = PUZZLES.repeat(8, 1, 1, 1)
    draws = torch.stack([method.losses(known, many, None, draw(len(many), seed)) for seed in range(4)])
    error = draws.mean(1).std().item() / math.sqrt(len(draws))
    assert draws.mean().item() == pytest.approx(math.log(4) / TOKENS_PER_PUZZLE, abs=4 * error + 1e-6)
    assert (error < 1e-6) == (block_size == 1)
    twins = PUZZLES.clone()
    twins[1:] = PUZZLES[:1]
    twins[2:, 0, 8, 8] = (twins[2:, 0, 8, 8] + 2) % 6  # another object there
    found = method.log_probability(Known(twins), twins, last_panel_mask(4), torch.Generator().manual_seed(0))
    torch.testing.assert_close(found.total, torch.full((4,), -math.log(2)), rtol=0, atol=1e-4)


@pytest.mark.parametrize("order", ORDERS)
def test_every_order_completes_what_is_determined_and_generates_what_is_known(order: str) -> None:
    sampling, generator = BlockSampling(order=order), torch.Generator().manual_seed(0)
    scattered = torch.rand(4, 9, 9, generator=generator) < 0.5
    scattered[:, :3, :3], scattered[:, 0, 8] = False, True  # the first panel tells the puzzles apart
    for mask in (last_panel_mask(4), scattered):
        blank = PUZZLES.masked_fill(mask.unsqueeze(1), -1)
        assert torch.equal(BlockDiffusion(9).complete(Known(), blank, mask, sampling, generator), PUZZLES)
    made = BlockDiffusion(27).generate(Known(), 3, None, sampling, generator)
    assert (states(made).unsqueeze(1) == states(PUZZLES)).all(2).any(1).all()


def test_as_many_cells_of_each_block_are_masked_as_are_drawn_evenly() -> None:
    class Spy(Known):
        def all_blocks(self, cells: Tensor, masked: Tensor, *rest: Any, **settings: Any) -> Tensor:
            self.masked = masked
            return super().all_blocks(cells, masked, *rest, **settings)

    spy, puzzles = Spy().train(), PUZZLES[:1].expand(90, -1, -1, -1)
    BlockDiffusion(9).losses(spy, puzzles, None, draw(90))
    num = spy.masked.unflatten(1, (9, 9)).sum(2)
    for block in range(9):
        assert num[:, block].bincount(minlength=10)[1:].tolist() == pytest.approx([10] * 9, abs=1)
    assert num.sum(1).float().std() < 3, "blocks of a puzzle take turns"
    BlockDiffusion(9, masked_share=1.0).losses(spy, puzzles, None, draw(90))
    num = spy.masked.unflatten(1, (9, 9)).sum(2)
    last_alone = (num[:, 8] > 0) & (num[:, :8] == 0).all(1)
    assert last_alone.float().mean() == pytest.approx(0.55, abs=0.15)


def test_draws_do_not_depend_on_how_a_batch_is_split() -> None:
    made, method, puzzles = network().train(), BlockDiffusion(9, masked_share=0.5), torch.cat([PUZZLES, PUZZLES])
    whole = method.losses(made, puzzles, None, draw(8))
    halves = [method.losses(made, puzzles[i : i + 4], None, draw(4, start=i, total=8)) for i in (0, 4)]
    torch.testing.assert_close(torch.cat(halves), whole)


@pytest.mark.parametrize("block_size", [3, 9, 27])
def test_what_is_written_does_not_depend_on_the_masks_of_other_puzzles(block_size: int) -> None:
    """In one batch, or each puzzle alone: half of the cells of the last two panels, others in each puzzle."""
    made, method = network(), BlockDiffusion(block_size)
    cells = torch.rand(4, 9, 9, generator=torch.Generator().manual_seed(0))
    mask = torch.zeros(4, 9, 9, dtype=torch.bool)
    mask[:, 6:, 3:] = cells[:, 6:, 3:] < 0.5

    def written(first: int, last: int) -> Tensor:
        generator = PlacedGenerator(lambda kind, number: number, first, last - first, "cpu")
        part = slice(first, last)
        with torch.no_grad():
            return method.complete(made, PUZZLES[part], mask[part], BlockSampling(), generator)

    assert torch.equal(torch.cat([written(i, i + 1) for i in range(4)]), written(0, 4))


def test_the_likelihood_is_that_of_what_is_generated() -> None:
    for size, wanted in ((9, None), (1, ("exact", 1))):
        assert BlockDiffusion(size, sampling=BlockSampling(order="left_to_right")).likelihood == wanted


@pytest.mark.parametrize(
    ("build", "said"),
    [
        (lambda: BlockDiffusion(10), "expected block_size to divide the 81 cells of a puzzle, got 10: take 1, 3, 9"),
        (lambda: BlockDiffusion(0), "expected block_size to divide the 81 cells of a puzzle, got 0"),
        (lambda: BlockDiffusion("9"), "expected block_size to divide the 81 cells of a puzzle, got 9"),  # type: ignore[arg-type]
        (lambda: BlockDiffusion(masked_share="a"), "expected masked_share to be a number, got 'a'"),  # type: ignore[arg-type]
        (lambda: BlockDiffusion(training_spacing="a"), "expected training_spacing to be a number, got 'a'"),  # type: ignore[arg-type]
        (
            lambda: DiffusionModule(network(), BlockDiffusion(9)).sample_by({"order": "panels"}),
            "expected order other than panels for blocks of 9 cells",
        ),
        (
            lambda: BlockDiffusion(1, training_spacing=0.5),
            "expected training_spacing 1 for blocks of one.*got 0.5",
        ),
        (lambda: BlockDiffusion(9, masked_share=2.0), "expected masked_share between 0 and 1, got 2.0"),
        (lambda: BlockSampling(order="outwards"), "expected order to be one of random, left_to_right.*got outwards"),
        (
            lambda: DiffusionModule(network(), BlockDiffusion(9, sampling=BlockSampling(completion_steps=10))),
            "expected completion_steps to be at most 9, one for each cell of a block, got 10",
        ),
        (
            lambda: DiffusionModule(BidirectionalTransformer(width=24, depth=1, num_heads=2), BlockDiffusion()),
            "expected a network that reads a puzzle in blocks.*got BidirectionalTransformer: use it with another",
        ),
        (
            lambda: DiffusionModule(network(), BlockDiffusion(1)).sample_by({"order": "confidence"}),
            "expected no order for blocks of one cell, got confidence",
        ),
        (
            lambda: DiffusionModule(network(), BlockDiffusion(1)).sample_by({"remasking": 0.2}),
            "expected no remasking for blocks of one cell, got 0.2",
        ),
    ],
)
def test_what_cannot_be_is_refused_in_a_line(build: Callable[[], Any], said: str) -> None:
    with pytest.raises(InputError, match=said) as caught:
        build()
    assert "\n" not in str(caught.value)
