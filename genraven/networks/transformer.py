"""A GPT-2-like decoder over the cells of a puzzle (Radford et al. 2019), with a key-value cache.

B batch, L positions, A attributes, D width, H heads, V symbols of a head. Symbols are integers from 0; the network
knows nothing of what they mean. Position 0 reads the start token (the label, for a network with labels), position i
the (i - 1)-th cell; each predicts the next cell.
"""

import math
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from genraven.errors import InputError

Head = Literal["separate", "joint"]


class KeyValueCache:
    """Keys and values of the positions read so far, in memory taken once.

    Args:
        num_layers: of the network.
        shape: (B, H, positions, D / H).
    """

    def __init__(self, num_layers: int, shape: tuple[int, int, int, int], like: Tensor) -> None:
        self.memory = like.new_empty(num_layers, 2, *shape)
        self.length = 0

    def select(self, sequences: Tensor) -> None:
        """Goes on with ``sequences`` (B,) int64 of those read so far, some perhaps twice and some no more."""
        known = self.memory[:, :, :, :, : self.length]
        known.copy_(known.index_select(2, sequences))

    def extend(self, layer: int, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
        """All keys and values of ``layer`` (B, H, length, D / H), the new ones (B, H, L, D / H) appended."""
        end = self.length + key.shape[2]
        self.memory[layer, 0, :, :, self.length : end] = key
        self.memory[layer, 1, :, :, self.length : end] = value
        return self.memory[layer, 0, :, :, :end], self.memory[layer, 1, :, :, :end]


class Block(nn.Module):
    """Pre-norm attention and MLP, as in GPT-2."""

    def __init__(self, width: int, num_heads: int, dropout: float) -> None:
        super().__init__()
        self.num_heads, self.dropout = num_heads, dropout
        self.norm1 = nn.LayerNorm(width)
        self.qkv = nn.Linear(width, 3 * width)
        self.attention_out = nn.Linear(width, width)
        self.norm2 = nn.LayerNorm(width)
        self.mlp_in = nn.Linear(width, 4 * width)
        self.mlp_out = nn.Linear(4 * width, width)

    def forward(self, x: Tensor, cache: KeyValueCache | None, layer: int) -> Tensor:
        """(B, L, D) from (B, L, D)."""
        q, k, v = self.qkv(self.norm1(x)).unflatten(-1, (3, self.num_heads, -1)).permute(2, 0, 3, 1, 4)
        if cache is not None:
            k, v = cache.extend(layer, k, v)
        dropout = self.dropout if self.training else 0.0
        read, known = q.shape[2], k.shape[2]
        # is_causal aligns the mask to the first position, so what follows a filled cache needs one of its own.
        later = (
            torch.ones(read, known, dtype=torch.bool, device=q.device).tril(known - read) if 1 < read < known else None
        )
        attended = F.scaled_dot_product_attention(
            q, k, v, attn_mask=later, dropout_p=dropout, is_causal=1 < read == known
        )
        x = x + F.dropout(self.attention_out(attended.transpose(1, 2).flatten(2)), dropout)
        hidden = F.gelu(self.mlp_in(self.norm2(x)), approximate="tanh")
        return x + F.dropout(self.mlp_out(hidden), dropout)


class Transformer(nn.Module):
    """Logits of each next cell.

    ``separate`` embeddings and heads as in the study: each attribute has a third of the width, and a softmax of its own
    that reads that third. The ``joint`` head is one softmax over all states of a cell.

    Args:
        width: D, divisible by ``num_heads`` and by the number of attributes.
        depth: number of blocks.
        num_heads: H.
        head: ``separate`` or ``joint``.
        symbols: number of symbols of each attribute.
        num_states: number of symbols of the joint head.
        num_cells: cells of a sequence.
        num_labels: classes of the optional label; 0 makes an unconditional network.
        dropout: on embeddings, attention weights and residual branches.
    """

    def __init__(
        self,
        *,
        width: int = 384,
        depth: int = 12,
        num_heads: int = 6,
        head: Head = "separate",
        symbols: tuple[int, ...] = (8, 11, 11),
        num_states: int = 701,
        num_cells: int = 81,
        num_labels: int = 0,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        if width % num_heads or width % len(symbols):
            raise InputError(f"expected width divisible by num_heads and by {len(symbols)}, "
                             f"got width {width} and {num_heads} heads.")  # fmt: skip
        self.num_labels, self.dropout = num_labels, dropout
        self.head_sizes: tuple[int, ...] = symbols if head == "separate" else (num_states,)
        self.positions = nn.Parameter(torch.empty(num_cells, width))
        self.start = nn.Embedding(num_labels + 1, width)
        self.embeddings = nn.ModuleList(nn.Embedding(n, width // len(symbols)) for n in symbols)
        self.blocks = nn.ModuleList(Block(width, num_heads, dropout) for _ in range(depth))
        self.norm = nn.LayerNorm(width)
        self.heads = nn.ModuleList(nn.Linear(width // len(self.head_sizes), n) for n in self.head_sizes)
        self._initialise(depth)

    def _initialise(self, depth: int) -> None:
        """Normal weights of standard deviation 0.02, smaller by sqrt(2 depth) where they feed the residual stream."""
        nn.init.normal_(self.positions, std=0.02)
        for name, module in self.named_modules():
            if isinstance(module, nn.Linear | nn.Embedding):
                residual = name.endswith(("attention_out", "mlp_out"))
                nn.init.normal_(module.weight, std=0.02 / math.sqrt(2 * depth) if residual else 0.02)
            if isinstance(module, nn.Linear):
                nn.init.zeros_(module.bias)

    def new_cache(self, batch_size: int) -> KeyValueCache:
        """An empty cache for ``batch_size`` sequences."""
        block: Block = self.blocks[0]  # type: ignore[assignment]
        num_cells, width = self.positions.shape
        shape = (batch_size, block.num_heads, num_cells, width // block.num_heads)
        return KeyValueCache(len(self.blocks), shape, self.positions)

    def forward(self, cells: Tensor, labels: Tensor | None = None, cache: KeyValueCache | None = None) -> Tensor:
        """Logits (B, positions read, sum of ``head_sizes``); split them by ``head_sizes``.

        Args:
            cells: (B, L, A) int64 symbols that follow those in the cache. Without a cache, or with an empty one, the
                start token is read first, so that L + 1 positions are read.
            labels: (B,) int64; None, or ``num_labels``, is unconditional. Only the start token reads it.
            cache: extended in place.
        """
        x = torch.cat([embed(part) for embed, part in zip(self.embeddings, cells.unbind(-1), strict=True)], -1)
        done = cache.length if cache is not None else 0
        if done == 0:
            if labels is None:
                labels = cells.new_full((len(cells),), self.num_labels)
            x = torch.cat([self.start(labels).unsqueeze(1), x], 1)
        x = F.dropout(x + self.positions[done : done + x.shape[1]], self.dropout, self.training)
        for layer, block in enumerate(self.blocks):
            x = block(x, cache, layer)
        if cache is not None:
            cache.length += x.shape[1]
        parts = self.norm(x).chunk(len(self.heads), -1)
        return torch.cat([head(part) for head, part in zip(self.heads, parts, strict=True)], -1)
