"""Diffusion models trained with masks: what the network is shown, what counts, and that completion uses it."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from genraven.errors import InputError
from genraven.methods.gaussian import GaussianDiffusion, GaussianSampling
from genraven.methods.gaussian.ddpm import Ddpm
from genraven.methods.gaussian.edm import Edm
from genraven.methods.gaussian.flow import Flow
from genraven.methods.gaussian.inpainting import ShownCells
from genraven.methods.gaussian.process import Process
from genraven.networks.dit import DiT
from genraven.puzzles import layout
from genraven.puzzles.generate import generate
from genraven.puzzles.masks import last_panel_mask
from lightning_modules import DiffusionModule


class Spy(nn.Module):
    """Says zero, or what ``answer`` holds, and keeps the pictures that it was shown."""

    in_channels = 4

    def __init__(self, answer: Tensor | float = 0.0) -> None:
        super().__init__()
        self.answer = answer
        self.shown: list[Tensor] = []

    def forward(self, x: Tensor, times: Tensor, labels: Tensor | None = None) -> Tensor:
        self.shown.append(x)
        return x[:, :3] * 0 + self.answer


def module(network: nn.Module | None = None, **kwargs: Any) -> DiffusionModule:
    masked_share, completion = kwargs.pop("masked_share", 0.5), kwargs.pop("completion", None)
    sampling = GaussianSampling(num_steps=3, completion=completion, num_particles=2)
    method = GaussianDiffusion(Flow(), masked_share=masked_share, sampling=sampling)
    return DiffusionModule(network or Spy(), method, **kwargs)


def drawer(num: int) -> Any:
    generator = torch.Generator().manual_seed(0)
    return lambda distribution, *shape: distribution((num, *shape), generator=generator)


def test_training_shows_some_puzzles_in_part_and_their_given_cells_clean() -> None:
    model, puzzles = module(), generate(3, 0, 200)
    fields = layout.puzzles_to_fields(puzzles)
    model.losses(puzzles, None, drawer(200))
    (shown,) = model.network.shown
    writes = shown[:, 3:].bool()
    masked = ~writes.flatten(1).all(1)
    assert 70 < masked.sum() < 130
    assert torch.equal(shown[:, :3][~writes.expand_as(fields)], fields[~writes.expand_as(fields)])
    noisy = writes.expand_as(fields)
    assert (shown[:, :3][noisy] != fields[noisy]).float().mean() > 0.99


def test_validation_losses_are_of_whole_puzzles() -> None:
    model = module().eval()
    model.losses(generate(3, 0, 20), None, drawer(20))
    assert model.network.shown[0][:, 3].all()


@pytest.mark.parametrize("process", [Flow(), Edm(), Ddpm(learned_variance=False)])
def test_only_open_cells_count(process: Process) -> None:
    x0 = torch.randn(2, 3, 9, 9, generator=torch.Generator().manual_seed(0))
    noise, times, open_cells = torch.randn_like(x0), torch.tensor([0.3, 0.7]), last_panel_mask(2).unsqueeze(1)

    def loss(answer: Tensor | float) -> Tensor:
        return process.loss(ShownCells(Spy(answer), x0, open_cells), x0, noise, times, None, open_cells)

    elsewhere = torch.full_like(x0, 9.0).masked_fill(open_cells, 0)
    assert torch.equal(loss(elsewhere), loss(0.0))
    assert (loss(torch.ones_like(x0)) != loss(0.0)).all()
    whole = process.errors(ShownCells(Spy(), x0, open_cells), x0, noise, times)
    assert torch.allclose(loss(0.0), whole[:, :, 6:, 6:].flatten(1).mean(1))


def test_learned_completion_shows_the_given_cells_at_every_step() -> None:
    model, puzzles, mask = module(), generate(3, 0, 4), last_panel_mask(4)
    completed = model.complete(puzzles, mask, torch.Generator().manual_seed(0))
    given = ~mask.unsqueeze(1).expand_as(puzzles)
    assert torch.equal(completed[given], puzzles[given])
    assert len(model.network.shown) == 3
    for shown in model.network.shown:
        assert torch.equal(shown[:, 3].bool(), mask)
        assert torch.equal(shown[:, :3][given], layout.puzzles_to_fields(puzzles)[given])


@pytest.mark.parametrize("completion", ["replacement", "guidance", "tds"])
def test_other_completions_and_generation_show_nothing(completion: Any) -> None:
    network = DiT(width=24, depth=1, num_heads=2, patch=3, in_channels=4)
    seen: list[Tensor] = []
    network.patches.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    model = module(network, completion=completion)
    model.complete(generate(3, 0, 2), last_panel_mask(2), torch.Generator().manual_seed(0))
    model.generate(2, None, torch.Generator().manual_seed(0))
    assert len(seen) >= 6
    assert all(patches.unflatten(-1, (4, 9))[:, :, 3].eq(1).all() for patches in seen)


def test_the_channel_and_the_share_go_together() -> None:
    with pytest.raises(InputError, match="in_channels 4 with code numbers and masked_share 0.5"):
        module(DiT(width=24, depth=1, num_heads=2))
    with pytest.raises(InputError, match="in_channels 3 with code numbers and masked_share 0"):
        module(DiT(width=24, depth=1, num_heads=2, in_channels=4), masked_share=0.0)
    with pytest.raises(InputError, match="between 0 and 1"):
        module(masked_share=1.5)


def test_a_network_trained_without_masks_has_not_learned_completion() -> None:
    with pytest.raises(InputError, match="trained without masks"):
        module(DiT(width=24, depth=1, num_heads=2), masked_share=0.0, completion="learned")
