"""A GPT-2-like decoder over the cells of a puzzle (Radford et al. 2019), with a key-value cache.

B batch, L positions, D width, H heads.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from genraven.errors import InputError
from genraven.networks.attention import attend
from genraven.networks.cells import CellNetwork, Embedding, Head
from genraven.networks.dropout import dropout

RESIDUAL = ("attention_out", "mlp_out")
"""Layers of a block that feed the residual stream."""


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
    """Pre-norm attention and MLP, as in GPT-2.

    Args:
        width: D.
        num_heads: H.
        dropout: on attention weights and residual branches.
        causal: does each position attend to itself and those before it only?
    """

    def __init__(self, width: int, num_heads: int, dropout: float, *, causal: bool = True) -> None:
        super().__init__()
        self.num_heads, self.dropout, self.causal = num_heads, dropout, causal
        self.norm1 = nn.LayerNorm(width)
        self.qkv = nn.Linear(width, 3 * width)
        self.attention_out = nn.Linear(width, width)
        self.norm2 = nn.LayerNorm(width)
        self.mlp_in = nn.Linear(width, 4 * width)
        self.mlp_out = nn.Linear(4 * width, width)

    def forward(self, x: Tensor, cache: KeyValueCache | None = None, layer: int = 0) -> Tensor:
        """(B, L, D) from (B, L, D)."""
        q, k, v = self.qkv(self.norm1(x)).unflatten(-1, (3, self.num_heads, -1)).permute(2, 0, 3, 1, 4)
        if cache is not None:
            k, v = cache.extend(layer, k, v)
        dropped = self.dropout if self.training else 0.0
        read, known = q.shape[2], k.shape[2]
        # is_causal aligns the mask to the first position, so what follows a filled cache needs one of its own.
        later = (
            torch.ones(read, known, dtype=torch.bool, device=q.device).tril(known - read) if 1 < read < known else None
        )
        causal = self.causal and 1 < read == known
        if later is None:
            attended = attend(q, k, v, causal=causal, dropout=dropped)
        else:
            attended = F.scaled_dot_product_attention(q, k, v, attn_mask=later, dropout_p=dropped)
        x = x + dropout(self.attention_out(attended.transpose(1, 2).flatten(2)), dropped)
        hidden = F.gelu(self.mlp_in(self.norm2(x)), approximate="tanh")
        return x + dropout(self.mlp_out(hidden), dropped)


class Transformer(CellNetwork):
    """Logits of each next cell, by attention to all cells before it.

    Args:
        width: D, divisible by ``num_heads`` and by the number of attributes.
        depth: number of blocks.
        num_heads: H.
        head: ``separate`` or ``joint``, as in CellNetwork.
        embedding: ``separate``, ``combined`` or ``joint``, as in CellNetwork.
        symbols: number of symbols of each attribute.
        num_states: number of symbols of the joint head.
        num_cells: cells of a sequence.
        num_labels: classes of the optional label; 0 makes an unconditional network.
        dropout: on embeddings, attention weights and residual branches.
        reads_unknown: does it read which cells are unknown? Null is no; `genraven fit` makes it yes where the data can
            have gaps.
    """

    def __init__(
        self,
        *,
        width: int = 384,
        depth: int = 12,
        num_heads: int = 6,
        head: Head = "separate",
        embedding: Embedding = "separate",
        symbols: tuple[int, ...] = (8, 11, 11),
        num_states: int = 701,
        num_cells: int = 81,
        num_labels: int = 0,
        dropout: float = 0.0,
        reads_unknown: bool | None = None,
    ) -> None:
        if width % num_heads or width % len(symbols):
            raise InputError(f"expected width divisible by num_heads and by {len(symbols)}, "
                             f"got width {width} and {num_heads} heads.")  # fmt: skip
        super().__init__(
            width=width,
            head=head,
            embedding=embedding,
            symbols=symbols,
            num_states=num_states,
            num_labels=num_labels,
            reads_unknown=reads_unknown,
        )
        self.num_heads, self.dropout = num_heads, dropout
        self.positions = nn.Parameter(torch.empty(num_cells, width))
        self.blocks = nn.ModuleList(Block(width, num_heads, dropout) for _ in range(depth))
        self.norm = nn.LayerNorm(width)
        self.heads = self.make_heads()
        self._initialise(depth)

    def _initialise(self, depth: int) -> None:
        """Normal weights of standard deviation 0.02, smaller by sqrt(2 depth) where they feed the residual stream."""
        nn.init.normal_(self.positions, std=0.02)
        for name, module in self.named_modules():
            if isinstance(module, nn.Linear | nn.Embedding):
                residual = name.endswith(RESIDUAL)
                nn.init.normal_(module.weight, std=0.02 / math.sqrt(2 * depth) if residual else 0.02)
            if isinstance(module, nn.Linear):
                nn.init.zeros_(module.bias)
        if self.unknown is not None:  # last, so that all else begins as in a network without
            nn.init.normal_(self.unknown, std=0.02)

    def new_cache(self, batch_size: int) -> KeyValueCache:
        """An empty cache for ``batch_size`` sequences."""
        shape = (batch_size, self.num_heads, len(self.positions), self.width // self.num_heads)
        return KeyValueCache(len(self.blocks), shape, self.positions)

    def trunk(self, x: Tensor, cache: KeyValueCache | None) -> Tensor:
        """(B, L, D), normalised, from embedded positions (B, L, D) that follow those in the cache."""
        done = cache.length if cache is not None else 0
        x = dropout(x + self.positions[done : done + x.shape[1]], self.dropout, self.training)
        for layer, block in enumerate(self.blocks):
            # With a cache as it was written: compiled it would be compiled anew for each length and layer.
            x = block(x, cache, layer) if cache is None else block.forward(x, cache, layer)
        if cache is not None:
            cache.length += x.shape[1]
        return self.norm(x)
