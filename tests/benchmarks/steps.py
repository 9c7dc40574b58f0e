"""Puzzles, draws and steps of training that benchmarks share."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from harness import DEVICE
from torch import Tensor, nn

from genraven.puzzles.generate import generate
from genraven.puzzles.spec import NUM_RULES

Loss = Callable[[], Tensor]


def puzzles_of(num: int) -> Tensor:
    """(num, 3, 9, 9) puzzles of all rules."""
    puzzles = torch.cat([generate(rule, 0, -(-num // NUM_RULES)) for rule in range(NUM_RULES)])[:num]
    return puzzles.contiguous().to(DEVICE)


def step(module: nn.Module, loss: Loss, num: int, *, fused: bool, precision: str = "32-true") -> Callable[[], float]:
    """Steps of AdamW on ``num`` puzzles each, as a run with that ``trainer.precision`` takes them.

    A GPU takes several before it is waited for, as in a run; on a CPU one is long enough to time.
    """
    module.to(DEVICE)
    optimizer = torch.optim.AdamW(module.parameters(), lr=1e-4, fused=fused or None)
    num_steps = 20 if DEVICE.type == "cuda" else 1

    def work() -> float:
        for _ in range(num_steps):
            with torch.autocast(DEVICE.type, torch.bfloat16, enabled=precision == "bf16-mixed"):
                value = loss()
            value.backward()
            optimizer.step()
            optimizer.zero_grad()
        return num_steps * num

    return work


@dataclass(frozen=True)
class Draws:
    """Noise, times and masks of a whole batch."""

    num: int
    device: torch.device = DEVICE

    def __call__(self, distribution: Callable[..., Tensor], *shape: int) -> Tensor:
        """(num, *shape) draws."""
        return distribution((self.num, *shape), device=self.device)

    def spread(self) -> Tensor:
        """(num,) draws, one in each of as many equal parts."""
        return (torch.arange(self.num, device=self.device) + self(torch.rand)) / self.num
