"""How others do it: the networks that the study trained, from the libraries it took them from."""

import sys
from functools import partial
from pathlib import Path
from types import MethodType

import diffusers
import torch
import torch.nn.functional as F
import transformers
from torch import Tensor, nn

sys.path.insert(0, str(Path(__file__).parents[1] / "networks"))
import plain

from genraven.networks.convolution import Convolution
from genraven.networks.unet import Block, UNet
from genraven.puzzles import layout
from genraven.puzzles.spec import NUM_STATES, TOKENS_PER_PUZZLE


class StudyGPT2(nn.Module):
    """GPT2Model between tables and heads for the attributes of a cell; no dropout.

    Args:
        width, depth, num_heads: of the model.
        symbols: sizes of the attributes' tables.
        head_sizes: of the softmaxes; each reads its fraction of the width.
    """

    def __init__(
        self, width: int, depth: int, num_heads: int, symbols: tuple[int, ...], head_sizes: tuple[int, ...]
    ) -> None:
        super().__init__()
        config = transformers.GPT2Config(
            vocab_size=1,
            n_positions=TOKENS_PER_PUZZLE,
            n_embd=width,
            n_layer=depth,
            n_head=num_heads,
            resid_pdrop=0.0,
            embd_pdrop=0.0,
            attn_pdrop=0.0,
            use_cache=False,
        )
        self.start = nn.Parameter(torch.zeros(1, 1, width))
        self.tables = nn.ModuleList(nn.Embedding(n, width // len(symbols)) for n in symbols)
        self.model = transformers.GPT2Model(config)
        self.heads = nn.ModuleList(nn.Linear(width // len(head_sizes), n) for n in head_sizes)

    def forward(self, cells: Tensor, targets: Tensor) -> Tensor:
        """Mean loss over the cells (B, L, A); ``targets`` (B, L, number of heads)."""
        x = torch.cat([table(part) for table, part in zip(self.tables, cells.unbind(-1), strict=True)], -1)
        x = torch.cat([self.start.expand(len(x), -1, -1), x[:, :-1]], 1)
        hidden = self.model(inputs_embeds=x).last_hidden_state.chunk(len(self.heads), -1)
        losses = [
            F.cross_entropy(head(part).flatten(0, 1), y.flatten())
            for head, part, y in zip(self.heads, hidden, targets.unbind(-1), strict=True)
        ]
        return torch.stack(losses).sum()


class PlainMaskedNetwork(nn.Module):
    """Masked diffusion's network of torch's own modules: tables for the attributes, an encoder, a softmax of states.

    Args:
        width, depth, num_heads: of the encoder.
        symbols: sizes of the attributes' tables.
        num_states: of a cell.
    """

    def __init__(
        self, width: int, depth: int, num_heads: int, symbols: tuple[int, ...], num_states: int = NUM_STATES
    ) -> None:
        super().__init__()
        self.tables = nn.ModuleList(nn.Embedding(n, width) for n in symbols)
        self.masked = nn.Parameter(torch.zeros(width))
        self.positions = nn.Parameter(torch.zeros(TOKENS_PER_PUZZLE, width))
        block = nn.TransformerEncoderLayer(
            width, num_heads, 4 * width, 0.0, partial(F.gelu, approximate="tanh"), batch_first=True, norm_first=True
        )
        self.encoder = nn.TransformerEncoder(block, depth, nn.LayerNorm(width), enable_nested_tensor=False)
        self.head = nn.Linear(width, num_states)

    def forward(self, cells: Tensor, masked: Tensor) -> Tensor:
        """(B, L, V) logits from symbols (B, L, A) and which cells are masked (B, L)."""
        known = torch.stack([table(part) for table, part in zip(self.tables, cells.unbind(-1), strict=True)]).sum(0)
        x = torch.where(masked.unsqueeze(-1), self.masked, known) + self.positions
        return self.head(self.encoder(x))

    @torch.no_grad()
    def generate(self, num: int, num_steps: int, *, taken: int) -> Tensor:
        """(num, L) states, some written in each step, in random order; of equal steps only so many are ``taken``."""
        states = torch.zeros(num, TOKENS_PER_PUZZLE, dtype=torch.int64, device=self.masked.device)
        masked = torch.ones_like(states, dtype=torch.bool)
        order = torch.rand_like(states, dtype=torch.float).argsort(1)
        for step in range(taken):
            first, end = (TOKENS_PER_PUZZLE * i // num_steps for i in (step, step + 1))
            logits = self(layout.states_to_tokens(states).long() + 1, masked)
            positions = order[:, first:end]
            fractions = logits.gather(1, positions.unsqueeze(-1).expand(-1, -1, logits.shape[-1])).softmax(-1)
            states.scatter_(1, positions, fractions.flatten(0, 1).multinomial(1).view_as(positions))
            masked.scatter_(1, positions, False)
        return states


def mamba_block(width: int) -> nn.Module:
    """One block of MambaModel, without kernels."""
    config = transformers.MambaConfig(vocab_size=1, hidden_size=width, num_hidden_layers=1, residual_in_fp32=False)
    block: nn.Module = transformers.MambaModel(config).layers[0]
    return block


def dit(width: int, depth: int, num_heads: int) -> nn.Module:
    """The DiT of diffusers for 9 x 9 cells of three channels, patch 1."""
    return diffusers.DiTTransformer2DModel(
        num_attention_heads=num_heads,
        attention_head_dim=width // num_heads,
        in_channels=3,
        out_channels=3,
        num_layers=depth,
        sample_size=9,
        patch_size=1,
        num_embeds_ada_norm=1000,
        dropout=0.0,
    )


def unet(channels: int, dropout: float) -> nn.Module:
    """EDM's U-Net as its paper writes it."""
    network = UNet(channels=channels, dropout=0.0)
    for module in list(network.modules()):
        if isinstance(module, Convolution):
            module.forward = MethodType(plain.convolution, module)  # type: ignore[method-assign]
        if isinstance(module, Block):
            module.convolution2 = nn.Sequential(nn.Dropout(dropout), module.convolution2)  # type: ignore[assignment]
    return network
