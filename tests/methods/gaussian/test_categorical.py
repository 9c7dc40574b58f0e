"""A softmax on a Gaussian path: exact where the data are known, and refused where it makes no sense."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from genraven.errors import InputError
from genraven.methods.gaussian import GaussianDiffusion, GaussianSampling
from genraven.methods.gaussian.categorical import Categorical, code_deviation
from genraven.methods.gaussian.ddpm import Ddpm
from genraven.methods.gaussian.edm import Edm
from genraven.methods.gaussian.flow import Flow
from genraven.methods.gaussian.process import Process
from genraven.methods.gaussian.samplers import SAMPLERS
from genraven.networks.dit import DiT
from genraven.networks.unet import UNet
from genraven.puzzles import layout
from genraven.puzzles.generate import generate
from genraven.puzzles.masks import last_panel_mask
from lightning_modules import DiffusionModule

SYMBOLS = (2, 3)
PROCESSES = [Flow(), Edm(), Ddpm(learned_variance=False)]
P = torch.tensor([0.7, 0.3]), torch.tensor([0.2, 0.5, 0.3])


def code(values: tuple[Tensor, ...]) -> Tensor:
    """(B, 5, 1, 1) of symbols (B,) of each attribute."""
    parts = [2 * nn.functional.one_hot(v, n).float() - 2 / n for v, n in zip(values, SYMBOLS, strict=True)]
    return torch.cat(parts, 1)[..., None, None]


class Exact(nn.Module):
    """Logits of each symbol given x_t, of two independent attributes with known frequencies.

    What it is given is what the process gives any network: it takes the scaling back.
    """

    def __init__(self, process: Process) -> None:
        super().__init__()
        self.process = process

    def __call__(self, x: Tensor, times: Tensor, labels: Tensor | None = None) -> Tensor:
        if isinstance(self.process, Edm):
            times = (4 * times).exp()
            x = x * (times**2 + self.process.sigma_data**2).sqrt().view(-1, 1, 1, 1)
        alpha, sigma = (f(times).view(-1, 1) for f in (self.process.alpha, self.process.sigma))
        logits = []
        for part, p, n in zip(x.flatten(1).split(SYMBOLS, 1), P, SYMBOLS, strict=True):
            codes = 2 * torch.eye(n) - 2 / n
            apart = (part.unsqueeze(1) - alpha.unsqueeze(1) * codes).square().sum(-1)
            logits.append(p.log() - apart / (2 * sigma**2))
        return torch.cat(logits, 1)[..., None, None]


@pytest.mark.parametrize("path", PROCESSES, ids=lambda p: type(p).__name__)
@pytest.mark.parametrize("sampler", ["ancestral", "ddim"])
def test_the_exact_network_samples_the_frequencies(path: Process, sampler: str) -> None:
    process = Categorical(path, SYMBOLS)
    times = process.times(60)
    noise = torch.randn(20_000, 5, 1, 1, generator=torch.Generator().manual_seed(0))
    denoiser = process.denoiser(Exact(process.path))
    x = SAMPLERS[sampler].sample(
        process, denoiser, process.initial(noise), times, generator=torch.Generator().manual_seed(1)
    )
    for part, p, n in zip(x.flatten(1).split(SYMBOLS, 1), P, SYMBOLS, strict=True):
        assert (part.max(1).values - (2 - 2 / n)).abs().median() < 0.05  # it ends at a code
        found = torch.bincount(part.argmax(1), minlength=n) / len(part)
        assert torch.allclose(found, p, atol=0.02)


@pytest.mark.parametrize("path", PROCESSES, ids=lambda p: type(p).__name__)
def test_the_loss_is_the_cross_entropy_in_nats_per_cell(path: Process) -> None:
    """At the loudest noise it is the entropy of the frequencies; at the quietest there is nothing left to say."""
    process = Categorical(path, SYMBOLS)
    generator = torch.Generator().manual_seed(0)
    symbols = tuple(torch.multinomial(p, 20_000, True, generator=generator) for p in P)
    noise = torch.randn(20_000, 5, 1, 1, generator=generator)
    entropy = sum(-(p * p.log()).sum().item() for p in P)
    for uniform, wanted in ((0.999, entropy), (1e-4, 0.0)):
        times = process.training_times(torch.full((20_000,), uniform))
        errors = process.errors(Exact(process.path), code(symbols), noise, times)
        assert errors.shape == (20_000, 1, 1, 1)
        assert errors.mean().item() == pytest.approx(wanted, abs=0.03)


def test_the_process_knows_how_wide_the_code_is() -> None:
    x = code((torch.arange(6) % 2, torch.arange(6) % 3))
    assert x.square().mean().sqrt().item() == pytest.approx(code_deviation(SYMBOLS))
    assert Categorical(Edm(), SYMBOLS).path.sigma_data == pytest.approx(code_deviation(SYMBOLS))  # type: ignore[attr-defined]
    assert Categorical(Edm(sigma_data=0.3), SYMBOLS).path.sigma_data == 0.3  # type: ignore[attr-defined]


def test_puzzles_come_back_from_their_code() -> None:
    puzzles = torch.cat([generate(rule, 0, 3) for rule in (0, 31, 38)])
    fields = layout.puzzles_to_onehot(puzzles)
    assert fields.shape == (9, 30, 9, 9)
    assert fields.mean(1).abs().max() < 1e-6
    assert torch.equal(layout.onehot_to_puzzles(fields), puzzles)
    assert torch.equal(layout.onehot_to_puzzles(fields + 0.3 * torch.randn(fields.shape).clamp(-1, 1)), puzzles)
    fields[:, 0] = 9.0  # an empty shape makes a cell empty
    assert (layout.onehot_to_puzzles(fields) == -1).all()


def networks(num_in: int) -> dict[str, nn.Module]:
    return {
        "dit": DiT(width=24, depth=1, num_heads=2, patch=3, in_channels=num_in, out_channels=30),
        "unet": UNet(channels=8, multipliers=(1, 1, 1), in_channels=num_in, out_channels=30),
    }


@pytest.mark.parametrize("network", ["dit", "unet"])
@pytest.mark.parametrize("path", PROCESSES, ids=lambda p: type(p).__name__)
@pytest.mark.parametrize("completion", ["learned", "guidance"])
def test_every_network_and_process_can_take_it(network: str, path: Process, completion: Any) -> None:
    fraction, num_in = (0.5, 31) if completion == "learned" else (0.0, 30)
    sampling = GaussianSampling(num_steps=3, completion=completion)
    method = GaussianDiffusion(path, code="onehot", masked_share=fraction, sampling=sampling)
    module = DiffusionModule(networks(num_in)[network], method)
    assert module.architecture.endswith(" one-hot")
    puzzles, mask, generator = generate(0, 0, 2), last_panel_mask(2), torch.Generator().manual_seed(0)

    def draw(distribution: Any, *shape: int) -> Tensor:
        return distribution((2, *shape), generator=generator)

    loss = module.train().losses(puzzles, None, draw)  # type: ignore[arg-type]
    assert loss.shape == (2,)
    loss.mean().backward()
    module.eval()
    made, done = module.generate(2, None, generator), module.complete(puzzles, mask, generator)
    kept = ~mask.unsqueeze(1).expand_as(puzzles)
    assert made.dtype == torch.int8
    assert made.amin() >= -1
    assert torch.equal(done[kept], puzzles[kept])


def test_a_fresh_network_knows_nothing() -> None:
    """Its logits are even: ln 8 + 2 ln 11 nats a cell."""
    module = DiffusionModule(networks(30)["dit"], GaussianDiffusion(Flow(), code="onehot"))
    generator = torch.Generator().manual_seed(0)
    loss = module.losses(generate(0, 0, 2), None, lambda f, *s: f((2, *s), generator=generator))  # type: ignore[arg-type]
    assert loss.mean().item() == pytest.approx(math.log(8) + 2 * math.log(11), abs=1e-4)


def test_what_cannot_be() -> None:
    with pytest.raises(InputError, match="without learned variance for a one-hot code"):
        GaussianDiffusion(Ddpm(), code="onehot")
    with pytest.raises(InputError, match="in_channels 30 with code onehot and masked_share 0.0, got 3"):
        DiffusionModule(DiT(width=24, depth=1, num_heads=2), GaussianDiffusion(Flow(), code="onehot"))
    wrong = DiffusionModule(
        DiT(width=24, depth=1, num_heads=2, in_channels=30), GaussianDiffusion(Flow(), code="onehot")
    )
    with pytest.raises(InputError, match="a network with 30 output channels"):
        wrong.generate(1)
