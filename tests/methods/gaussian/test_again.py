"""Answers that are covered with noise and solved again, by a network that knows the posterior of a few puzzles."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from genraven.methods.gaussian import GaussianDiffusion, GaussianSampling
from genraven.methods.gaussian.ddpm import Ddpm
from genraven.methods.gaussian.edm import Edm
from genraven.methods.gaussian.flow import Flow
from genraven.methods.gaussian.process import Process
from genraven.puzzles import layout
from genraven.puzzles.generate import generate
from genraven.puzzles.masks import last_panel_mask
from genraven.trust.confidence import confidence
from genraven.trust.risk import area
from lightning_modules import DiffusionModule

PUZZLES = torch.cat([generate(rule, 0, 4, seed=1) for rule in (0, 10, 20)])


class Known(nn.Module):
    """Log-probabilities of symbols, given a noisy code on the linear path, of puzzles that are one of a list."""

    in_channels = 30

    def __init__(self) -> None:
        super().__init__()
        self.codes = layout.puzzles_to_onehot(PUZZLES)
        self.read = 0

    def forward(self, x: Tensor, times: Tensor, labels: Tensor | None = None) -> Tensor:
        self.read += 1
        t = times.clamp(1e-3, 1).view(-1, 1)
        apart = (x.unsqueeze(1) - (1 - t).view(-1, 1, 1, 1, 1) * self.codes).square().flatten(2).sum(2)
        p = torch.einsum("bk,kcyx->bcyx", (-apart / (2 * t**2)).softmax(1), (self.codes > 0).float())
        return p.clamp(min=1e-6).log()


def module(**sampling: Any) -> DiffusionModule:
    settings = GaussianSampling(**{"sampler": "ancestral", "num_steps": 12} | sampling)
    return DiffusionModule(Known(), GaussianDiffusion(Flow(spacing=2.0), "onehot", sampling=settings)).eval()


def corrupted(puzzles: Tensor) -> Tensor:
    """With the last panel of the puzzle after."""
    mask = last_panel_mask(len(puzzles)).unsqueeze(1)
    return puzzles.roll(1, 0).where(mask, puzzles)


@pytest.mark.parametrize("completion", ["replacement", "guidance", "tds"])
def test_what_is_right_comes_back_and_what_is_wrong_does_not(completion: str) -> None:
    model, mask = module(completion=completion), last_panel_mask(len(PUZZLES))
    for candidates in (PUZZLES, corrupted(PUZZLES)):
        again = model.solve_again(candidates, mask, 1.0, torch.Generator().manual_seed(0))
        assert torch.equal(again, PUZZLES)  # what is given says which one it is, whatever stood there


def test_recovery_tells_right_from_wrong() -> None:
    """On answers of which a third are wrong; as it is said of each alone, it needs no other to agree with."""
    model, mask = module(), last_panel_mask(len(PUZZLES))
    correct = torch.arange(len(PUZZLES)) % 3 > 0
    candidates = PUZZLES.where(correct.view(-1, 1, 1, 1), corrupted(PUZZLES)).unsqueeze(1)
    found = confidence("recovery", model, candidates, mask, torch.Generator().manual_seed(0))
    assert found.shape == (12, 1)
    assert (found[correct] == 1).all()
    assert area(found[:, 0], correct) == pytest.approx(area(correct.double(), correct))
    assert area(found[:, 0], correct) < float((~correct).double().mean())
    alike = confidence("recovery", model, candidates, mask, torch.Generator().manual_seed(0))
    assert torch.equal(found, alike)


def test_less_noise_takes_fewer_steps_and_leaves_given_cells() -> None:
    model, mask = module(), last_panel_mask(len(PUZZLES))
    network, given = model.network, ~mask.unsqueeze(1).expand_as(PUZZLES)
    assert isinstance(network, Known)
    made = []
    for level in (0.5, 2.0, 100.0):
        network.read = 0
        again = model.solve_again(PUZZLES, mask, level, torch.Generator().manual_seed(0))
        assert torch.equal(again[given], PUZZLES[given])
        made.append(network.read)
    assert made == sorted(set(made))
    assert made[-1] == 11  # all steps but the one from noise alone, which leaves nothing of the answer


@pytest.mark.parametrize("process", [Flow(spacing=2.0), Edm(), Ddpm(spacing=3.0, last_time=0.01)], ids=["flow", "edm",
                         "ddpm"])  # fmt: skip
@pytest.mark.parametrize("level", [0.5, 1.0, 4.0])
def test_it_begins_at_the_step_whose_noise_is_nearest(process: Process, level: float) -> None:
    times = process.times(50)
    found = process.times_from(level, times)
    assert torch.equal(found, times[-len(found) :])
    ratios = process.sigma(times[:-1]) / process.alpha(times[:-1])
    chosen = process.sigma(found[0]) / process.alpha(found[0])
    assert (ratios.log() - math.log(level)).abs().min() == (chosen.log() - math.log(level)).abs()
    assert 0.6 < chosen / level < 1.6
