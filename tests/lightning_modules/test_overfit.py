"""Each family of networks, tiny, learns 64 puzzles by heart: the loss falls to its floor and they come back.

The floor is known. An autoregressive model needs ln(64) nats to say which puzzle it writes. A diffusion model cannot
know its noise: the best denoiser of 64 pictures is their mean, each weighted by how likely it gave the noisy one.

Up to an hour or two each, so not of `make test`: `make overfit`. The README says how far each has come.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from genraven.methods.gaussian import GaussianDiffusion, GaussianSampling
from genraven.methods.gaussian.ddpm import Ddpm
from genraven.methods.gaussian.edm import Edm
from genraven.methods.gaussian.flow import Flow
from genraven.methods.gaussian.process import Process, per_puzzle
from genraven.metrics.memorization import Memorization, TrainingIndex
from genraven.networks.dit import DiT
from genraven.networks.mamba import Mamba
from genraven.networks.transformer import Transformer
from genraven.networks.unet import UNet
from genraven.puzzles import layout
from genraven.puzzles.generate import generate
from genraven.puzzles.spec import TOKENS_PER_PUZZLE
from lightning_modules import AutoregressiveModule, DiffusionModule, PuzzleModule

NUM = 64
Draw = Callable[..., Tensor]


def gaussian(network: nn.Module, process: Process, sampler: str, num_steps: int) -> PuzzleModule:
    sampling = GaussianSampling(sampler=sampler, num_steps=num_steps)
    return DiffusionModule(network, GaussianDiffusion(process, sampling=sampling))


def dit(process: Process, sampler: str, num_steps: int) -> PuzzleModule:
    return gaussian(DiT(width=256, depth=2, num_heads=4, patch=9), process, sampler, num_steps)


def unet() -> PuzzleModule:
    return gaussian(UNet(channels=32, dropout=0.0), Edm(), "ancestral", 250)


def at_the_ends(u: Tensor) -> Tensor:
    """A third of the draws for the times between, which are easy for EDM, and the rest for the two ends."""
    return torch.from_numpy(np.interp(u, (0, 0.12, 0.45, 1), (0, 0.06, 0.94, 0.9999))).float()


@dataclass(frozen=True)
class Case:
    make: Callable[[], PuzzleModule]
    batch: int
    steps: int
    lr: float
    times: Callable[[Tensor], Tensor] = lambda u: u
    """Turns uniform numbers into training times: more of them where this case is far from its floor."""


CASES = {
    "gpt2": Case(
        lambda: AutoregressiveModule(Transformer(width=96, depth=2, num_heads=2, head="joint")), 16, 2500, 5e-3
    ),
    "mamba": Case(lambda: AutoregressiveModule(Mamba(width=48, depth=1, head="joint")), 16, 2500, 1e-2),
    "sit": Case(partial(dit, Flow(), "heun", 30), NUM, 10_000, 2e-3),
    "dit": Case(
        partial(dit, Ddpm(learned_variance=False), "ancestral", 250),
        4 * NUM,
        20_000,
        2e-3,
        times=lambda u: u**1.25,
    ),
    "edm": Case(unet, NUM, 30_000, 4e-3, times=at_the_ends),
}


def draws(case: Case, generator: torch.Generator) -> Draw:
    def draw(distribution: Callable[..., Tensor], *shape: int) -> Tensor:
        drawn = distribution((case.batch, *shape), generator=generator)
        return drawn if shape else case.times(drawn)  # times are the draws without a shape of their own

    return draw


def best(process: Process, fields: Tensor, x: Tensor, t: Tensor) -> Tensor:
    """The mean of x0 given ``x`` at times (B,), where x0 is one of ``fields`` (N, C, S, S), each as likely."""
    alpha, sigma = process.alpha(t).unsqueeze(1), process.sigma(t).unsqueeze(1)
    apart = torch.cdist(x.flatten(1) / alpha, fields.flatten(1)) * alpha / sigma
    return ((-apart.square() / 2).softmax(1) @ fields.flatten(1)).view_as(x)


def floor(module: PuzzleModule, fields: Tensor, noise: Tensor, uniform: Tensor) -> float:
    """The least loss that a model of these puzzles can have with these draws."""
    if not isinstance(module.method, GaussianDiffusion):
        return math.log(NUM) / TOKENS_PER_PUZZLE
    process = module.method.process
    if isinstance(process, Flow):
        t, scale = uniform, 1 / uniform
    elif isinstance(process, Edm):
        t = process.training_times(uniform)
        scale = 1 / process.preconditioning(t)[1]
    else:
        assert isinstance(process, Ddpm)
        t = process.training_times(uniform)
        scale = process.alpha(t) / process.sigma(t)
    error = best(process, fields[:NUM], process.interpolate(fields, noise, t), t) - fields
    return (per_puzzle(scale, error) * error).square().mean().item()


def train(module: PuzzleModule, puzzles: Tensor, case: Case) -> None:
    optimizer = torch.optim.Adam(module.parameters(), lr=case.lr, betas=(0.9, 0.99), fused=True)
    generator = torch.Generator().manual_seed(0)
    draw = draws(case, generator)
    module.train()
    for step in range(case.steps):
        optimizer.param_groups[0]["lr"] = case.lr * min((step + 1) / 50, 1 - step / case.steps)
        chosen = torch.randperm(max(NUM, case.batch), generator=generator)[: case.batch] % NUM
        loss = module.losses(puzzles[chosen], None, draw).mean()
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(module.parameters(), 1.0)
        optimizer.step()
    module.eval()


@pytest.mark.overfit
@pytest.mark.timeout(0)
@pytest.mark.parametrize("name", CASES)
def test_sixty_four_puzzles_are_learned_by_heart(name: str) -> None:
    torch.manual_seed(0)
    puzzles = generate(4, 0, NUM)
    module = CASES[name].make()
    train(module, puzzles, CASES[name])

    many = 16
    repeated = puzzles.repeat(many, 1, 1, 1)
    noise, uniform = (f((NUM * many, *s), generator=torch.Generator().manual_seed(1)) for f, s in
                      ((torch.randn, layout.PUZZLE_SHAPE), (torch.rand, ())))  # fmt: skip
    given = {torch.randn: noise, torch.rand: uniform}
    with torch.no_grad():
        loss = module.losses(repeated, None, lambda distribution, *_: given[distribution]).mean().item()
    least = floor(module, layout.puzzles_to_fields(repeated), noise, uniform)
    memorization = Memorization(TrainingIndex.build(puzzles))
    memorization.update(module.generate(NUM, None, torch.Generator().manual_seed(2)))
    memorized = memorization.compute()["rates"]["memorized_puzzles"].value.item()
    print(f"{name}: loss {loss:.4f}, floor {least:.4f}, memorized {memorized:.2f}")
    assert least < loss < 1.5 * least
    assert memorized > 0.5
