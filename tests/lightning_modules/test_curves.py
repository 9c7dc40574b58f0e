"""What makes training fast leaves its loss curve where it was: seeded steps with it and without.

`python tests/lightning_modules/test_curves.py` prints how far the curves of 200 steps are apart.
"""

import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
import torch
from torch import Tensor

sys.path.insert(0, str(Path(__file__).parents[1] / "networks"))
import plain

from genraven.methods.gaussian import GaussianDiffusion
from genraven.methods.gaussian.ddpm import Ddpm
from genraven.methods.gaussian.edm import Edm
from genraven.methods.gaussian.flow import Flow
from genraven.networks import mamba
from genraven.networks.compiling import compile_blocks
from genraven.networks.convolution import Convolution
from genraven.networks.dit import DiT
from genraven.networks.mamba import Mamba
from genraven.networks.transformer import Transformer
from genraven.networks.unet import UNet
from genraven.puzzles.generate import generate
from lightning_modules import AutoregressiveModule, DiffusionModule, PuzzleModule

STEPS, BATCH = 100, 8
MODULES: dict[str, Callable[[], PuzzleModule]] = {
    "gpt2": lambda: AutoregressiveModule(Transformer(width=24, depth=2, num_heads=2, head="joint")),
    "mamba": lambda: AutoregressiveModule(Mamba(width=24, depth=1, state_size=4)),
    "sit": lambda: DiffusionModule(DiT(width=24, depth=2, num_heads=2), GaussianDiffusion(Flow())),
    "dit": lambda: DiffusionModule(DiT(width=24, depth=2, num_heads=2, out_channels=6), GaussianDiffusion(Ddpm())),
    "edm": lambda: DiffusionModule(UNet(channels=8, multipliers=(1, 2, 2), dropout=0.0), GaussianDiffusion(Edm())),
}


def curve(name: str, *, fused: bool = False, compiled: bool = False, bf16: bool = False, steps: int = STEPS) -> Tensor:
    """(steps,) losses."""
    torch.manual_seed(0)
    puzzles = torch.cat([generate(rule, 0, BATCH) for rule in range(40)])
    puzzles = puzzles[torch.randperm(len(puzzles))]
    module = MODULES[name]()
    if compiled:
        torch._dynamo.reset()
        compile_blocks(module.network)
    # A larger eps than the recipes': else the first steps take the sign of gradients that are zero but for rounding.
    optimizer = torch.optim.AdamW(module.parameters(), lr=1e-3, eps=1e-5, fused=fused, foreach=False)
    generator = torch.Generator().manual_seed(1)
    losses = []
    for step in range(steps):
        batch = puzzles[step * BATCH % len(puzzles) :][:BATCH]
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            loss = module.losses(batch, None, lambda draw, *shape: draw((BATCH, *shape), generator=generator)).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.detach())
    return torch.stack(losses)


def apart(with_it: Tensor, without: Tensor) -> float:
    """The largest difference, as a fraction of the first loss."""
    return float((with_it - without).abs().max() / without[0])


def plainly(patch: pytest.MonkeyPatch) -> None:
    """Makes networks as their papers write them."""
    patch.setattr(Convolution, "forward", plain.convolution)
    patch.setattr(mamba, "selective_scan", plain.recurrence)


SINGLE, HALF = 1e-3, 3e-2  # the latter was 0.003 to 0.022 over four seeds of sit
"""Fractions of the first loss: what steps make of rounding to 24 bits, and to 8."""
COMPILED = ("gpt2",)
"""The others are compiled by the command above only: each takes minutes."""


@pytest.mark.slow
@pytest.mark.parametrize("name", MODULES)
def test_steps_have_the_same_losses(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    ours, half = curve(name, fused=True, compiled=name in COMPILED), curve(name, fused=True, bf16=True)
    plainly(monkeypatch)
    without = curve(name)
    assert without[-20:].mean() < 0.97 * without[:20].mean()  # there is something to learn
    assert apart(ours, without) < SINGLE
    assert apart(half, without) < HALF


if __name__ == "__main__":
    for known in MODULES:
        of = partial(curve, known, steps=200)
        alone, fused, compiled = of(), of(fused=True), of(compiled=True)
        all_of_it, half = (of(fused=True, compiled=True, bf16=bf16) for bf16 in (False, True))
        with pytest.MonkeyPatch.context() as patched:
            plainly(patched)
            written = of()
        print(f"{known:6} loss {written[0]:.3f} to {written[-1]:.3f}; apart: network {apart(alone, written):.1e}, "
              f"fused {apart(fused, alone):.1e}, compiled {apart(compiled, alone):.1e}, all "
              f"{apart(all_of_it, written):.1e}, bf16 {apart(half, written):.1e}", flush=True)  # fmt: skip
