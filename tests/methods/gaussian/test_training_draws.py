"""Which times a process trains at, where it does not draw them evenly."""

import pytest
import torch

from genraven.errors import InputError
from genraven.methods.gaussian.ddpm import Ddpm
from genraven.methods.gaussian.edm import Edm

POINTS = [(0.0, 0.0), (0.12, 0.06), (0.45, 0.94), (1.0, 0.9999)]


def test_edm_spends_the_shares_that_it_is_told_on_the_ends_of_its_noise() -> None:
    uniform = torch.linspace(0, 1, 10_001)[:-1]
    plain, drawn = Edm(), Edm(training_draws=POINTS).training_times(uniform)
    quiet, loud = plain.training_times(torch.tensor([0.06, 0.94]))
    assert (drawn < quiet).float().mean().item() == pytest.approx(0.12, abs=1e-3)
    assert (drawn > loud).float().mean().item() == pytest.approx(0.55, abs=1e-3)
    assert (drawn.diff() > 0).all()
    assert torch.allclose(Edm(training_draws=[(0, 0), (1, 1)]).training_times(uniform), plain.training_times(uniform))


def test_ddpm_draws_more_times_near_the_data() -> None:
    uniform = torch.linspace(0, 1, 10_001)[:-1]
    assert torch.equal(Ddpm(training_spacing=1.25).training_times(uniform), Ddpm().training_times(uniform**1.25))


@pytest.mark.parametrize("points", [[(0.1, 0), (1, 1)], [(0, 0), (0.5, 0.6), (0.4, 0.7), (1, 1)], [(0, 0), (1, 1.1)]])
def test_draws_that_cannot_be(points: list[tuple[float, float]]) -> None:
    with pytest.raises(InputError, match=r"process\.training_draws"):
        Edm(training_draws=points)


@pytest.mark.parametrize("spacing", [0.0, -1.0, float("nan"), float("inf")])
def test_a_spacing_that_cannot_be(spacing: float) -> None:
    with pytest.raises(InputError, match=r"process\.training_spacing"):
        Ddpm(training_spacing=spacing)
