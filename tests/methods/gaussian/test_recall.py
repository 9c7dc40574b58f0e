"""Self-conditioning: what a network reads of its last estimate, in training and in each way of sampling."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from datamodules.batches import Batch
from genraven.errors import InputError
from genraven.methods.gaussian import GaussianDiffusion, GaussianSampling
from genraven.methods.gaussian.ddpm import Ddpm
from genraven.methods.gaussian.edm import Edm
from genraven.methods.gaussian.flow import Flow
from genraven.methods.gaussian.inpainting import complete_by_tds
from genraven.methods.gaussian.process import Process
from genraven.methods.gaussian.recall import LARGEST, Recalling, RecallingDenoiser, with_estimates
from genraven.methods.gaussian.samplers import SAMPLERS
from genraven.networks.dit import DiT
from genraven.networks.relational_soft import RelationalSoft
from genraven.networks.transformer import Transformer
from genraven.networks.unet import UNet
from genraven.puzzles.generate import generate
from genraven.puzzles.masks import last_panel_mask
from lightning_modules import DiffusionModule
from lightning_modules.draws import BatchDraw

PUZZLES = torch.cat([generate(rule, 0, 2, seed=1) for rule in (0, 10)])


class Noted(nn.Module):
    """Says a fixed linear map of what it reads, and notes both."""

    def __init__(self, in_channels: int, out_channels: int = 3) -> None:
        super().__init__()
        self.in_channels, self.mix = in_channels, nn.Conv2d(in_channels, out_channels, 1)
        self.read: list[Tensor] = []
        self.with_gradient: list[bool] = []

    def forward(self, x: Tensor, times: Tensor, labels: Tensor | None = None) -> Tensor:
        self.read.append(x.detach().clone())
        self.with_gradient.append(torch.is_grad_enabled())
        return self.mix(x)


def draw(num: int = 4, start: int = 0, total: int = 4) -> BatchDraw:
    batch = Batch(torch.zeros(num, 3, 9, 9), torch.zeros(num), 0, start, total)
    return BatchDraw(batch, torch.Generator().manual_seed(3))


def recalling(fraction: float = 0.0, process: Process | None = None, **sampling: Any) -> GaussianDiffusion:
    settings = GaussianSampling(**{"num_steps": 4} | sampling)
    return GaussianDiffusion(process or Flow(), "numbers", fraction, settings, self_conditioning=True)


@pytest.mark.parametrize("fraction", [0.0, 1.0])
def test_half_of_the_training_puzzles_are_read_with_a_first_estimate(fraction: float) -> None:
    method, puzzles = recalling(fraction), PUZZLES.repeat(64, 1, 1, 1)
    network = Noted(6 + bool(fraction)).train()
    losses = method.losses(network, puzzles, None, draw(256, 0, 256))
    first, second = (x[:, 3:6] for x in network.read)
    assert network.with_gradient == [False, True]
    wanted = (first != second).flatten(1).any(1)
    assert 96 < wanted.sum() < 160
    assert torch.equal(network.read[0][:, :3], network.read[1][:, :3])  # one noise
    losses.sum().backward()
    assert network.mix.weight.grad is not None
    if fraction:  # given cells stand as they are in the field and in the estimate
        given = ~network.read[0][:, 6:].bool().expand(-1, 3, -1, -1)
        fields = method.code.encode(puzzles)
        assert given.any()
        for read in network.read:
            assert torch.equal(read[:, :3][given], fields[given])
            assert torch.equal(read[:, 3:6][given], fields[given])
    else:
        assert not first.any()
    network.eval()
    network.read.clear()
    method.losses(network, puzzles, None, draw(256, 0, 256))
    assert (network.read[1][:, 3:6] != network.read[0][:, 3:6]).flatten(1).any(1).all()  # validation reads all twice


@pytest.mark.parametrize("process", [Flow(), Edm(), Ddpm(learned_variance=False)], ids=["flow", "edm", "ddpm"])
def test_the_loss_is_that_of_the_estimate_said_first(process: Process) -> None:
    torch.manual_seed(0)
    network, method = Noted(6), recalling(process=process)
    x0, noise, times = method.code.encode(PUZZLES), torch.randn(4, 3, 9, 9), process.training_times(torch.rand(4))
    wanted = torch.tensor([True, False, True, False])
    read = with_estimates(method.process, network, x0, noise, times, None, wanted)
    x = method.process.interpolate(x0, noise, times)
    said = method.process.predict(Recalling(network, torch.zeros_like(x)), x, times).x0.detach()
    assert torch.equal(read.estimate[~wanted], torch.zeros(2, 3, 9, 9))
    assert torch.equal(read.estimate[wanted], said.clamp(-LARGEST, LARGEST)[wanted])
    assert not read.estimate.requires_grad


def test_weights_rounded_for_the_first_estimate_do_not_serve_the_pass_that_learns() -> None:
    """Autocast keeps a rounded weight for the next use of it, without a gradient where it was first used without."""
    torch.manual_seed(0)
    network, method = Noted(6).train(), recalling()
    with torch.autocast("cpu", torch.bfloat16):
        method.losses(network, PUZZLES, None, draw()).mean().backward()
    rounded, network.mix.weight.grad = network.mix.weight.grad, None
    method.losses(network, PUZZLES, None, draw()).mean().backward()
    assert rounded is not None and network.mix.weight.grad is not None
    torch.testing.assert_close(rounded, network.mix.weight.grad, rtol=0.03, atol=0.03)


def test_a_share_of_a_batch_has_the_losses_that_it_has_in_the_whole() -> None:
    torch.manual_seed(0)
    network, method = Noted(7).train(), recalling(0.5)
    whole = method.losses(network, PUZZLES, None, draw())
    parts = [method.losses(network, PUZZLES[at : at + 2], None, draw(2, at, 4)) for at in (0, 2)]
    torch.testing.assert_close(torch.cat(parts), whole, rtol=1e-6, atol=0)


def test_without_it_nothing_is_drawn_or_read_that_was_not() -> None:
    torch.manual_seed(0)
    network, drawn = Noted(4).train(), []

    class Counting(BatchDraw):
        def __call__(self, distribution: Any, *shape: int) -> Tensor:
            drawn.append((distribution, shape))
            return super().__call__(distribution, *shape)

    plain = draw()
    GaussianDiffusion(Flow(), masked_share=0.5).losses(network, PUZZLES, None, Counting(plain.batch, plain.generator))
    assert [shape for _, shape in drawn] == [(3, 9, 9), (), (), drawn[-1][1]]
    assert len(network.read) == 1


@pytest.mark.parametrize("sampler", SAMPLERS)
@torch.no_grad()
def test_each_evaluation_reads_what_the_last_one_said(sampler: str) -> None:
    torch.manual_seed(0)
    method, network = recalling(sampler=sampler), Noted(6)
    said: list[Tensor] = []
    process = method.process

    class Overheard(type(process)):  # type: ignore[misc]
        def predict(self, *inputs: Any) -> Any:
            found = super().predict(*inputs)
            said.append(found.x0)
            return found

    process.__class__ = Overheard
    method.generate(network, 2, None, method.sampling, torch.Generator().manual_seed(0))
    assert len(said) == len(network.read) == method.nfe(network, method.sampling, "generate", 81, labels=False)
    assert not network.read[0][:, 3:].any()
    for before, read in zip(said, network.read[1:], strict=False):
        assert torch.equal(read[:, 3:], before.clamp(-LARGEST, LARGEST))
    network.read.clear()
    method.generate(network, 2, None, method.sampling, torch.Generator().manual_seed(0))
    assert not network.read[0][:, 3:].any()  # another sampling begins with none


@torch.no_grad()
def test_hidden_states_are_read_once_and_without_an_estimate() -> None:
    method, network = recalling(), Noted(6)
    method.probe_forward(network, PUZZLES, 1.0, torch.Generator().manual_seed(0))
    (read,) = network.read
    assert not read[:, 3:].any()


def test_particles_take_their_estimates_with_them() -> None:
    torch.manual_seed(0)
    method, network = recalling(), Noted(6)
    denoiser = method._denoiser(network, network, None)
    assert isinstance(denoiser, RecallingDenoiser)
    x, t = torch.randn(3, 3, 9, 9), torch.tensor(0.5)
    with torch.no_grad():
        said = denoiser(x, t)
        denoiser.select(torch.tensor([2, 2, 0]))
        denoiser(x, t)
    assert torch.equal(network.read[1][:, 3:], said.clamp(-LARGEST, LARGEST)[[2, 2, 0]])

    selected: list[Tensor] = []

    class Selecting(RecallingDenoiser):
        def select(self, index: Tensor) -> None:
            selected.append(index)
            super().select(index)

    fields, mask = method.code.encode(PUZZLES), last_panel_mask(4).unsqueeze(1)
    complete_by_tds(
        method.process, Selecting(denoiser.plain), fields, mask, method.process.times(6), num_particles=3,
        generator=torch.Generator().manual_seed(0),
    )  # fmt: skip
    assert len(selected) == 5  # of each step but the last
    assert all(torch.equal(index // 3, torch.arange(4).repeat_interleave(3)) for index in selected)


@pytest.mark.parametrize("completion", ["replacement", "guidance", "tds", "learned"])
def test_every_completion_reads_its_estimates_and_leaves_given_cells(completion: Any) -> None:
    torch.manual_seed(0)
    method = recalling(0.5 if completion == "learned" else 0.0, completion=completion, num_particles=3)
    module, mask = DiffusionModule(Noted(6 + (completion == "learned")), method).eval(), last_panel_mask(4)
    written = module.complete(PUZZLES, mask, torch.Generator().manual_seed(0))
    given = ~mask.unsqueeze(1).expand_as(PUZZLES)
    assert torch.equal(written[given], PUZZLES[given])
    read = module.network.read  # type: ignore[union-attr]
    assert all(x[:, 3:6].any() for x in read[1:])  # type: ignore[union-attr, index]
    if completion == "learned":
        shown = method.code.encode(PUZZLES)[given]
        assert all(torch.equal(x[:, 3:6][given], shown) for x in read)  # type: ignore[union-attr]


NETWORKS: dict[str, Any] = {
    "dit": lambda: (DiT(width=24, depth=1, num_heads=2, in_channels=61, out_channels=30), Flow()),
    "unet": lambda: (UNet(channels=8, multipliers=(1, 1), in_channels=61, out_channels=30), Edm()),
    "relational": lambda: (
        RelationalSoft(width=16, hidden=24, writer=12, occupancy=8, num_heads=2, in_channels=61),
        Flow(),
    ),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_every_network_of_fields_learns_from_its_estimate(name: str) -> None:
    torch.manual_seed(0)
    network, process = NETWORKS[name]()
    for parameter in network.parameters():
        nn.init.normal_(parameter, std=0.2)
    method = GaussianDiffusion(process, "onehot", 0.5, self_conditioning=True)
    module = DiffusionModule(network, method)
    module.losses(PUZZLES, None, draw()).mean().backward()
    assert all(
        p.grad is not None and p.grad.isfinite().all() for n, p in network.named_parameters() if "label" not in n
    )
    x, times, estimate = torch.zeros(2, 61, 9, 9), torch.full((2,), 0.5), torch.randn(2, 30, 9, 9)
    network.eval()
    with_it = torch.cat([x[:, :30], estimate, torch.ones(2, 1, 9, 9)], 1)
    without = torch.cat([x[:, :60], torch.ones(2, 1, 9, 9)], 1)
    assert (network(with_it, times) - network(without, times)).abs().max() > 1e-3


def test_a_network_of_other_channels_is_refused_in_one_line() -> None:
    for network, channels in ((DiT(width=24, depth=1, num_heads=2), 3), (Noted(7), 7)):
        with pytest.raises(InputError, match=rf"in_channels 6 .*self_conditioning, got {channels}: .* twice\.$"):
            recalling().check_network(network)
    with pytest.raises(InputError, match="in_channels 3 .*masked_share 0.0, got 6: .* and self_conditioning reads"):
        GaussianDiffusion(Flow()).check_network(Noted(6))
    with pytest.raises(InputError, match="twice as many for self_conditioning, or one more than these, got 30 and 62"):
        RelationalSoft(in_channels=62)
    with pytest.raises(InputError, match="one of cells"):
        recalling().check_network(Transformer(width=24, depth=1, num_heads=2))
