"""A GPT-2-like decoder that writes the cells of a puzzle in any order: it reads where it writes next.

B batch, L positions, D width. Position 0 reads the start token, position i the cell that stands i-th in the order, and
each predicts the next in the order. Of a position it knows two things: where the cell that it reads stands, and where
the cell that it predicts does (the double positional encoding of Pannatier et al. 2024, arXiv 2404.09562).
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from genraven.networks.cells import AnyOrderNetwork, Embedding, Head, place_table
from genraven.networks.transformer import KeyValueCache, Transformer


class OrderedCache(KeyValueCache):
    """Keys and values of cells read in an order, (B, L) int64; None is that of tokens."""

    def __init__(
        self, num_layers: int, shape: tuple[int, int, int, int], like: Tensor, order: Tensor | None = None
    ) -> None:
        super().__init__(num_layers, shape, like)
        self.order = order

    def restart(self, order: Tensor | None = None) -> None:  # type: ignore[override]
        """Forgets what was read, to go on in ``order``; the memory stays."""
        super().restart()
        if self.order is not None and order is not None:
            self.order.copy_(order)

    def select(self, sequences: Tensor) -> None:
        """As of any cache, each with its order."""
        super().select(sequences)
        if self.order is not None:
            self.order.copy_(self.order.index_select(0, sequences))


class AnyOrderTransformer(Transformer, AnyOrderNetwork):
    """Logits of each next cell in an order, by attention to all cells before it.

    A place is the sum of its row's, its panel's and its cell's embedding.

    Args:
        width: D, divisible by ``num_heads`` and by the number of attributes.
        depth: number of blocks.
        num_heads: attention heads.
        head: ``separate`` or ``joint``, as in CellNetwork.
        embedding: ``separate``, ``combined`` or ``joint``, as in CellNetwork.
        symbols: number of symbols of each attribute.
        num_states: number of symbols of the joint head.
        shape: rows, panels of a row and cells of a panel; their product is the number of cells.
        num_labels: classes of the optional label; 0 makes an unconditional network.
        dropout: on embeddings, attention weights and residual branches.
    """

    without_decay = ("places", "next_places")

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
        shape: tuple[int, int, int] = (3, 3, 9),
        num_labels: int = 0,
        dropout: float = 0.0,
    ) -> None:
        super().__init__(
            width=width,
            depth=depth,
            num_heads=num_heads,
            head=head,
            embedding=embedding,
            symbols=symbols,
            num_states=num_states,
            num_cells=math.prod(shape),
            num_labels=num_labels,
            dropout=dropout,
        )
        self.shape, self.num_cells = shape, math.prod(shape)
        self.positions = None  # type: ignore[assignment]  # of a network in one order
        self.places, self.next_places = (
            nn.ParameterList(nn.init.normal_(torch.empty(n, width), std=0.02) for n in shape) for _ in range(2)
        )

    def new_cache(self, batch_size: int, order: Tensor | None = None) -> OrderedCache:
        """An empty cache for ``batch_size`` sequences in ``order``."""
        shape = (batch_size, self.num_heads, self.num_cells, self.width // self.num_heads)
        return OrderedCache(len(self.blocks), shape, self.norm.weight, order)

    def forward(
        self,
        cells: Tensor,
        labels: Tensor | None = None,
        cache: OrderedCache | None = None,
        *,
        last_only: bool = False,
        unknown: Tensor | None = None,
        order: Tensor | None = None,
    ) -> Tensor:
        """Logits (B, positions read, sum of ``head_sizes``), as ``AnyOrderNetwork`` says."""
        x = self.embedded(cells, labels, cache, unknown)
        order = order if cache is None else cache.order
        if order is None:
            order = torch.arange(self.num_cells, device=cells.device).expand(len(cells), -1)
        if cache is not None and cache.position is not None:
            read, written = (order.index_select(1, cache.position - before) for before in (1, 0))
        else:
            first = cache.length if cache is not None else 0
            written = order[:, first : first + x.shape[1]]
            read = order[:, max(first - 1, 0) : first + x.shape[1] - 1]
        known = F.embedding(read, place_table(self.places))
        known = F.pad(known, (0, 0, x.shape[1] - known.shape[1], 0))  # the start token stands nowhere
        x = x + known + F.embedding(written, place_table(self.next_places))
        return self.logits(self.read(x, cache), last_only=last_only)
