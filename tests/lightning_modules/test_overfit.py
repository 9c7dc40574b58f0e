"""Each family of networks, tiny, learns 64 puzzles by heart: the loss falls to its floor and they come back.

The floor is known. An autoregressive model needs ln(64) nats to say which puzzle it writes, and so does masked
diffusion in expectation, in whatever order. A diffusion model cannot
know its noise: the best denoiser of 64 pictures is their mean, each weighted by how likely it gave the noisy one.

Up to an hour or two each, so not of `make test`: `make overfit`. The README says how far each has come.
"""

import math
from typing import Any

import pytest
import torch
import yaml
from torch import Tensor

from datamodules.batches import Batch
from genraven.methods.gaussian import GaussianDiffusion
from genraven.methods.gaussian.ddpm import Ddpm
from genraven.methods.gaussian.edm import Edm
from genraven.methods.gaussian.flow import Flow
from genraven.methods.gaussian.process import Process, per_puzzle
from genraven.methods.method import Draw
from genraven.metrics.memorization import Memorization, TrainingIndex
from genraven.puzzles import layout
from genraven.puzzles.generate import generate
from genraven.puzzles.spec import TOKENS_PER_PUZZLE
from launch.configs.identity import build
from launch.configs.shipped import CONFIGS
from lightning_modules import PuzzleModule
from lightning_modules.draws import BatchDraw
from lightning_modules.optimization import schedule_factor

NUM = 64
FAMILIES = ("gpt2", "mamba", "mdm", "sit", "dit", "edm")


def recipe(name: str) -> dict[str, Any]:
    """The config of `fit -c model/NAME_tiny.yaml -c recipe/NAME_overfit.yaml`."""

    def merged(below: Any, above: Any) -> Any:
        if not (isinstance(below, dict) and isinstance(above, dict)):
            return above
        return below | {key: merged(below.get(key), value) for key, value in above.items()}

    below, above = (CONFIGS / "model" / f"{name}_tiny.yaml", CONFIGS / "recipe" / f"{name}_overfit.yaml")
    found: dict[str, Any] = merged(*(yaml.safe_load(path.read_text()) for path in (below, above)))
    return found


def draws(num: int, generator: torch.Generator) -> Draw:
    batch = Batch(torch.zeros(num, *layout.PUZZLE_SHAPE, dtype=torch.int8), torch.zeros(num).long(), 0, 0, num)
    return BatchDraw(batch, generator)


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
        t = process.validation_times(uniform)
        scale = 1 / process.preconditioning(t)[1]
    else:
        assert isinstance(process, Ddpm)
        t = process.validation_times(uniform)
        scale = process.alpha(t) / process.sigma(t)
    error = best(process, fields[:NUM], process.interpolate(fields, noise, t), t) - fields
    return (per_puzzle(scale, error) * error).square().mean().item()


def train(module: PuzzleModule, puzzles: Tensor, batch_size: int, num_steps: int) -> None:
    optimizer: torch.optim.Optimizer = module.new_optimizer()
    rates = torch.optim.lr_scheduler.LambdaLR(
        optimizer,
        lambda step: schedule_factor(
            step, warmup_steps=module.warmup_steps, schedule=module.schedule, max_steps=num_steps
        ),
    )
    generator = torch.Generator().manual_seed(0)
    draw = draws(batch_size, generator)
    module.train()
    for _ in range(num_steps):
        chosen = torch.randperm(max(NUM, batch_size), generator=generator)[:batch_size] % NUM
        loss = module.losses(puzzles[chosen], None, draw).mean()
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(module.parameters(), 1.0)
        optimizer.step()
        rates.step()
    module.eval()


@pytest.mark.overfit
@pytest.mark.timeout(0)
@pytest.mark.parametrize("name", FAMILIES)
def test_sixty_four_puzzles_are_learned_by_heart(name: str) -> None:
    torch.manual_seed(0)
    config = recipe(name)
    module, data = build(config)
    assert (data.trained, data.samples_per_rule) == ((4,), NUM)
    puzzles = generate(4, 0, NUM)
    train(module, puzzles, data.global_batch_size, config["trainer"]["max_steps"])

    many = 16
    repeated = puzzles.repeat(many, 1, 1, 1)
    noise, uniform = (f((NUM * many, *s), generator=torch.Generator().manual_seed(1)) for f, s in
                      ((torch.randn, layout.PUZZLE_SHAPE), (torch.rand, ())))  # fmt: skip
    given = {torch.randn: noise, torch.rand: uniform}
    with torch.no_grad():
        if module.method.likelihood == ("bound", 8):  # eight draws of a puzzle instead of one
            draw = draws(len(repeated), torch.Generator().manual_seed(1))
            loss = module.method.nats_per_cell(module.network, repeated, None, draw).mean().item()
        else:
            loss = module.losses(repeated, None, lambda distribution, *_: given[distribution]).mean().item()
    least = floor(module, layout.puzzles_to_fields(repeated), noise, uniform)
    memorization = Memorization(TrainingIndex.build(puzzles))
    memorization.update(module.generate(NUM, None, torch.Generator().manual_seed(2)))
    memorized = memorization.compute()["rates"]["memorized_puzzles"].value.item()
    print(f"{name}: loss {loss:.4f}, floor {least:.4f}, memorized {memorized:.2f}")
    assert least < loss < 1.5 * least
    assert memorized > 0.5
