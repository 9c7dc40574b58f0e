"""A U-Net with residual blocks and attention: EDM's DDPM++ (Song et al. 2021, Karras et al. 2022, arXiv 2206.00364).

B batch, C channels, S side of the field, E width of the embedded condition. Fields of 9 x 9 cells are resampled by
3, the side of a panel: 9 -> 3 -> 1.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from genraven.errors import InputError
from genraven.networks.convolution import Convolution, of_resampled
from genraven.networks.dropout import dropout
from genraven.networks.missing import with_channel
from genraven.networks.ranges import check_ranges

_SKIP_SCALE = math.sqrt(0.5)


def _group_norm(channels: int) -> nn.GroupNorm:
    """At most 32 groups, of at least 4 channels each."""
    num_groups = next(n for n in range(min(32, channels // 4), 0, -1) if channels % n == 0)
    return nn.GroupNorm(num_groups, channels, eps=1e-6)


def _sines(values: Tensor, width: int) -> Tensor:
    """(B, width): sines and cosines of ``values`` (B,) at frequencies from 1 down to 1 / 10,000, both included."""
    exponents = torch.arange(width // 2, device=values.device, dtype=torch.float32) / (width // 2 - 1)
    angles = values.float().unsqueeze(1) * 10_000.0**-exponents
    return torch.cat([angles.sin(), angles.cos()], 1)


class Block(nn.Module):
    """Two convolutions that add to what they read, then attention if wanted; the condition shifts what lies between.

    Args:
        channels_in, channels_out: C before and after.
        width: E.
        dropout: before the second convolution.
        attention: of every cell to all cells, with one head.
        scale: the side is multiplied by it before the first convolution: 3 repeats cells, 1/3 takes means of 3 x 3.
    """

    def __init__(
        self, channels_in: int, channels_out: int, width: int, dropout: float, *, attention: bool, scale: float = 1
    ) -> None:
        super().__init__()
        self.channels_out, self.dropout, self.scale, self.attends = channels_out, dropout, scale, attention
        self.norm1 = _group_norm(channels_in)
        self.convolution1 = Convolution(channels_in, channels_out)
        self.condition = nn.Linear(width, channels_out)
        self.norm2 = _group_norm(channels_out)
        self.convolution2 = Convolution(channels_out, channels_out)
        straight = channels_in == channels_out and scale == 1
        self.skip = nn.Identity() if straight else nn.Conv2d(channels_in, channels_out, 1)
        if attention:
            self.norm3 = _group_norm(channels_out)
            self.qkv = nn.Conv2d(channels_out, 3 * channels_out, 1)
            self.attention_out = nn.Conv2d(channels_out, channels_out, 1)

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        """(B, channels_out, S * scale, S * scale) from (B, channels_in, S, S) and the condition (B, E)."""
        h = of_resampled(self.convolution1, F.silu(self.norm1(x)), self.scale)
        h = F.silu(self.norm2(h + self.condition(condition)[:, :, None, None]))
        h = self.convolution2(dropout(h, self.dropout, self.training))
        x = (h + of_resampled(self.skip, x, self.scale)) * _SKIP_SCALE
        if self.attends:
            q, k, v = self.qkv(self.norm3(x)).flatten(2).transpose(1, 2).chunk(3, -1)
            attended = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).view_as(x)
            x = (x + self.attention_out(attended)) * _SKIP_SCALE
        return x


class UNet(nn.Module):
    """A field from a noisy field, the condition of its noise and an optional label.

    The encoder has ``num_blocks`` blocks a level. The decoder has one more, and each reads what the encoder wrote at
    its level too. At the sides named, every encoder block and the last decoder block attend; of the two blocks between
    encoder and decoder the first always does.

    Args:
        channels: C of the first level, a multiple of 4.
        multipliers: of C, one a level; each level's side is the last one's divided by ``factor``.
        num_blocks: of the encoder, a level.
        attention_sides: sides of the levels with attention.
        factor: of resampling.
        dropout: inside each block.
        in_channels, out_channels: of the field before and after.
        side: S.
        num_labels: classes of the optional label; 0 makes an unconditional network.
        time_scale: times are multiplied by it before their sines are taken (periods 2 pi to 20,000 pi).
        reads_unknown: does it read which cells are unknown? Null is no; `genraven fit` makes it yes where the data can
            have missing cells.
    """

    def __init__(
        self,
        *,
        channels: int = 64,
        multipliers: tuple[int, ...] = (1, 2, 4),
        num_blocks: int = 1,
        attention_sides: tuple[int, ...] = (9, 3),
        factor: int = 3,
        dropout: float = 0.13,
        in_channels: int = 3,
        out_channels: int = 3,
        side: int = 9,
        num_labels: int = 0,
        time_scale: float = 1.0,
        reads_unknown: bool | None = None,
    ) -> None:
        super().__init__()
        check_ranges(channels=channels, num_blocks=num_blocks, factor=factor, in_channels=in_channels,
                     out_channels=out_channels, side=side, num_labels=num_labels, dropout=dropout)  # fmt: skip
        if channels % 4 or side % factor ** (len(multipliers) - 1):
            raise InputError(f"expected channels divisible by 4 and a side that {len(multipliers)} levels can divide "
                             f"by {factor}, got {channels} channels and side {side}.")  # fmt: skip
        self.in_channels, self.num_labels, self.reads_unknown = in_channels, num_labels, bool(reads_unknown)
        self.channels, self.time_scale = channels, time_scale
        width = 4 * channels
        self.time_in = nn.Linear(channels, width)
        self.time_out = nn.Linear(width, width)
        # The row of the unconditional label is zero and stays so.
        self.label = nn.Embedding(num_labels + 1, channels, padding_idx=num_labels) if num_labels else None
        self.first = Convolution(in_channels + self.reads_unknown, channels)

        def block(before: int, after: int, attention: bool, scale: float = 1) -> Block:
            return Block(before, after, width, dropout, attention=attention, scale=scale)

        sizes = [channels * m for m in multipliers]
        attends = [side // factor**level in attention_sides for level in range(len(sizes))]
        encoder: list[Block] = []
        current, skips = channels, [channels]
        for level, size in enumerate(sizes):
            if level:
                encoder.append(block(current, current, False, 1 / factor))
                skips.append(current)
            for _ in range(num_blocks):
                encoder.append(block(current, size, attends[level]))
                current = size
                skips.append(current)
        self.encoder = nn.ModuleList(encoder)
        self.middle = nn.ModuleList([block(current, current, True), block(current, current, False)])
        decoder: list[nn.ModuleList] = []
        for level in reversed(range(len(sizes))):
            merging = []
            for i in range(num_blocks + 1):
                merging.append(block(current + skips.pop(), sizes[level], attends[level] and i == num_blocks))
                current = sizes[level]
            decoder.append(nn.ModuleList(merging))
        self.decoder = nn.ModuleList(decoder)
        self.up = nn.ModuleList(block(size, size, False, factor) for size in sizes[:0:-1])
        self.norm = _group_norm(current)
        self.out = Convolution(current, out_channels)
        self._initialise()

    @property
    def blocks(self) -> list[nn.Module]:
        """In the order in which they run."""
        ordered = [*self.encoder, *self.middle]
        for level, merging in enumerate(self.decoder):
            ordered += [*([self.up[level - 1]] if level else []), *merging]  # type: ignore[misc]
        return ordered

    def example_inputs(self, num_cells: int, device: torch.device | str) -> tuple[Tensor, ...]:
        """What it reads of one puzzle of ``num_cells`` cells: a field and its time."""
        side = math.isqrt(num_cells)
        return torch.zeros(1, self.in_channels, side, side, device=device), torch.zeros(1, device=device)

    def _initialise(self) -> None:
        """Xavier-uniform weights; nearly zero where a branch ends, smaller where attention begins."""
        for name, module in self.named_modules():
            if isinstance(module, nn.Linear | nn.Conv2d):
                ends_branch = name == "out" or name.endswith(("convolution2", "attention_out"))
                gain = 1e-5 if ends_branch else math.sqrt(0.2) if name.endswith("qkv") else 1.0
                nn.init.xavier_uniform_(module.weight, gain)
                nn.init.zeros_(module.bias)  # type: ignore[arg-type]
        if self.label is not None:  # the variance of Xavier's weights, for a one-hot label of mean square 1
            nn.init.normal_(self.label.weight, std=math.sqrt(2 * self.num_labels / (self.num_labels + self.channels)))
            with torch.no_grad():
                self.label.weight[self.num_labels] = 0

    def forward(
        self, x: Tensor, times: Tensor, labels: Tensor | None = None, *, unknown: Tensor | None = None
    ) -> Tensor:
        """(B, out_channels, S, S) from noisy fields (B, in_channels, S, S).

        Args:
            times: (B,) the condition of the noise, any real number: ln(sigma) / 4 for EDM.
            labels: (B,) int64; None, or ``num_labels``, is unconditional.
            unknown: (B, S, S) bool, for a network that reads which cells are unknown; None for none.
        """
        if self.reads_unknown:
            x = with_channel(x, unknown)
        condition = _sines(self.time_scale * times, self.channels).to(x.dtype)
        if self.label is not None and labels is not None:
            condition = condition + self.label(labels)
        condition = F.silu(self.time_out(F.silu(self.time_in(condition))))

        h = self.first(x)
        written = [h]
        for block in self.encoder:
            h = block(h, condition)
            written.append(h)
        for block in self.middle:
            h = block(h, condition)
        for level, merging in enumerate(self.decoder):
            if level:
                h = self.up[level - 1](h, condition)
            for block in merging:  # type: ignore[attr-defined]
                h = block(torch.cat([h, written.pop()], 1), condition)
        return self.out(F.silu(self.norm(h)))
