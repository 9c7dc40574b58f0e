"""What stands in the cells that are to be written is not read: not even values that no cell can have."""

from collections.abc import Callable
from typing import Any

import pytest
import torch

from genraven.methods.any_order import AnyOrder
from genraven.methods.autoregressive import Autoregressive, AutoregressiveSampling
from genraven.methods.block import BlockDiffusion
from genraven.methods.gaussian import GaussianDiffusion, GaussianSampling
from genraven.methods.gaussian.edm import Edm
from genraven.methods.gaussian.flow import Flow
from genraven.methods.gaussian.process import Process
from genraven.methods.masked import MaskedDiffusion, MaskedSampling
from genraven.networks.any_order import AnyOrderTransformer
from genraven.networks.bidirectional import BidirectionalTransformer
from genraven.networks.block import BlockTransformer
from genraven.networks.cells import NextCellNetwork
from genraven.networks.dit import DiT
from genraven.networks.mamba import Mamba
from genraven.networks.relational_ar import RelationalAR
from genraven.networks.relational_masked import RelationalMasked
from genraven.networks.transformer import Transformer
from genraven.puzzles.generate import generate
from lightning_modules import AutoregressiveModule, DiffusionModule, PuzzleModule

torch.set_num_threads(1)
RELATIONAL: dict[str, Any] = {"width": 16, "hidden": 16, "writer": 8, "occupancy": 8, "num_heads": 2}
NO_VALUES = (3, 10, 99, 127, -128)


def cells(network: NextCellNetwork, **sampling: Any) -> PuzzleModule:
    return AutoregressiveModule(network, Autoregressive(sampling=AutoregressiveSampling(**sampling)))


def gpt2(**settings: Any) -> Transformer:
    return Transformer(width=24, depth=1, num_heads=2, **settings)


def masked(network: torch.nn.Module | None = None, **sampling: Any) -> PuzzleModule:
    network = network or BidirectionalTransformer(width=24, depth=1, num_heads=2)
    return DiffusionModule(network, MaskedDiffusion(sampling=MaskedSampling(completion_steps=3, **sampling)))


def fields(process: Process, channels: int, fraction: float = 0.0, **sampling: Any) -> PuzzleModule:
    settings = GaussianSampling(num_steps=2, **sampling)
    method = GaussianDiffusion(process, "numbers" if channels == 3 else "onehot", fraction, settings)
    network = DiT(width=24, depth=1, num_heads=2, in_channels=channels + bool(fraction), out_channels=channels)
    return DiffusionModule(network, method)


MODELS: dict[str, Callable[[], PuzzleModule]] = {
    "gpt2": lambda: cells(gpt2()),
    "gpt2 particles": lambda: cells(gpt2(), num_particles=2),
    "gpt2 joint": lambda: cells(gpt2(head="joint", embedding="joint")),
    "gpt2 joint particles": lambda: cells(gpt2(head="joint"), num_particles=2),
    "mamba particles": lambda: cells(Mamba(width=24, depth=1, state_size=4), num_particles=2),
    "relational": lambda: cells(RelationalAR(**RELATIONAL)),
    "relational particles": lambda: cells(RelationalAR(**RELATIONAL), num_particles=2),
    "any order": lambda: AutoregressiveModule(AnyOrderTransformer(width=24, depth=1, num_heads=2), AnyOrder()),
    "blocks": lambda: DiffusionModule(BlockTransformer(width=24, depth=1, num_heads=2), BlockDiffusion(27)),
    "mdm": lambda: masked(),
    "mdm relational": lambda: masked(RelationalMasked(**RELATIONAL)),
    "mdm margin": lambda: masked(order="margin"),
    "mdm remasking": lambda: masked(remasking=0.3),
    "sit": lambda: fields(Flow(), 3),
    "sit guidance": lambda: fields(Flow(), 3, completion="guidance"),
    "sit tds": lambda: fields(Flow(), 3, completion="tds", num_particles=2),
    "sit masks": lambda: fields(Flow(), 3, 0.5),
    "sit one-hot": lambda: fields(Flow(), 30),
    "sit one-hot tds": lambda: fields(Flow(), 30, completion="tds", num_particles=2),
    "edm one-hot masks": lambda: fields(Edm(), 30, 0.5),
}


@pytest.mark.parametrize("name", MODELS)
def test_any_value_may_stand_under_the_mask(name: str) -> None:
    torch.manual_seed(0)
    module = MODELS[name]().eval()
    puzzles, mask = generate(3, 0, 2), torch.zeros(2, 9, 9, dtype=torch.bool)
    mask[:, 3:6, 3:6] = True  # with given cells after it
    for complete in (
        lambda puzzles: module.complete(puzzles, mask, torch.Generator().manual_seed(0)),
        lambda puzzles: module.method.complete(
            module.network, puzzles, mask, module.sampling, torch.Generator().manual_seed(0)
        ),
    ):
        with torch.no_grad():
            written = complete(puzzles)
            for value in NO_VALUES:
                assert torch.equal(complete(puzzles.masked_fill(mask.unsqueeze(1), value)), written)
    assert torch.equal(written.masked_fill(mask.unsqueeze(1), 0), puzzles.masked_fill(mask.unsqueeze(1), 0))


@pytest.mark.parametrize("name", MODELS)
def test_given_cells_that_are_not_read_are_told(name: str) -> None:
    torch.manual_seed(0)
    module, puzzles = MODELS[name]().eval(), generate(3, 0, 2)
    mask = torch.zeros(2, 9, 9, dtype=torch.bool)
    mask[:, :6, :3] = True  # the first panels of two rows
    last = torch.zeros_like(mask)
    last[:, 6:, 6:] = True
    unread = module.method.leaves_unread(module.network, mask, module.sampling)
    assert unread.tolist() == [name in ("gpt2", "gpt2 joint", "relational", "blocks")] * 2
    assert not module.method.leaves_unread(module.network, last, module.sampling).any()
    if unread.all():
        changed = puzzles.clone()
        changed[..., 3:6, 3:] = puzzles.flip(0)[..., 3:6, 3:]
        with torch.no_grad():
            written, others = (
                module.complete(given, mask, torch.Generator().manual_seed(0)) for given in (puzzles, changed)
            )
        assert torch.equal(written[..., :3, :3], others[..., :3, :3])
