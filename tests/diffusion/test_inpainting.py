import pytest
import torch
from torch import Tensor

from genraven.diffusion.inpainting import replacement
from genraven.diffusion.samplers import SAMPLERS, uniform_times


def case() -> tuple[Tensor, Tensor, Tensor]:
    """Data, noise and open cells: some, none and all."""
    draws = torch.Generator().manual_seed(0)
    given, noise = torch.randn(2, 4, 3, 9, 9, generator=draws)
    open_cells = torch.rand(4, 1, 9, 9, generator=draws) < torch.tensor([0.1, 0.5, 0.0, 1.0]).view(-1, 1, 1, 1)
    return given, noise, open_cells


def pull(x: Tensor, t: Tensor) -> Tensor:
    """A field that moves all cells and mixes them with their neighbours."""
    return x.roll(1, -1) - 3 * x + t


@pytest.mark.parametrize("name", SAMPLERS)
def test_given_cells_end_exactly_as_given_and_open_ones_do_not(name: str) -> None:
    given, noise, open_cells = case()
    sampled = SAMPLERS[name](pull, noise, uniform_times(9), project=replacement(given, noise, open_cells))
    held = ~open_cells.expand_as(given)
    assert torch.equal(sampled[held], given[held])
    assert not torch.isclose(sampled[~held], given[~held], atol=1e-4).all()


def test_given_cells_are_on_their_path_before_every_step() -> None:
    given, noise, open_cells = case()
    held = ~open_cells.expand_as(given)

    def velocity(x: Tensor, t: Tensor) -> Tensor:
        on_path = (1 - t) * given + t * noise
        assert torch.allclose(x[held], on_path[held], atol=1e-6)
        return pull(x, t)

    SAMPLERS["euler"](velocity, noise, uniform_times(9), project=replacement(given, noise, open_cells))


@pytest.mark.parametrize("name", SAMPLERS)
def test_what_is_under_the_mask_is_not_read(name: str) -> None:
    given, noise, open_cells = case()
    spoilt = given.masked_fill(open_cells, float("nan"))
    results = [
        SAMPLERS[name](pull, noise, uniform_times(9), project=replacement(data, noise, open_cells))
        for data in (given, spoilt)
    ]
    assert torch.equal(*results)
    assert results[1].isfinite().all()
