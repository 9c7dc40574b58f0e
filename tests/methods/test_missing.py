"""Unknown cells: whatever stands in them changes no loss by a bit, and none is learned; each family and network."""

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from datamodules.batches import Batch
from genraven.errors import InputError
from genraven.methods.any_order import AnyOrder
from genraven.methods.autoregressive import Autoregressive
from genraven.methods.block import BlockDiffusion
from genraven.methods.gaussian import GaussianDiffusion
from genraven.methods.gaussian.ddpm import Ddpm
from genraven.methods.gaussian.edm import Edm
from genraven.methods.gaussian.flow import Flow
from genraven.methods.gaussian.process import Process
from genraven.methods.gaussian.settings import CodeName
from genraven.methods.masked import MaskedDiffusion
from genraven.methods.method import Method
from genraven.networks.any_order import AnyOrderTransformer
from genraven.networks.bidirectional import BidirectionalTransformer
from genraven.networks.block import BlockTransformer
from genraven.networks.cells import Embedding, Head
from genraven.networks.dit import DiT
from genraven.networks.mamba import Mamba
from genraven.networks.relational_ar import RelationalAR
from genraven.networks.relational_masked import RelationalMasked
from genraven.networks.relational_soft import RelationalSoft
from genraven.networks.transformer import Transformer
from genraven.networks.unet import UNet
from genraven.puzzles import layout
from genraven.puzzles.corrupt import Corruption, missing_cells
from genraven.puzzles.generate import generate
from genraven.puzzles.masks import last_panel_mask
from lightning_modules import AutoregressiveModule, DiffusionModule, PuzzleModule
from lightning_modules.draws import BatchDraw

NUM = 6


def gpt2(embedding: Embedding, head: Head, fraction: float = 0.0, **settings: Any) -> PuzzleModule:
    return AutoregressiveModule(
        Transformer(width=24, depth=2, num_heads=2, embedding=embedding, head=head, **settings),
        Autoregressive(fraction),
    )


def mamba(embedding: Embedding, **settings: Any) -> PuzzleModule:
    return AutoregressiveModule(
        Mamba(width=24, depth=1, state_size=4, embedding=embedding, **settings), Autoregressive()
    )


def masked(fraction: float, **settings: Any) -> PuzzleModule:
    return DiffusionModule(
        BidirectionalTransformer(width=24, depth=2, num_heads=2, **settings), MaskedDiffusion(fraction)
    )


def any_order(left_to_right: float, fraction: float) -> PuzzleModule:
    network = AnyOrderTransformer(width=24, depth=2, num_heads=2, head="joint")
    return AutoregressiveModule(network, AnyOrder(left_to_right, fraction))


def gaussian(
    network: type[DiT | UNet], process: Process, code: CodeName = "numbers", fraction: float = 0.0, **settings: Any
) -> PuzzleModule:
    size = {
        DiT: {"width": 24, "depth": 1, "num_heads": 2},
        UNet: {"channels": 8, "multipliers": (1, 1), "dropout": 0.0},
    }[network]
    channels = 3 if code == "numbers" else 30
    settings |= {"in_channels": channels + bool(fraction), "out_channels": channels * (1 + process.learned_variance)}
    return DiffusionModule(network(**size, **settings), GaussianDiffusion(process, code, fraction))  # type: ignore[arg-type]


RELATIONAL = {"width": 16, "hidden": 24, "writer": 12, "occupancy": 8, "num_heads": 2}


def relational(fraction: float = 0.0, **settings: Any) -> PuzzleModule:
    return AutoregressiveModule(RelationalAR(**RELATIONAL, **settings), Autoregressive(fraction))


def relational_soft(fraction: float = 0.0, **settings: Any) -> PuzzleModule:
    network = RelationalSoft(**RELATIONAL, in_channels=30 + bool(fraction), **settings)
    return DiffusionModule(network, GaussianDiffusion(Flow(), "onehot", fraction))


READING: dict[str, Callable[..., PuzzleModule]] = {
    "gpt2": lambda **s: gpt2("separate", "separate", **s),
    "gpt2 joint": lambda **s: gpt2("joint", "joint", **s),
    "gpt2 with masks": lambda **s: gpt2("joint", "joint", fraction=1.0, **s),
    "mamba": lambda **s: mamba("combined", **s),
    "sit": lambda **s: gaussian(DiT, Flow(), **s),
    "sit patches": lambda **s: gaussian(DiT, Flow(), patch=3, **s),
    "sit with masks": lambda **s: gaussian(DiT, Flow(), fraction=0.5, **s),
    "sit one-hot": lambda **s: gaussian(DiT, Flow(), "onehot", **s),
    "sit one-hot with masks": lambda **s: gaussian(DiT, Flow(), "onehot", fraction=0.5, **s),
    "dit": lambda **s: gaussian(DiT, Ddpm(), **s),
    "edm": lambda **s: gaussian(UNet, Edm(), **s),
    "edm one-hot with masks": lambda **s: gaussian(UNet, Edm(), "onehot", fraction=1.0, **s),
    "relational": lambda **s: relational(one_row=False, **s),
    "relational, a row at a time": relational,
    "relational with masks": lambda **s: relational(fraction=1.0, one_row=False, **s),
    "relational, no carrier": lambda **s: relational(carrier=False, one_row=False, **s),
    "relational soft": relational_soft,
    "relational soft with masks": lambda **s: relational_soft(fraction=0.5, **s),
}
AUTOREGRESSIVE_RELATIONAL = {name for name in READING if name.startswith("relational") and "soft" not in name}
"""Which read how much is unknown of a row, and of a panel's row; soft ones read of each cell how much it says."""
MODELS: dict[str, Callable[[], PuzzleModule]] = {
    **{name: lambda make=make: make(reads_unknown=True) for name, make in READING.items()},  # type: ignore[misc]
    "any order": lambda: any_order(0.0, 0.0),
    "any order within parts": lambda: any_order(0.5, 1.0),
    **{
        f"blocks of {size}": lambda size=size, fraction=fraction: DiffusionModule(  # type: ignore[misc]
            BlockTransformer(width=24, depth=2, num_heads=2), BlockDiffusion(size, fraction)
        )
        for size, fraction in ((1, 0.0), (9, 0.5))
    },
    "mdm": lambda: masked(0.0),
    "mdm within parts": lambda: masked(1.0),
    "relational masked": lambda: DiffusionModule(RelationalMasked(**RELATIONAL), MaskedDiffusion(0.5)),
}


def awake(module: PuzzleModule) -> PuzzleModule:
    """With weights of which none is zero, so that all that is read matters."""
    generator = torch.Generator().manual_seed(0)
    for parameter in module.parameters():
        nn.init.normal_(parameter, std=0.2, generator=generator)
    return module.train()


def with_missing() -> tuple[Tensor, Tensor]:
    """Puzzles, and what is unknown of them: of the first all of the last panel, of the last one everything."""
    puzzles = torch.cat([generate(rule, 0, NUM // 3) for rule in (0, 17, 38)])
    unknown = missing_cells(0, NUM, Corruption(missing=0.3), seed=0, rule=0)
    unknown[0] |= last_panel_mask(1)[0]
    unknown[-1] = True
    assert unknown[:-1].flatten(1).any(1).all()
    return puzzles, unknown


def losses(module: PuzzleModule, puzzles: Tensor, unknown: Tensor | None, *, by_method: bool = True) -> Tensor:
    batch = Batch(puzzles, torch.zeros(NUM, dtype=torch.int64), 0, 0, NUM)
    draw = BatchDraw(batch, torch.Generator().manual_seed(5))
    if by_method:
        return module.method.losses(module.network, puzzles, None, draw, unknown)
    return module.losses(puzzles, None, draw, unknown)


@pytest.mark.parametrize("name", MODELS)
def test_what_stands_in_unknown_cells_changes_no_loss_by_a_bit(name: str) -> None:
    module, (puzzles, unknown) = awake(MODELS[name]()), with_missing()
    hidden = unknown.unsqueeze(1)
    others = torch.where(hidden, generate(5, 100, NUM), puzzles)
    assert not torch.equal(others, puzzles)
    module.zero_grad()
    found = losses(module, puzzles, unknown)
    found.sum().backward()
    gradients = [parameter.grad for parameter in module.parameters()]
    module.zero_grad()
    again = losses(module, others, unknown)
    again.sum().backward()
    assert torch.equal(found, again)
    for before, parameter in zip(gradients, module.parameters(), strict=True):
        assert before is parameter.grad is None or torch.equal(before, parameter.grad)  # type: ignore[arg-type]
    none_of_all = losses(module, puzzles.masked_fill(hidden, 99), unknown, by_method=False)
    assert torch.equal(none_of_all, losses(module, puzzles, unknown, by_method=False))
    for no_value in (-128, 10, 127):  # nor is it an index into anything
        assert torch.equal(found, losses(module, puzzles.masked_fill(hidden, no_value), unknown))
    assert not torch.equal(found, losses(module, puzzles, None))


@pytest.mark.parametrize("name", MODELS)
def test_a_known_cell_changes_the_loss_of_its_puzzle_alone(name: str) -> None:
    module, (puzzles, unknown) = awake(MODELS[name]()), with_missing()
    other = puzzles.clone()
    which, row, column = (~unknown[1:]).nonzero()[40].tolist()
    other[which + 1, :, row, column] = 6 - other[which + 1, 0, row, column].abs()
    changed = losses(module, puzzles, unknown) != losses(module, other, unknown)
    assert changed.tolist() == [i == which + 1 for i in range(NUM)]


@pytest.mark.parametrize("name", MODELS)
def test_nothing_is_learned_of_a_puzzle_of_which_nothing_is_known(name: str) -> None:
    module, (puzzles, unknown) = awake(MODELS[name]()), with_missing()
    found = losses(module, puzzles, unknown)
    assert found.isfinite().all()
    assert (found[:-1] > 0).all()
    assert found[-1] == 0
    found[-1].backward()
    assert all(p.grad is None or not p.grad.any() for p in module.parameters())


@pytest.mark.parametrize("name", READING)
def test_no_mask_means_that_all_is_known(name: str) -> None:
    module, (puzzles, _) = awake(READING[name](reads_unknown=True)), with_missing()
    if "masks" not in name:  # with masks parts of a puzzle count, and are summed in another order
        nowhere = torch.zeros(NUM, 9, 9, dtype=torch.bool)
        torch.testing.assert_close(losses(module, puzzles, nowhere), losses(module, puzzles, None))
    written = module.eval().generate(2, None, torch.Generator().manual_seed(0))
    assert written.shape == (2, 3, 9, 9)
    completed = module.complete(puzzles[:2], last_panel_mask(2), torch.Generator().manual_seed(0))
    assert completed.shape == (2, 3, 9, 9)


@pytest.mark.parametrize("name", READING)
def test_a_network_grows_by_what_it_reads_and_only_then(name: str) -> None:
    plain, off, on = (READING[name](**s).network for s in ({}, {"reads_unknown": False}, {"reads_unknown": True}))
    shapes = [{key: value.shape for key, value in network.state_dict().items()} for network in (plain, off, on)]
    assert shapes[0] == shapes[1]
    grown = {key for key in shapes[2] if shapes[2][key] != shapes[0].get(key)}
    assert len(grown) == (2 if name in AUTOREGRESSIVE_RELATIONAL else 0 if name.startswith("relational soft") else 1)
    assert shapes[0].keys() <= shapes[2].keys()


def test_a_network_of_cells_begins_as_one_that_does_not_read_unknown_ones() -> None:
    for make in (READING["gpt2"], READING["mamba"]):
        states = []
        for reads in (False, True):
            torch.manual_seed(0)
            states.append(make(reads_unknown=reads).network.state_dict())
        assert states[1].pop("unknown").std() < 0.05
        assert all(torch.equal(states[0][key], states[1][key]) for key in states[1])


# The mean is over the known cells -------------------------------------------------------------------------------------


def test_autoregression_counts_known_cells() -> None:
    module, (puzzles, unknown) = awake(gpt2("joint", "joint", reads_unknown=True)), with_missing()
    tokens, missing = layout.puzzles_to_tokens(puzzles), layout.mask_to_tokens(unknown)
    logits = module.network(tokens[:, :-1].long() + 1, unknown=missing[:, :-1])
    nats = -logits.log_softmax(-1).gather(-1, layout.tokens_to_states(tokens).unsqueeze(-1)).squeeze(-1)
    wanted = [of_puzzle[~gap].mean().item() for of_puzzle, gap in zip(nats[:-1], missing[:-1], strict=True)]
    assert losses(module, puzzles, unknown)[:-1].tolist() == pytest.approx(wanted, rel=1e-5)


def test_a_process_counts_known_cells() -> None:
    """At the start the network says zero, so that the loss is the mean of the squared target."""
    module, (puzzles, unknown) = READING["sit"](reads_unknown=True).train(), with_missing()
    batch = Batch(puzzles, torch.zeros(NUM), 0, 0, NUM)
    noise = BatchDraw(batch, torch.Generator().manual_seed(5))(torch.randn, 3, 9, 9)
    errors = (noise - layout.puzzles_to_fields(puzzles)).square().movedim(1, -1)
    wanted = [of_puzzle[~gap].mean().item() for of_puzzle, gap in zip(errors[:-1], unknown[:-1], strict=True)]
    assert losses(module, puzzles, unknown)[:-1].tolist() == pytest.approx(wanted, rel=1e-5)


class Sees(BidirectionalTransformer):
    """All states are as likely; notes what is masked."""

    def forward(self, cells: Tensor, masked: Tensor, *rest: Any) -> Tensor:
        self.masked_cells = masked
        return torch.zeros(*masked.shape, 701)


@pytest.mark.parametrize("fraction", [0.0, 1.0])
def test_masked_diffusion_never_sees_unknown_cells_and_masks_any_number_of_the_known(fraction: float) -> None:
    network, num = Sees(width=24, depth=1, num_heads=2).train(), 800
    unknown = missing_cells(0, num, Corruption(missing=0.4, missing_panels=0.2), seed=0, rule=0)
    unknown[:400] |= last_panel_mask(400)
    puzzles = generate(0, 0, num)
    batch = Batch(puzzles, torch.zeros(num), 0, 0, num)
    draw = BatchDraw(batch, torch.Generator().manual_seed(0))
    found = MaskedDiffusion(fraction).losses(network, puzzles, None, draw, unknown)
    missing = layout.mask_to_tokens(unknown)
    known, predicted = (~missing).sum(1), (network.masked_cells & ~missing).sum(1)
    assert network.masked_cells[missing].all()
    assert found[known > 0].tolist() == pytest.approx([math.log(701)] * int((known > 0).sum()), rel=1e-5)
    assert (predicted <= known).all()
    assert (predicted[known > 0] >= 1).all(), "also where all that was to be masked is unknown"
    if not fraction:
        assert float((predicted / known)[known > 20].mean()) == pytest.approx(0.51, abs=0.04)  # of 1 to all, uniform


# Who cannot -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", READING)
def test_a_network_that_does_not_read_unknown_cells_is_refused(name: str) -> None:
    module = READING[name]()
    with pytest.raises(InputError, match="set model.network.reads_unknown to true") as caught:
        module.method.check_missing(module.network)
    assert "\n" not in str(caught.value)
    module = READING[name](reads_unknown=True)
    module.method.check_missing(module.network)


def test_masked_diffusion_needs_no_input_and_a_method_that_says_nothing_is_refused() -> None:
    module = masked(0.0)
    module.method.check_missing(module.network)
    with pytest.raises(InputError, match="whole puzzles to train MaskedDiffusion on, got a training set with missing"):
        Method.check_missing(module.method, module.network)
