"""Relational networks against plain transformers of equal FLOPs a puzzle: a step of training, and generation.

The presets `relational_ar_tiny` and `relational_mdm_tiny`, eager on a CPU and compiled on a GPU, each in the precision
that suits the machine. The peers are our own transformers, in the same precision and compiled alike.
"""

from collections.abc import Callable, Iterator
from typing import Any

import torch
from harness import DEVICE, Row
from steps import Draws, puzzles_of, step
from torch import nn

from genraven.flops import count_flops
from genraven.methods.masked import MaskedDiffusion
from genraven.networks.bidirectional import BidirectionalTransformer
from genraven.networks.compiling import compile_blocks
from genraven.networks.relational_ar import RelationalAR
from genraven.networks.relational_masked import RelationalMasked
from genraven.networks.transformer import Transformer
from launch.trained.precision import default_precision
from lightning_modules import AutoregressiveModule, DiffusionModule, PuzzleModule

SIZE = {"width": 96, "hidden": 256, "writer": 64, "occupancy": 32, "mixing": 1, "num_heads": 4}
BATCH = 256
NUM = 4096 if DEVICE.type == "cuda" else 512


def training_flops(network: nn.Module) -> int:
    """Of one puzzle."""
    found = count_flops(network)
    assert found is not None
    return found.training


def of_equal_flops(network: nn.Module, transformer: Callable[[int], nn.Module]) -> nn.Module:
    """The transformer, by its width, that costs most like ``network``."""
    goal = training_flops(network)
    return min(map(transformer, range(24, 241, 3)), key=lambda one: abs(training_flops(one) - goal))


def ready(module: PuzzleModule) -> PuzzleModule:
    """On this machine's device, compiled if that is a GPU."""
    module.to(DEVICE)
    if DEVICE.type == "cuda":
        compile_blocks(module.network)
    return module


def autoregressive(network: nn.Module) -> PuzzleModule:
    """A module of a causal network."""
    return ready(AutoregressiveModule(network))


def masked(network: nn.Module) -> PuzzleModule:
    """A module of a network that reads masks, and fills cells one by one."""
    module = ready(DiffusionModule(network, MaskedDiffusion()))
    module.sample_by({"num_steps": 81})
    return module


def gpt2(width: int) -> nn.Module:
    """Three layers and a joint head, as `gpt2_tiny`."""
    return Transformer(width=width, depth=3, num_heads=3, head="joint")


def mdm(width: int) -> nn.Module:
    """Three layers, as `mdm_tiny`."""
    return BidirectionalTransformer(width=width, depth=3, num_heads=3)


FAMILIES: dict[str, tuple[Callable[[], nn.Module], Callable[[int], nn.Module], Callable[[nn.Module], PuzzleModule]]] = {
    "relational_ar_tiny": (lambda: RelationalAR(**SIZE), gpt2, autoregressive),
    "relational_mdm_tiny": (lambda: RelationalMasked(**SIZE), mdm, masked),
}


def train(module: PuzzleModule, precision: str) -> Callable[[], float]:
    """Steps of training on the same puzzles."""
    puzzles = puzzles_of(BATCH)
    return step(module, lambda: module.losses(puzzles, None, Draws(BATCH)).mean(), BATCH, fused=True,
                precision=precision)  # fmt: skip


def generate(module: PuzzleModule, precision: str) -> Callable[[], float]:
    """Puzzles from nothing."""

    def work() -> float:
        with torch.autocast(DEVICE.type, torch.bfloat16, enabled=precision == "bf16-mixed"):
            return len(module.eval().generate(NUM))

    return work


def rows(rounds: int) -> Iterator[Row]:
    """Both families, training and generation."""
    precision = default_precision("auto")
    for name, (relational, transformer, module_of) in FAMILIES.items():
        network = relational()
        peer: Any = of_equal_flops(network, transformer)
        against = f"transformer of width {peer.width}, equal training FLOPs"
        ours, theirs = module_of(network), module_of(peer)
        yield Row(f"{name}, step of {BATCH}, {precision}", "puzzles/s", train(ours, precision),
                  train(theirs, precision), against, None, rounds)  # fmt: skip
        yield Row(f"{name}, {NUM} puzzles generated, {precision}", "puzzles/s", generate(ours, precision),
                  generate(theirs, precision), against, None, rounds)  # fmt: skip
