"""A transformer that reads a puzzle in blocks: each sees itself, some cells masked, and the whole blocks before it.

B batch, L cells, n cells of a block, D width, V states of a cell.

In training a puzzle is read twice at once, as 2 L positions (Arriola et al. 2025, arXiv 2503.09573, sec. 3.2): whole,
where a block reads itself and those before it, and masked, where it reads itself and the whole ones before it. So what
is kept of a whole block follows from it and those before it alone, and generation reads each once.
"""

import math

import torch
from torch import Tensor

from genraven.networks.bidirectional import BidirectionalTransformer
from genraven.networks.cells import BlockNetwork
from genraven.networks.dropout import dropout
from genraven.networks.transformer import KeyValueCache


def reads_blocks(num_cells: int, block_size: int, device: torch.device, first: int = 0) -> Tensor:
    """(num_cells - first, num_cells) bool: which whole cells those from ``first`` on read, by blocks."""
    blocks = torch.arange(num_cells, device=device) // block_size
    return blocks[first:].unsqueeze(1) >= blocks


class BlockTransformer(BidirectionalTransformer, BlockNetwork):
    """Logits of every cell's state, by blocks of GPT-2 whose attention goes back to whole blocks of cells.

    Its parameters and arguments are those of ``BidirectionalTransformer``.
    """

    steps_alike = False  # what is read grows from block to block

    def all_blocks(
        self,
        cells: Tensor,
        masked: Tensor,
        labels: Tensor | None = None,
        *,
        block_size: int,
        unknown: Tensor | None = None,
    ) -> Tensor:
        """(B, L, V) logits, as ``BlockNetwork`` says."""
        num = cells.shape[1]
        if block_size == num:
            return self(cells, masked, labels)
        nowhere = torch.zeros_like(masked) if unknown is None else unknown
        x = torch.cat([self.embedded(cells, hidden, labels) for hidden in (nowhere, masked)], 1)
        back = reads_blocks(num, block_size, cells.device)
        own = back & back.T
        reads = torch.cat([torch.cat([back, torch.zeros_like(own)], 1), torch.cat([back & ~own, own], 1)])
        return self.read(x, None, reads, torch.arange(num, 2 * num, device=cells.device).expand(len(cells), -1))

    def new_cache(self, batch_size: int) -> KeyValueCache:
        """An empty cache for ``batch_size`` puzzles."""
        num_heads = self.blocks[0].num_heads
        shape = (batch_size, num_heads, math.prod(self.shape), self.width // num_heads)  # type: ignore[operator]
        return KeyValueCache(len(self.blocks), shape, self.norm.weight)  # type: ignore[arg-type]

    def next_block(
        self, cells: Tensor, masked: Tensor, labels: Tensor | None, positions: Tensor | None, cache: KeyValueCache
    ) -> Tensor:
        """(B, P, V) logits, as ``BlockNetwork`` says."""
        return self.read(self.embedded(cells, masked, labels, cache.length), cache, None, positions)

    def keep(self, cells: Tensor, labels: Tensor | None, cache: KeyValueCache, *, block_size: int) -> None:
        """As ``BlockNetwork`` says."""
        nowhere = torch.zeros_like(cells[..., 0], dtype=torch.bool)
        num, first = cells.shape[1], cache.length
        reads = None if num == block_size else reads_blocks(first + num, block_size, cells.device, first)
        self.read(self.embedded(cells, nowhere, labels, first), cache, reads, None, speaks=False)
        cache.advance(num)

    def read(
        self,
        x: Tensor,
        cache: KeyValueCache | None,
        reads: Tensor | None,
        positions: Tensor | None,
        *,
        speaks: bool = True,
    ) -> Tensor:
        """(B, P, V) logits at ``positions`` of embedded cells (B, N, D), which see what ``reads`` (N, known) says.

        None is all that is known. Where it does not speak, what is returned means nothing.
        """
        x = dropout(x, self.dropout, self.training)
        for layer, block in enumerate(self.blocks):
            asked = positions if layer == len(self.blocks) - 1 else None
            seen = reads if asked is None or reads is None else reads[-asked.shape[1] :]
            call = block if cache is None else block.forward  # compiled it would be so anew for each length and layer
            x = call(x, cache, layer, asked, seen)
        return self.head(self.norm(x)) if speaks else x
