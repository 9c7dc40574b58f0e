"""Training steps, ours against those that the study ran: eager, float32, from the libraries it took them from."""

from collections.abc import Callable, Iterator

import peers
import torch
import torch.nn.functional as F
from harness import DEVICE, Row
from steps import Draws, puzzles_of, step
from torch import Tensor, nn

from genraven.methods import decoding
from genraven.methods.gaussian import GaussianDiffusion
from genraven.methods.gaussian.ddpm import Ddpm
from genraven.methods.gaussian.edm import Edm
from genraven.methods.masked import MaskedDiffusion
from genraven.networks.bidirectional import BidirectionalTransformer
from genraven.networks.cells import Head
from genraven.networks.compiling import compile_blocks
from genraven.networks.dit import DiT
from genraven.networks.mamba import Block
from genraven.networks.transformer import Transformer
from genraven.networks.unet import UNet
from genraven.puzzles import layout
from launch.trained.precision import default_precision
from lightning_modules import AutoregressiveModule, DiffusionModule


def goal(with_units: float, without: float | None, precision: str) -> float | None:
    """The least ratio aimed for, by whether the processor multiplies bf16 itself."""
    return with_units if precision == "bf16-mixed" else without


SIZES = {"small": (384, 12, 6), "base": (768, 12, 12)}
"""Width, depth and heads of the study's GPT-2."""


def gpt2(head: Head, batch: int, rounds: int, precision: str, size: str = "small") -> Row:
    """GPT-2."""
    puzzles = puzzles_of(batch)
    width, depth, num_heads = SIZES[size]
    ours = AutoregressiveModule(Transformer(width=width, depth=depth, num_heads=num_heads, head=head))
    compile_blocks(ours.network)
    sizes = ours.network.head_sizes
    theirs = peers.StudyGPT2(*SIZES[size], ours.network.symbols, sizes)
    tokens = layout.puzzles_to_tokens(puzzles)
    cells, targets = tokens.long() + 1, decoding.to_symbols(tokens, sizes)
    return Row(f"GPT-2 {size}, {head} head, step of {batch}, {precision}", "puzzles/s",
               step(ours, lambda: ours.losses(puzzles, None, Draws(batch)).mean(), batch, fused=True,
                    precision=precision),
               step(theirs, lambda: theirs(cells, targets), batch, fused=False),
               "transformers, eager float32", goal(3, 1.2, precision), rounds)  # fmt: skip


def mamba(batch: int, rounds: int) -> Row:
    """A block of Mamba base, there and back."""
    width = 768
    ours, theirs = Block(width, 16, 2, 4), peers.mamba_block(width)
    ours.initialise(12)
    for block in (ours, theirs):
        block.to(DEVICE)
    x = torch.randn(batch, 81, width, device=DEVICE)

    def work(block: nn.Module, *more: object) -> Callable[[], float]:
        def there_and_back() -> float:
            block(x.clone().requires_grad_(), *more).square().mean().backward()
            block.zero_grad()
            return batch

        return there_and_back

    return Row(f"Mamba base, a block, {batch} puzzles", "puzzles/s", work(ours, None, 0), work(theirs),
               "transformers, no kernels", 5, rounds)  # fmt: skip


def dit(batch: int, rounds: int, precision: str) -> Row:
    """DiT-S/1, noise prediction."""
    puzzles = puzzles_of(batch)
    ours = DiffusionModule(DiT(width=384, depth=12, num_heads=6), GaussianDiffusion(Ddpm(learned_variance=False)))
    compile_blocks(ours.network)
    theirs, fields = peers.dit(384, 12, 6), layout.puzzles_to_fields(puzzles)
    label = torch.zeros(batch, dtype=torch.long, device=DEVICE)

    def loss() -> Tensor:
        noise, times = torch.randn_like(fields), torch.randint(0, 1000, (batch,), device=DEVICE)
        alpha = torch.linspace(1, 0, 1000, device=DEVICE)[times].view(-1, 1, 1, 1)
        noisy = alpha.sqrt() * fields + (1 - alpha).sqrt() * noise
        return F.mse_loss(theirs(noisy, timestep=times, class_labels=label).sample, noise)

    return Row(f"DiT-S/1, step of {batch}, {precision}", "puzzles/s",
               step(ours, lambda: ours.losses(puzzles, None, Draws(batch)).mean(), batch, fused=True,
                    precision=precision),
               step(theirs, loss, batch, fused=False), "diffusers, eager float32", goal(2.5, 1.15, precision),
               rounds)  # fmt: skip


def masked(batch: int, rounds: int, precision: str) -> Row:
    """``mdm_s``."""
    puzzles = puzzles_of(batch)
    ours = DiffusionModule(BidirectionalTransformer(width=384, depth=12, num_heads=6), MaskedDiffusion(0.25))
    compile_blocks(ours.network)
    theirs = peers.PlainMaskedNetwork(384, 12, 6, layout.SYMBOLS)
    tokens = layout.puzzles_to_tokens(puzzles)
    cells, states = tokens.long() + 1, layout.tokens_to_states(tokens)

    def loss() -> Tensor:
        hidden = torch.rand_like(states, dtype=torch.float).argsort(1) < torch.randint(1, 82, (batch, 1), device=DEVICE)
        nats = F.cross_entropy(theirs(cells, hidden).flatten(0, 1), states.flatten(), reduction="none")
        return ((nats.view_as(hidden) * hidden).sum(1) / hidden.sum(1)).mean()

    return Row(f"masked diffusion mdm_s, step of {batch}, {precision}", "puzzles/s",
               step(ours, lambda: ours.losses(puzzles, None, Draws(batch)).mean(), batch, fused=True,
                    precision=precision),
               step(theirs, loss, batch, fused=False),
               "torch.nn modules, eager float32", goal(2.5, None, precision), rounds)  # fmt: skip


def unet(batch: int, rounds: int) -> Row:
    """The U-Net base."""
    puzzles = puzzles_of(batch)
    ours = DiffusionModule(UNet(channels=64, dropout=0.13), GaussianDiffusion(Edm()))
    theirs = DiffusionModule(peers.unet(64, 0.13), GaussianDiffusion(Edm()))
    compile_blocks(ours.network)
    sides = [
        step(module, lambda module=module: module.losses(puzzles, None, Draws(batch)).mean(), batch, fused=fused)
        for module, fused in ((ours, True), (theirs, False))
    ]
    return Row(f"U-Net base, step of {batch}", "puzzles/s", *sides, "plain convolutions, eager float32", 1.5, rounds)


def rows(rounds: int) -> Iterator[Row]:
    """All networks. Batches as the study's where a CPU ends them in seconds, else smaller."""
    small, precision = not torch.cuda.is_available(), default_precision("auto")
    yield gpt2("joint", 64, rounds, precision)
    yield gpt2("separate", 64, rounds, precision)
    if not small:
        yield gpt2("joint", 256, rounds, precision)
        yield gpt2("joint", 256, rounds, precision, "base")
    yield mamba(64, rounds)
    yield dit(32 if small else 256, rounds, precision)
    yield masked(32 if small else 256, rounds, precision)
    yield unet(64 if small else 256, rounds)
