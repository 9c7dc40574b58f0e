"""A GPT-2-like decoder over the cells of a puzzle (Radford et al. 2019), with a key-value cache.

B batch, L positions, D width, H heads.
"""

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from genraven.errors import InputError
from genraven.networks.attention import attend
from genraven.networks.cells import CellNetwork, Embedding, Head
from genraven.networks.dropout import dropout
from genraven.networks.ranges import check_ranges

RESIDUAL = ("attention_out", "mlp_out")
"""Layers of a block that feed the residual stream."""


class KeyValueCache:
    """Keys and values of the positions read so far, in memory taken once.

    Args:
        num_layers: of the network.
        shape: (B, H, positions, D / H).
    """

    def __init__(self, num_layers: int, shape: tuple[int, int, int, int], like: Tensor) -> None:
        # Each in memory of its own: a compiled write into a part of one would copy it all.
        self.layers = [(like.new_empty(shape), like.new_empty(shape)) for _ in range(num_layers)]
        self.length = 0
        self.position: Tensor | None = None
        """(1,) int64 of the next position, on the device, once the shapes are fixed."""
        self._place = like.new_zeros(1, dtype=torch.int64)

    def restart(self) -> None:
        """Forgets what was read; the memory stays."""
        self.length, self.position = 0, None

    def fix_shapes(self) -> tuple[Tensor, ...]:
        """From now on one position is read at a time, each by the same work: attention to all memory, behind a mask.

        Returns what it then changes in place.
        """
        memories = [memory for layer in self.layers for memory in layer]
        for memory in memories:
            memory[:, :, self.length :] = 0.0  # a weight of 0 times what happens to be there may be nan
        self.position = self._place.fill_(self.length)
        self.length = memories[0].shape[2]
        return *memories, self.position

    def select(self, sequences: Tensor) -> None:
        """Goes on with ``sequences`` (B,) int64 of those read so far, some perhaps twice and some no more."""
        for layer in self.layers:
            for memory in layer:
                known = memory[:, :, : self.length]
                known.copy_(known.index_select(0, sequences))

    def extend(self, layer: int, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
        """All keys and values of ``layer`` (B, H, length, D / H), the new ones (B, H, L, D / H) appended."""
        keys, values = self.layers[layer]
        if self.position is not None:
            for memory, new in ((keys, key), (values, value)):
                memory.index_copy_(2, self.position, new.to(memory.dtype))
            return keys, values
        end = self.length + key.shape[2]
        keys[:, :, self.length : end] = key
        values[:, :, self.length : end] = value
        return keys[:, :, :end], values[:, :, :end]

    def mask(self, num_read: int, num_known: int) -> Tensor | None:
        """(num_read, num_known) bool: which known positions the last ``num_read`` see; None where ``attend`` knows."""
        device = self.layers[0][0].device
        if self.position is not None:
            return (torch.arange(num_known, device=device) <= self.position).unsqueeze(0)
        if not 1 < num_read < num_known:
            return None
        # is_causal aligns the mask to the first position, so what follows a filled cache needs one of its own.
        return torch.ones(num_read, num_known, dtype=torch.bool, device=device).tril(num_known - num_read)

    def advance(self, num: int) -> None:
        """Counts ``num`` positions that all layers have read."""
        if self.position is None:
            self.length += num
        else:
            self.position += num


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

    def forward(
        self,
        x: Tensor,
        cache: KeyValueCache | None = None,
        layer: int = 0,
        positions: Tensor | None = None,
        mask: Tensor | None = None,
    ) -> Tensor:
        """(B, L, D) from (B, L, D), or (B, P, D) of the positions ``positions`` (B, P) alone.

        They read all that they may: ``mask`` (L or P, positions known) says what, where causality does not.
        """
        h = self.norm1(x)
        if positions is None:
            q, k, v = self._by_heads(self.qkv(h))
        else:
            x, asked = (whole.gather(1, positions.unsqueeze(-1).expand(-1, -1, x.shape[-1])) for whole in (x, h))
            parts = x.shape[-1], 2 * x.shape[-1]
            of_queries, of_all = zip(self.qkv.weight.split(parts), self.qkv.bias.split(parts), strict=True)
            (q,), (k, v) = self._by_heads(F.linear(asked, *of_queries)), self._by_heads(F.linear(h, *of_all))
        if cache is not None:
            k, v = cache.extend(layer, k, v)
        dropped = self.dropout if self.training else 0.0
        read, known = q.shape[2], k.shape[2]
        of_cache = cache.mask(read, known) if cache is not None and self.causal else None
        if of_cache is None:
            causal = self.causal and mask is None and 1 < read == known
            attended = attend(q, k, v, causal=causal, mask=mask, dropout=dropped)
        else:
            attended = F.scaled_dot_product_attention(q, k, v, attn_mask=of_cache, dropout_p=dropped)
        x = x + dropout(self.attention_out(attended.transpose(1, 2).flatten(2)), dropped)
        hidden = F.gelu(self.mlp_in(self.norm2(x)), approximate="tanh")
        return x + dropout(self.mlp_out(hidden), dropped)

    def _by_heads(self, x: Tensor) -> Tensor:
        """(N, B, H, L, D / H) from (B, L, N * D)."""
        return x.unflatten(-1, (-1, self.num_heads, self.norm1.normalized_shape[0] // self.num_heads)).permute(
            2, 0, 3, 1, 4
        )


class Decoder(CellNetwork):
    """Logits of each next cell from embedded cells, blocks that read those before each, and heads.

    Args:
        make_block: makes a block that is called as ``Block`` is.
        width: D.
        depth: number of blocks.
        num_heads: of keys and values in the cache.
        head, embedding, symbols, num_states, num_labels, reads_unknown: as in CellNetwork.
        num_cells: cells of a sequence.
        dropout: on embeddings.
    """

    without_decay: tuple[str, ...] = ("positions",)

    def __init__(
        self,
        make_block: Callable[[], nn.Module],
        *,
        width: int,
        depth: int,
        num_heads: int,
        head: Head,
        embedding: Embedding,
        symbols: tuple[int, ...],
        num_states: int,
        num_cells: int,
        num_labels: int,
        dropout: float,
        reads_unknown: bool | None,
    ) -> None:
        super().__init__(
            width=width,
            head=head,
            embedding=embedding,
            symbols=symbols,
            num_states=num_states,
            num_labels=num_labels,
            reads_unknown=reads_unknown,
        )
        self.num_heads, self.num_cells, self.dropout = num_heads, num_cells, dropout
        self.positions = nn.Parameter(torch.empty(num_cells, width))
        self.blocks = nn.ModuleList(make_block() for _ in range(depth))
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
        if cache is not None and cache.position is not None:
            positions = self.positions.index_select(0, cache.position)
        else:
            done = cache.length if cache is not None else 0
            positions = self.positions[done : done + x.shape[1]]
        return self.read(x + positions, cache)

    def read(self, x: Tensor, cache: KeyValueCache | None) -> Tensor:
        """(B, L, D), normalised, from positions (B, L, D) that know where they are."""
        x = dropout(x, self.dropout, self.training)
        for layer, block in enumerate(self.blocks):
            # With a cache as it was written: compiled it would be compiled anew for each length and layer.
            x = block(x, cache, layer) if cache is None else block.forward(x, cache, layer)
        if cache is not None:
            cache.advance(x.shape[1])
        return self.norm(x)


class Transformer(Decoder):
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
            have missing cells.
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
        check_ranges(width=width, depth=depth, num_heads=num_heads, num_labels=num_labels, dropout=dropout)
        if width % num_heads or width % len(symbols):
            raise InputError(f"expected width divisible by num_heads and by {len(symbols)}, "
                             f"got width {width} and {num_heads} heads.")  # fmt: skip
        super().__init__(
            lambda: Block(width, num_heads, dropout),
            width=width,
            depth=depth,
            num_heads=num_heads,
            head=head,
            embedding=embedding,
            symbols=symbols,
            num_states=num_states,
            num_cells=num_cells,
            num_labels=num_labels,
            dropout=dropout,
            reads_unknown=reads_unknown,
        )
