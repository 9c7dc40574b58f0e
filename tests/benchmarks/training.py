"""Training steps, ours against those that the study ran: eager, float32, from the libraries it took them from."""

from collections.abc import Callable, Iterator

import peers
import torch
import torch.nn.functional as F
from harness import Row
from torch import Tensor, nn

from genraven.methods import decoding
from genraven.methods.gaussian import GaussianDiffusion
from genraven.methods.gaussian.ddpm import Ddpm
from genraven.methods.gaussian.edm import Edm
from genraven.networks.cells import Head
from genraven.networks.compiling import compile_blocks
from genraven.networks.dit import DiT
from genraven.networks.mamba import Block
from genraven.networks.transformer import Transformer
from genraven.networks.unet import UNet
from genraven.puzzles import layout
from genraven.puzzles.generate import generate
from genraven.puzzles.spec import NUM_RULES
from lightning_modules import AutoregressiveModule, DiffusionModule

Loss = Callable[[], Tensor]


def puzzles_of(num: int) -> Tensor:
    """(num, 3, 9, 9) puzzles of all rules."""
    return torch.cat([generate(rule, 0, -(-num // NUM_RULES)) for rule in range(NUM_RULES)])[:num].contiguous()


def step(module: nn.Module, loss: Loss, num: int, *, fused: bool) -> Callable[[], float]:
    """A step of AdamW on ``num`` puzzles."""
    optimizer = torch.optim.AdamW(module.parameters(), lr=1e-4, fused=fused or None)

    def work() -> float:
        loss().backward()
        optimizer.step()
        optimizer.zero_grad()
        return num

    return work


def draws(num: int) -> Callable[..., Tensor]:
    """Noise and times of a batch."""
    return lambda distribution, *shape: distribution((num, *shape))


def gpt2(head: Head, batch: int, rounds: int) -> Row:
    """GPT-2 small."""
    puzzles = puzzles_of(batch)
    ours = AutoregressiveModule(Transformer(width=384, depth=12, num_heads=6, head=head))
    compile_blocks(ours.network)
    sizes = ours.network.head_sizes
    theirs = peers.StudyGPT2(384, 12, 6, ours.network.symbols, sizes)
    tokens = layout.puzzles_to_tokens(puzzles)
    cells, targets = tokens.long() + 1, decoding.to_symbols(tokens, sizes)
    return Row(f"GPT-2 small, {head} head, step of {batch}", "puzzles/s",
               step(ours, lambda: ours.losses(puzzles, None, draws(batch)).mean(), batch, fused=True),
               step(theirs, lambda: theirs(cells, targets), batch, fused=False),
               "transformers, eager float32", 3, rounds)  # fmt: skip


def mamba(batch: int, rounds: int) -> Row:
    """A block of Mamba base, there and back."""
    width = 768
    ours, theirs = Block(width, 16, 2, 4), peers.mamba_block(width)
    ours.initialise(12)
    x = torch.randn(batch, 81, width)

    def work(block: nn.Module, *more: object) -> Callable[[], float]:
        def there_and_back() -> float:
            block(x.clone().requires_grad_(), *more).square().mean().backward()
            block.zero_grad()
            return batch

        return there_and_back

    return Row(f"Mamba base, a block, {batch} puzzles", "puzzles/s", work(ours, None, 0), work(theirs),
               "transformers, no kernels", 5, rounds)  # fmt: skip


def dit(batch: int, rounds: int) -> Row:
    """DiT-S/1, noise prediction."""
    puzzles = puzzles_of(batch)
    ours = DiffusionModule(DiT(width=384, depth=12, num_heads=6), GaussianDiffusion(Ddpm(learned_variance=False)))
    compile_blocks(ours.network)
    theirs, fields = peers.dit(384, 12, 6), layout.puzzles_to_fields(puzzles)
    label = torch.zeros(batch, dtype=torch.long)

    def loss() -> Tensor:
        noise, times = torch.randn_like(fields), torch.randint(0, 1000, (batch,))
        alpha = torch.linspace(1, 0, 1000)[times].view(-1, 1, 1, 1)
        noisy = alpha.sqrt() * fields + (1 - alpha).sqrt() * noise
        return F.mse_loss(theirs(noisy, timestep=times, class_labels=label).sample, noise)

    return Row(f"DiT-S/1, step of {batch}", "puzzles/s",
               step(ours, lambda: ours.losses(puzzles, None, draws(batch)).mean(), batch, fused=True),
               step(theirs, loss, batch, fused=False), "diffusers, eager float32", 2.5, rounds)  # fmt: skip


def unet(batch: int, rounds: int) -> Row:
    """The U-Net base."""
    puzzles = puzzles_of(batch)
    ours = DiffusionModule(UNet(channels=64, dropout=0.13), GaussianDiffusion(Edm()))
    theirs = DiffusionModule(peers.unet(64, 0.13), GaussianDiffusion(Edm()))
    compile_blocks(ours.network)
    sides = [
        step(module, lambda module=module: module.losses(puzzles, None, draws(batch)).mean(), batch, fused=fused)
        for module, fused in ((ours, True), (theirs, False))
    ]
    return Row(f"U-Net base, step of {batch}", "puzzles/s", *sides, "plain convolutions, eager float32", 1.5, rounds)


def rows(rounds: int) -> Iterator[Row]:
    """All networks. Batches as the study's where a CPU ends them in seconds, else smaller."""
    small = not torch.cuda.is_available()
    yield gpt2("joint", 64, rounds)
    yield gpt2("separate", 64, rounds)
    yield mamba(64, rounds)
    yield dit(32 if small else 256, rounds)
    yield unet(64 if small else 256, rounds)
