"""Transformers that read along the axes of a puzzle and know nothing else of it: attributes, cells, panels, rows.

B batch, L positions, A attributes of a cell, T width of an attribute's token, D = A T, H heads.

The tokens of a cell are those of its attributes, side by side. They attend to each other, and each to the tokens of the
same attribute in other cells: some heads to those of its own panel, some to its row's, some to all. So a network is
given which cells belong together, and not that panels are sets or that rows share a rule: a step between the plain
transformers and the relational networks. After axial attention (Ho et al. 2019, arXiv 1912.12180), with whole groups
of cells in the place of lines of pixels.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from genraven.errors import InputError
from genraven.networks.attention import attend
from genraven.networks.bidirectional import Encoder
from genraven.networks.cells import Head
from genraven.networks.dropout import dropout
from genraven.networks.ranges import check_ranges
from genraven.networks.transformer import Decoder, KeyValueCache

NUM_GROUPS = 3
"""Of cells that a head reads: those of a panel, of a row, of the puzzle."""


def groups_of_cells(shape: tuple[int, int, int]) -> Tensor:
    """(3, L, L) bool: whether two cells are of one panel, of one row, of one puzzle.

    Args:
        shape: rows, panels of a row and cells of a panel; L is their product.
    """
    cells = torch.arange(math.prod(shape))
    sizes = shape[2], shape[1] * shape[2], len(cells)
    return torch.stack([cells.unsqueeze(1) // size == cells // size for size in sizes])


def seen_by_next(groups: Tensor, *, reads_start: bool) -> Tensor:
    """(3, L, L) which positions each reads that predicts the next cell: itself, and those before it with a cell of the
    group that it predicts in. Position i predicts cell i, and holds the cell before.

    Args:
        groups: (3, L, L) which cells are of one group.
        reads_start: do all read position 0 as well, which holds no cell but a label?
    """
    before = F.pad(groups[..., :-1], (1, 0), value=reads_start)
    return (before | torch.eye(groups.shape[-1], dtype=torch.bool)).tril()


def _check(width: int, num_heads: int, num_attributes: int) -> None:
    if width % num_attributes or (width // num_attributes) % num_heads or num_heads < NUM_GROUPS:
        raise InputError(f"expected width divisible by {num_attributes} attributes, and the rest by num_heads, "
                         f"{NUM_GROUPS} or more, got width {width} and {num_heads} heads.")  # fmt: skip


class AxialBlock(nn.Module):
    """Attention among cells and among the attributes of each, and an MLP, with weights that all attributes share.

    Args:
        reads: (3, L, L) bool, which positions each reads; the heads take turns.
        num_attributes: A.
        width: D, divisible by A, and the rest by ``num_heads``.
        num_heads: H, 3 or more.
        dropout: on residual branches.
    """

    reads: Tensor

    def __init__(self, reads: Tensor, num_attributes: int, width: int, num_heads: int, dropout: float) -> None:
        super().__init__()
        self.num_attributes, self.num_heads, self.dropout = num_attributes, num_heads, dropout
        of_heads = reads[torch.arange(num_heads) % NUM_GROUPS].repeat(num_attributes, 1, 1)
        self.register_buffer("reads", of_heads, persistent=False)  # A H, L, L
        token = width // num_attributes
        self.norms = nn.ModuleList(nn.LayerNorm(token) for _ in range(3))
        self.of_cells, self.of_attributes = (nn.Linear(token, 3 * token) for _ in range(2))
        self.cell_attention_out, self.attribute_attention_out = (nn.Linear(token, token) for _ in range(2))
        self.mlp_in, self.mlp_out = nn.Linear(token, 4 * token), nn.Linear(4 * token, token)

    def forward(
        self, x: Tensor, cache: KeyValueCache | None = None, layer: int = 0, positions: Tensor | None = None
    ) -> Tensor:
        """(B, L, D) from (B, L, D), or (B, P, D) of the positions ``positions`` (B, P) alone, which read all."""
        dropped = self.dropout if self.training else 0.0
        tokens = x.unflatten(-1, (self.num_attributes, -1))  # B, L, A, T
        q, k, v = self._by_heads(self.of_cells(self.norms[0](tokens)))  # B, L, A, H, T / H
        q, k, v = (part.flatten(2, 3).transpose(1, 2) for part in (q, k, v))  # B, A H, L, T / H
        if cache is not None:
            k, v = cache.extend(layer, k, v)
        read = attend(q, k, v, mask=self._mask(cache, x.shape[1]))
        read = read.transpose(1, 2).unflatten(2, (self.num_attributes, self.num_heads)).flatten(3)
        tokens = tokens + dropout(self.cell_attention_out(read), dropped)
        if positions is not None:
            tokens = tokens.gather(1, positions[..., None, None].expand(-1, -1, *tokens.shape[2:]))
        q, k, v = self._by_heads(self.of_attributes(self.norms[1](tokens)))
        q, k, v = (part.transpose(-2, -3).flatten(0, 1) for part in (q, k, v))  # B L, H, A, T / H
        read = attend(q, k, v).transpose(1, 2).flatten(2).unflatten(0, tokens.shape[:2])
        tokens = tokens + dropout(self.attribute_attention_out(read), dropped)
        hidden = F.gelu(self.mlp_in(self.norms[2](tokens)), approximate="tanh")
        return (tokens + dropout(self.mlp_out(hidden), dropped)).flatten(2)

    def _by_heads(self, x: Tensor) -> Tensor:
        """(3, B, L, A, H, T / H) from (B, L, A, 3 T)."""
        return x.unflatten(-1, (3, self.num_heads, -1)).movedim(-3, 0)

    def _mask(self, cache: KeyValueCache | None, num: int) -> Tensor:
        """(A H, num, positions known) of the ``num`` positions that follow those in the cache."""
        if cache is not None and cache.position is not None:
            return self.reads.index_select(1, cache.position)
        done = 0 if cache is None else cache.length
        return self.reads[:, done : done + num, : done + num]


class AxialTransformer(Decoder):
    """Logits of each next cell, by axial attention to the cells before it.

    Args:
        width: D, divisible by the number of attributes, and what each has by ``num_heads``.
        depth: number of blocks.
        num_heads: H, 3 or more.
        head: ``separate`` or ``joint``, as in CellNetwork.
        symbols: number of symbols of each attribute.
        num_states: number of symbols of the joint head.
        shape: rows, panels of a row and cells of a panel.
        num_labels: classes of the optional label; 0 makes an unconditional network.
        dropout: on embeddings and residual branches.
        reads_unknown: does it read which cells are unknown? Null is no; `genraven fit` makes it yes where the data can
            have missing cells.

    Raises:
        InputError: sizes that do not fit.
    """

    def __init__(
        self,
        *,
        width: int = 384,
        depth: int = 6,
        num_heads: int = 4,
        head: Head = "joint",
        symbols: tuple[int, ...] = (8, 11, 11),
        num_states: int = 701,
        shape: tuple[int, int, int] = (3, 3, 9),
        num_labels: int = 0,
        dropout: float = 0.0,
        reads_unknown: bool | None = None,
    ) -> None:
        check_ranges(width=width, depth=depth, num_heads=num_heads, num_labels=num_labels, dropout=dropout)
        _check(width, num_heads, len(symbols))
        reads = seen_by_next(groups_of_cells(shape), reads_start=num_labels > 0)
        super().__init__(
            lambda: AxialBlock(reads, len(symbols), width, num_heads, dropout),
            width=width, depth=depth, num_heads=len(symbols) * num_heads, head=head, embedding="separate",
            symbols=symbols, num_states=num_states, num_cells=math.prod(shape), num_labels=num_labels, dropout=dropout,
            reads_unknown=reads_unknown,
        )  # fmt: skip
        self.shape = shape


class AxialMasked(Encoder):
    """Logits of every cell's state from the cells that are not masked, by axial attention.

    Args:
        width, depth, num_heads, symbols, shape, num_labels, dropout: as in ``AxialTransformer``.

    Raises:
        InputError: sizes that do not fit.
    """

    def __init__(
        self,
        *,
        width: int = 384,
        depth: int = 6,
        num_heads: int = 4,
        symbols: tuple[int, ...] = (8, 11, 11),
        shape: tuple[int, int, int] = (3, 3, 9),
        num_labels: int = 0,
        dropout: float = 0.0,
    ) -> None:
        check_ranges(width=width, depth=depth, num_heads=num_heads, num_labels=num_labels, dropout=dropout)
        _check(width, num_heads, len(symbols))
        reads = groups_of_cells(shape)
        super().__init__(
            lambda: AxialBlock(reads, len(symbols), width, num_heads, dropout),
            width=width, depth=depth, embedding="separate", symbols=symbols, shape=shape, num_labels=num_labels,
            dropout=dropout,
        )  # fmt: skip
