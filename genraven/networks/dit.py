"""Diffusion transformer with adaLN-zero conditioning (Peebles & Xie 2022, arXiv 2212.09748).

B batch, C channels, S side of the field, p side of a patch, L = (S / p)^2 patches, D width.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from genraven.errors import InputError
from genraven.networks.attention import attend
from genraven.networks.missing import with_channel
from genraven.networks.ranges import check_ranges


def _frequencies(num: int, max_period: float, device: torch.device) -> Tensor:
    """(num,) float32, made on the device anew: a buffer would be rounded where the network is bfloat16."""
    return torch.exp(-math.log(max_period) * torch.arange(num, device=device, dtype=torch.float32) / num)


def _grid_embedding(width: int, side: int, device: torch.device) -> Tensor:
    """(side * side, width): fixed sines and cosines of column and row."""
    y, x = torch.meshgrid(torch.arange(side, device=device), torch.arange(side, device=device), indexing="ij")
    angles = [axis.reshape(-1, 1) * _frequencies(width // 4, 10_000.0, device) for axis in (x, y)]
    return torch.cat([wave(angle) for angle in angles for wave in (torch.sin, torch.cos)], 1)


class Block(nn.Module):
    """Attention and MLP, each shifted, scaled and gated by the condition; the identity at initialisation."""

    def __init__(self, width: int, num_heads: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.norm1 = nn.LayerNorm(width, eps=1e-6, elementwise_affine=False)
        self.qkv = nn.Linear(width, 3 * width)
        self.attention_out = nn.Linear(width, width)
        self.norm2 = nn.LayerNorm(width, eps=1e-6, elementwise_affine=False)
        self.mlp_in = nn.Linear(width, 4 * width)
        self.mlp_out = nn.Linear(4 * width, width)
        self.modulation = nn.Linear(width, 6 * width)

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        """(B, L, D) from (B, L, D) and the activated condition (B, D)."""
        shift1, scale1, gate1, shift2, scale2, gate2 = self.modulation(condition).unsqueeze(1).chunk(6, -1)
        h = self.norm1(x) * (1 + scale1) + shift1
        q, k, v = self.qkv(h).unflatten(-1, (3, self.num_heads, -1)).permute(2, 0, 3, 1, 4)
        x = x + gate1 * self.attention_out(attend(q, k, v).transpose(1, 2).flatten(2))
        h = self.norm2(x) * (1 + scale2) + shift2
        return x + gate2 * self.mlp_out(F.gelu(self.mlp_in(h), approximate="tanh"))


class DiT(nn.Module):
    """A field from a noisy field, its time and an optional label.

    Args:
        width: D, divisible by ``num_heads`` and by 4.
        depth: number of blocks.
        num_heads: attention heads.
        patch: p, divides ``side``.
        in_channels, out_channels: C before and after; twice as many after for a learned variance.
        side: S.
        num_labels: classes of the optional label; 0 makes an unconditional network.
        time_scale: times are multiplied by it before their sines are taken (periods 2 pi to 20,000 pi).
        reads_unknown: does it read which cells are unknown? Null is no; `genraven fit` makes it yes where the data can
            have missing cells.
    """

    def __init__(
        self,
        *,
        width: int = 384,
        depth: int = 12,
        num_heads: int = 6,
        patch: int = 1,
        in_channels: int = 3,
        out_channels: int = 3,
        side: int = 9,
        num_labels: int = 0,
        time_scale: float = 1000.0,
        reads_unknown: bool | None = None,
    ) -> None:
        super().__init__()
        check_ranges(width=width, depth=depth, num_heads=num_heads, patch=patch, in_channels=in_channels,
                     out_channels=out_channels, side=side, num_labels=num_labels)  # fmt: skip
        if width % num_heads or width % 4 or side % patch:
            raise InputError(f"expected width divisible by num_heads and 4, and a patch that divides {side}, "
                             f"got width {width}, {num_heads} heads, patch {patch}.")  # fmt: skip
        self.in_channels, self.num_labels, self.time_scale = in_channels, num_labels, time_scale
        self.patch, self.side, self.reads_unknown = patch, side, bool(reads_unknown)
        self.num_frequencies = 256
        self.patches = nn.Linear((in_channels + self.reads_unknown) * patch**2, width)
        self.time_in = nn.Linear(self.num_frequencies, width)
        self.time_out = nn.Linear(width, width)
        self.label = nn.Embedding(num_labels + 1, width)
        self.blocks = nn.ModuleList(Block(width, num_heads) for _ in range(depth))
        self.norm = nn.LayerNorm(width, eps=1e-6, elementwise_affine=False)
        self.modulation = nn.Linear(width, 2 * width)
        self.out = nn.Linear(width, out_channels * patch**2)
        self._initialise()

    def example_inputs(self, num_cells: int, device: torch.device | str) -> tuple[Tensor, ...]:
        """What it reads of one puzzle of ``num_cells`` cells: a field and its time."""
        side = math.isqrt(num_cells)
        return torch.zeros(1, self.in_channels, side, side, device=device), torch.zeros(1, device=device)

    def _initialise(self) -> None:
        """Xavier-uniform weights, 0.02 for the condition's; zero for all that gates a block and for the output."""
        for name, module in self.named_modules():
            if isinstance(module, nn.Linear):
                nn.init.xavier_uniform_(module.weight)
                nn.init.zeros_(module.bias)
                if name.endswith("modulation") or name == "out":
                    nn.init.zeros_(module.weight)
        for embedding in (self.time_in, self.time_out, self.label):
            nn.init.normal_(embedding.weight, std=0.02)

    def forward(
        self, x: Tensor, times: Tensor, labels: Tensor | None = None, *, unknown: Tensor | None = None
    ) -> Tensor:
        """(B, out_channels, S, S) from noisy fields (B, in_channels, S, S).

        Args:
            times: (B,) in [0, 1].
            labels: (B,) int64; None, or ``num_labels``, is unconditional.
            unknown: (B, S, S) bool, for a network that reads which cells are unknown; None for none.
        """
        if self.reads_unknown:
            x = with_channel(x, unknown)
        if labels is None:
            labels = torch.full((len(x),), self.num_labels, device=x.device)
        frequencies = _frequencies(self.num_frequencies // 2, 10_000.0, x.device)
        angles = self.time_scale * times.float().unsqueeze(1) * frequencies
        waves = torch.cat([angles.cos(), angles.sin()], 1).to(x.dtype)
        condition = F.silu(self.time_out(F.silu(self.time_in(waves))) + self.label(labels))

        side, p = self.side // self.patch, self.patch
        cells = x.unflatten(3, (side, p)).unflatten(2, (side, p)).permute(0, 2, 4, 1, 3, 5).flatten(3).flatten(1, 2)
        h = self.patches(cells)
        h = h + _grid_embedding(h.shape[-1], side, x.device).to(h)
        for block in self.blocks:
            h = block(h, condition)
        shift, scale = self.modulation(condition).unsqueeze(1).chunk(2, -1)
        h = self.out(self.norm(h) * (1 + scale) + shift)
        return h.view(len(x), side, side, -1, p, p).permute(0, 3, 1, 4, 2, 5).reshape(len(x), -1, self.side, self.side)
