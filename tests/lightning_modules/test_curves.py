"""What makes training fast leaves its loss curve where it was: 200 seeded steps with it and without.

`python tests/lightning_modules/test_curves.py` prints how far the curves are apart.
"""

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from genraven.diffusion.ddpm import Ddpm
from genraven.diffusion.edm import Edm
from genraven.diffusion.flow import Flow
from genraven.networks import mamba
from genraven.networks.compiling import compile_blocks
from genraven.networks.dit import DiT
from genraven.networks.mamba import Mamba
from genraven.networks.transformer import Transformer
from genraven.networks.unet import Convolution, UNet
from genraven.puzzles.generate import generate
from lightning_modules import AutoregressiveModule, DiffusionModule, PuzzleModule

STEPS, BATCH = 200, 8
MODULES: dict[str, Callable[[], PuzzleModule]] = {
    "gpt2": lambda: AutoregressiveModule(Transformer(width=24, depth=2, num_heads=2, head="joint")),
    "mamba": lambda: AutoregressiveModule(Mamba(width=24, depth=1, state_size=4)),
    "sit": lambda: DiffusionModule(DiT(width=24, depth=2, num_heads=2), Flow()),
    "dit": lambda: DiffusionModule(DiT(width=24, depth=2, num_heads=2, out_channels=6), Ddpm()),
    "edm": lambda: DiffusionModule(UNet(channels=8, multipliers=(1, 2, 2), dropout=0.0), Edm()),
}


def plain_convolution(self: Convolution, x: Tensor, repeats: int = 1) -> Tensor:
    """Every product."""
    x = F.interpolate(x, scale_factor=repeats, mode="nearest") if repeats > 1 else x
    return F.conv2d(x, self.weight, self.bias, padding=1)


def plain_scan(x: Tensor, delta: Tensor, a: Tensor, b: Tensor, c: Tensor, state: Tensor | None = None) -> Any:
    """Position by position."""
    state = torch.zeros_like(a) if state is None else state
    outputs = []
    for t in range(x.shape[1]):
        step = delta[:, t].unsqueeze(1)
        state = (step * a).exp() * state + step * b[:, t].unsqueeze(2) * x[:, t].unsqueeze(1)
        outputs.append((c[:, t].unsqueeze(2) * state).sum(1))
    return torch.stack(outputs, 1), state


def curve(name: str, *, fused: bool = False, compiled: bool = False, bf16: bool = False) -> Tensor:
    """(STEPS,) losses."""
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
    for step in range(STEPS):
        batch = puzzles[step * BATCH % len(puzzles) :][:BATCH]
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            loss = module.losses(batch, None, lambda draw, *shape: draw((BATCH, *shape), generator=generator)).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.detach())
    return torch.stack(losses)


def apart(with_it: Tensor, without: Tensor) -> float:
    """The largest difference, as a share of the first loss."""
    return float((with_it - without).abs().max() / without[0])


def plainly(patch: pytest.MonkeyPatch) -> None:
    """Makes networks as their papers write them."""
    patch.setattr(Convolution, "forward", plain_convolution)
    patch.setattr(mamba, "selective_scan", plain_scan)


SINGLE, HALF = 1e-3, 2e-2
"""Shares of the first loss: what 200 steps make of rounding to 24 bits, and to 8."""
COMPILED = ("gpt2",)
"""The others are compiled by the command above only: each takes minutes."""


@pytest.mark.slow
@pytest.mark.parametrize("name", MODULES)
def test_two_hundred_steps_have_the_same_losses(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    ours, half = curve(name, fused=True, compiled=name in COMPILED), curve(name, fused=True, bf16=True)
    plainly(monkeypatch)
    without = curve(name)
    assert without[-20:].mean() < 0.95 * without[:20].mean()  # there is something to learn
    assert apart(ours, without) < SINGLE
    assert apart(half, without) < HALF


if __name__ == "__main__":
    for known in MODULES:
        alone, fused, compiled = curve(known), curve(known, fused=True), curve(known, compiled=True)
        all_of_it, half = (curve(known, fused=True, compiled=True, bf16=bf16) for bf16 in (False, True))
        with pytest.MonkeyPatch.context() as patched:
            plainly(patched)
            plain = curve(known)
        print(f"{known:6} loss {plain[0]:.3f} to {plain[-1]:.3f}; apart: network {apart(alone, plain):.1e}, fused "
              f"{apart(fused, alone):.1e}, compiled {apart(compiled, alone):.1e}, all {apart(all_of_it, plain):.1e}, "
              f"bf16 {apart(half, plain):.1e}", flush=True)  # fmt: skip
