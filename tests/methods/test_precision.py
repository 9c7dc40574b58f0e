"""Every method trains and samples in bf16, float16 and float64 as in float32: of the same draws."""

import ast
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch.plugins.precision import DoublePrecision, HalfPrecision, Precision
from torch import Tensor

import genraven
from datamodules.batches import Batch
from genraven.methods.any_order import AnyOrder
from genraven.methods.autoregressive import Autoregressive, AutoregressiveSampling
from genraven.methods.block import BlockDiffusion, BlockSampling
from genraven.methods.draws import uniform_draws
from genraven.methods.gaussian import GaussianDiffusion, GaussianSampling
from genraven.methods.gaussian.ddpm import Ddpm
from genraven.methods.gaussian.edm import Edm
from genraven.methods.gaussian.flow import Flow
from genraven.methods.masked import MaskedDiffusion, MaskedSampling
from genraven.metrics.scores import Scores
from genraven.networks.any_order import AnyOrderTransformer
from genraven.networks.bidirectional import BidirectionalTransformer
from genraven.networks.block import BlockTransformer
from genraven.networks.dit import DiT
from genraven.networks.mamba import Mamba
from genraven.networks.relational_ar import RelationalAR
from genraven.networks.relational_masked import RelationalMasked
from genraven.networks.relational_soft import RelationalSoft
from genraven.networks.transformer import Transformer
from genraven.networks.unet import UNet
from genraven.puzzles import layout
from genraven.puzzles.generate import generate
from genraven.puzzles.masks import last_panel_mask
from genraven.trust.confidence import confidence
from lightning_modules import AutoregressiveModule, DiffusionModule, PuzzleModule
from lightning_modules.draws import BatchDraw

torch.set_num_threads(1)
SIZE: dict[str, Any] = {"width": 24, "depth": 1, "num_heads": 2}
RELATIONAL: dict[str, Any] = {"width": 16, "hidden": 16, "writer": 8, "occupancy": 8, "num_heads": 2}
PRECISIONS: list[tuple[Precision, float]] = [  # and how far losses may be from those of float32
    (HalfPrecision("bf16-true"), 0.05),
    (HalfPrecision("16-true"), 0.02),
    (DoublePrecision(), 1e-4),
]


def cells(network: torch.nn.Module, masked_share: float = 0.0, **sampling: Any) -> PuzzleModule:
    return AutoregressiveModule(network, Autoregressive(masked_share, AutoregressiveSampling(**sampling)))


def masked(masked_share: float = 0.0, network: torch.nn.Module | None = None, **sampling: Any) -> PuzzleModule:
    method = MaskedDiffusion(masked_share, MaskedSampling(num_steps=3, completion_steps=3, **sampling))
    return DiffusionModule(network or BidirectionalTransformer(**SIZE), method)


def fields(process: Any, *args: Any, channels: int = 3, shown: bool = False, **sampling: Any) -> PuzzleModule:
    out = channels * (1 + process.learned_variance)
    network: torch.nn.Module = DiT(**SIZE, patch=3, in_channels=channels + shown, out_channels=out)
    if isinstance(process, Edm) and channels == 3:
        network = UNet(channels=4, multipliers=(1, 1, 1), in_channels=channels + shown)
    method = GaussianDiffusion(process, *args, sampling=GaussianSampling(num_steps=3, **sampling))
    return DiffusionModule(network, method)


MODELS: dict[str, Callable[[], PuzzleModule]] = {
    "gpt2": lambda: cells(Transformer(**SIZE), 0.5),
    "gpt2 joint": lambda: cells(Transformer(**SIZE, head="joint")),
    "gpt2 particles": lambda: cells(Transformer(**SIZE), num_particles=2),
    "mamba": lambda: cells(Mamba(width=24, depth=1, state_size=4)),
    "relational": lambda: cells(RelationalAR(**RELATIONAL)),
    "any order": lambda: AutoregressiveModule(AnyOrderTransformer(**SIZE, head="joint"), AnyOrder(0.5, 0.5)),
    "blocks": lambda: DiffusionModule(
        BlockTransformer(**SIZE), BlockDiffusion(9, 0.5, BlockSampling(num_steps=3, completion_steps=3))
    ),
    "mdm": lambda: masked(0.5),
    "mdm relational": lambda: masked(0.5, RelationalMasked(**RELATIONAL)),
    "mdm margin": lambda: masked(order="margin"),
    "mdm remasking": lambda: masked(remasking=0.2),
    "sit": lambda: fields(Flow()),
    "sit logit-normal": lambda: fields(Flow(training_times="logit_normal"), sampler="flow_sde"),
    "sit one-hot": lambda: fields(Flow(), "onehot", 0.5, channels=30, shown=True, sampler="ancestral"),
    "sit relational": lambda: DiffusionModule(
        RelationalSoft(**RELATIONAL), GaussianDiffusion(Flow(), "onehot", 0.5, GaussianSampling(num_steps=3))
    ),
    "edm": lambda: fields(Edm()),
    "edm masks": lambda: fields(Edm(), "numbers", 0.5, shown=True, sampler="dpmpp_2m_sde"),
    "edm one-hot": lambda: fields(Edm(), "onehot", channels=30),
    "ddpm": lambda: fields(Ddpm()),
    "ddpm replacement": lambda: fields(Ddpm(learned_variance=False), num_resamples=2),
    "guidance": lambda: fields(Flow(), completion="guidance"),
    "tds": lambda: fields(Ddpm(), completion="tds", num_particles=2),
}


@dataclass
class Seen:
    """What a model did in one precision."""

    losses: list[float] = field(default_factory=list)
    draws: list[Tensor] = field(default_factory=list)


@contextmanager
def noted(draws: list[Tensor]) -> Iterator[None]:
    """Notes all uniform and normal draws of the block."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("rand", "randn"):
            made = getattr(torch, name)
            patch.setattr(torch, name, lambda *a, made=made, **k: draws.append(made(*a, **k)) or draws[-1])
        for name in ("multinomial", "bernoulli", "randperm", "normal"):
            patch.delattr(torch, name)
        yield


def at_work(make: Callable[[], PuzzleModule], plugin: Precision) -> Seen:
    """Two steps of training, a validation loss, and whatever the model writes and reads."""
    torch.manual_seed(0)
    module, seen, generator = make(), Seen(), torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in module.parameters():  # away from networks that begin as 0
            parameter.add_(0.02 * torch.randn(parameter.shape))
    module = plugin.convert_module(module)  # type: ignore[assignment]
    puzzles, mask = generate(5, 0, 4), torch.zeros(4, 9, 9, dtype=torch.bool)
    mask[:, 3:6, 3:6] = True
    draw = BatchDraw(Batch(puzzles, torch.zeros(4), 0, 0, 4), generator)
    optimizer = torch.optim.SGD(module.parameters(), lr=1e-3)
    with noted(seen.draws):
        for _ in range(2):
            with plugin.train_step_context():
                loss = module.train().losses(puzzles, None, draw).mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            seen.losses.append(loss.item())
        module.eval()
        with plugin.val_step_context(), torch.inference_mode():
            seen.losses += module.losses(puzzles, None, draw).tolist()
            written = [module.generate(4, None, generator), module.complete(puzzles, mask, generator)]
            if module.method.likelihood:
                found = module.log_probability(puzzles, mask, generator)
                nats = module.method.nats_per_cell(module.network, puzzles, None, draw)
                seen.losses += [found.total.mean().item(), found.expected.sum(1).mean().item(), nats.mean().item()]
            if "stability" in module.method.confidences:
                confidence("stability", module, written[1].unsqueeze(1), last_panel_mask(4), generator)
            if module.method.reading_levels(None) != [None]:
                module.probe_forward(puzzles, module.method.reading_levels(None)[0], generator)
    assert all(puzzle.dtype == torch.int8 for puzzle in written)
    assert torch.equal(written[1].masked_fill(mask.unsqueeze(1), 0), puzzles.masked_fill(mask.unsqueeze(1), 0))
    return seen


@pytest.mark.parametrize("name", MODELS)
def test_a_method_trains_and_samples_in_every_precision_of_the_same_draws(name: str) -> None:
    exact = at_work(MODELS[name], Precision())
    assert exact.draws
    for plugin, tolerance in PRECISIONS:
        seen = at_work(MODELS[name], plugin)
        assert all(math.isfinite(loss) for loss in seen.losses)
        assert seen.losses == pytest.approx(exact.losses, rel=tolerance)
        assert len(seen.draws) == len(exact.draws)
        for drawn, expected in zip(seen.draws, exact.draws, strict=True):
            assert drawn.dtype == expected.dtype
            assert torch.equal(drawn, expected)


@contextmanager
def default(dtype: torch.dtype) -> Iterator[None]:
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_fields_are_never_coarser_than_float32(dtype: torch.dtype) -> None:
    puzzles = generate(3, 0, 2)
    for encode, decode in (
        (layout.puzzles_to_fields, layout.fields_to_puzzles), (layout.puzzles_to_onehot, layout.onehot_to_puzzles)
    ):  # fmt: skip
        plain = encode(puzzles)
        with default(dtype):
            assert torch.allclose(encode(puzzles).double(), plain.double(), atol=1e-7)
            assert torch.equal(decode(plain), puzzles)


def test_each_of_many_equally_likely_objects_is_written() -> None:
    """In bf16, too, where torch's own uniform draws have 256 values."""
    network = Transformer(width=6, depth=1, num_heads=1, head="joint").eval()
    with torch.no_grad():
        network.heads[0].weight.zero_()
        network.heads[0].bias.zero_()
    plugin = HalfPrecision("bf16-true")
    plugin.convert_module(network)
    with plugin.val_step_context(), torch.no_grad():
        generator = torch.Generator().manual_seed(0)
        puzzles = Autoregressive().generate(network, 200, None, AutoregressiveSampling(), generator)
    assert layout.tokens_to_states(layout.puzzles_to_tokens(puzzles)).unique().numel() == 701


def test_a_mean_loss_of_many_puzzles_is_kept_in_float32() -> None:
    values = 1 + uniform_draws((50, 100), "cpu", torch.Generator().manual_seed(0))
    with default(torch.bfloat16):
        scores = Scores(())
        for part in values:
            scores.add_losses(part)
        found = scores.compute().values["loss"]
    assert found == pytest.approx(values.mean().item(), rel=1e-5)


def test_no_call_draws_in_the_default_dtype() -> None:
    """But for the first weights of networks, which torch's own layers make in it, too."""
    root, found = Path(genraven.__file__).parents[1], []
    for room in ("genraven", "datamodules", "lightning_modules", "callbacks", "launch"):
        for path in (path for path in (root / room).rglob("*.py") if path.parent.name != "networks"):
            calls = (node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call))
            draws = [call for call in calls if ast.unparse(call.func) in ("torch.rand", "torch.randn", "torch.normal")]
            found += [f"{path}:{draw.lineno}" for draw in draws if "dtype" not in [k.arg for k in draw.keywords]]
    assert not found
