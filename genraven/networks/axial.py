"""Transformers that read along the axes of a puzzle and know nothing else of it: attributes, cells, panels, rows.

B batch, L positions, A attributes of a cell, T width of an attribute's token, D = A T, H heads.

The tokens of a cell are those of its attributes, side by side. They attend to each other, and each to the tokens of the
same attribute in other cells: some heads to those of its own panel, some to its row's, some to all. So a network is
told which cells belong together, and not that panels are sets or that rows share a rule: a step between the plain
transformers and the relational networks. After axial attention (Ho et al. 2019, arXiv 1912.12180), with whole groups
of cells in the place of lines of pixels.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from genraven.errors import InputError
from genraven.networks.attention import attend
from genraven.networks.cells import CellNetwork, Head, MaskedCellNetwork, SummedHead, embed_cells, make_embeddings
from genraven.networks.dropout import dropout
from genraven.networks.transformer import KeyValueCache

NUM_GROUPS = 3
"""Of cells that a head reads: those of a panel, of a row, of the puzzle."""


def groups_of_cells(shape: tuple[int, int, int]) -> Tensor:
    """(3, L, L) bool: whether two cells are of one panel, of one row, of one puzzle.

    Args:
        shape: rows, panels of a row and cells of a panel; L is their product.
    """
    cells = torch.arange(math.prod(shape))
    return torch.stack(
        [cells.unsqueeze(1) // size == cells // size for size in (shape[2], shape[1] * shape[2], len(cells))]
    )


class AxialBlock(nn.Module):
    """Attention among cells and among the attributes of each, and an MLP, with weights that all attributes share.

    Args:
        num_attributes: A.
        width: T.
        num_heads: H; the groups that they read take turns.
        dropout: on residual branches.
    """

    def __init__(self, num_attributes: int, width: int, num_heads: int, dropout: float) -> None:
        super().__init__()
        self.num_attributes, self.num_heads, self.dropout = num_attributes, num_heads, dropout
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(3))
        self.of_cells, self.of_attributes = (nn.Linear(width, 3 * width) for _ in range(2))
        self.cells_out, self.attributes_out = (nn.Linear(width, width) for _ in range(2))
        self.mlp_in, self.mlp_out = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x: Tensor, mask: Tensor, cache: KeyValueCache | None = None, layer: int = 0) -> Tensor:
        """(B, L, D) from (B, L, D).

        Args:
            x: of the positions that are read now.
            mask: (A H, L, positions known) bool, which of these each head reads.
            cache: of what was read before.
            layer: which of the cache's this is.
        """
        dropped = self.dropout if self.training else 0.0
        tokens = x.unflatten(-1, (self.num_attributes, -1))  # B, L, A, T
        q, k, v = self._by_heads(self.of_cells(self.norms[0](tokens)))  # B, L, A, H, T / H
        q, k, v = (part.flatten(2, 3).transpose(1, 2) for part in (q, k, v))  # B, A H, L, T / H
        if cache is not None:
            k, v = cache.extend(layer, k, v)
        read = attend(q, k, v, mask=mask)
        read = read.transpose(1, 2).unflatten(2, (self.num_attributes, self.num_heads)).flatten(3)
        tokens = tokens + dropout(self.cells_out(read), dropped)
        q, k, v = (
            part.transpose(-2, -3).flatten(0, 1) for part in self._by_heads(self.of_attributes(self.norms[1](tokens)))
        )
        read = attend(q, k, v).transpose(1, 2).flatten(2).unflatten(0, tokens.shape[:2])
        tokens = tokens + dropout(self.attributes_out(read), dropped)
        hidden = F.gelu(self.mlp_in(self.norms[2](tokens)), approximate="tanh")
        return (tokens + dropout(self.mlp_out(hidden), dropped)).flatten(2)

    def _by_heads(self, x: Tensor) -> Tensor:
        """(3, B, L, A, H, T / H) from (B, L, A, 3 T)."""
        return x.unflatten(-1, (3, self.num_heads, -1)).movedim(-3, 0)


def _check(width: int, num_heads: int, symbols: tuple[int, ...]) -> None:
    num = len(symbols)
    if width % num or (width // num) % num_heads or num_heads < NUM_GROUPS:
        raise InputError(f"expected width divisible by {num} attributes, and the rest by num_heads, {NUM_GROUPS} or "
                         f"more, got width {width} and {num_heads} heads.")  # fmt: skip


def _masks(groups: Tensor, num_heads: int, num_attributes: int) -> Tensor:
    """(A H, L, L): the groups, which the heads of each attribute take in turns."""
    return groups[torch.arange(num_heads) % NUM_GROUPS].repeat(num_attributes, 1, 1)


class AxialTransformer(CellNetwork):
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
            have gaps.

    Raises:
        InputError: sizes that do not fit.
    """

    without_decay = ("positions",)
    mask: Tensor

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
        _check(width, num_heads, symbols)
        super().__init__(
            width=width, head=head, embedding="separate", symbols=symbols, num_states=num_states,
            num_labels=num_labels, reads_unknown=reads_unknown,
        )  # fmt: skip
        self.num_heads, self.dropout = num_heads, dropout
        self.positions = nn.ParameterList(torch.empty(n, width) for n in shape)
        self.blocks = nn.ModuleList(
            AxialBlock(len(symbols), width // len(symbols), num_heads, dropout) for _ in range(depth)
        )
        self.norm = nn.LayerNorm(width)
        self.heads = self.make_heads()
        self.register_buffer("mask", _masks(self._seen(shape), num_heads, len(symbols)), persistent=False)
        _initialise(self, depth)

    @staticmethod
    def _seen(shape: tuple[int, int, int]) -> Tensor:
        """(3, L, L) which positions each reads: itself, and those before it with a cell of the group it predicts in."""
        num = math.prod(shape)
        of_group = F.pad(groups_of_cells(shape)[..., :-1], (1, 0))  # position j holds cell j - 1
        return (of_group | torch.eye(num, dtype=torch.bool)).tril()

    def new_cache(self, batch_size: int) -> KeyValueCache:
        """An empty cache for ``batch_size`` sequences."""
        num = len(self.symbols) * self.num_heads
        shape = (batch_size, num, self.mask.shape[-1], self.width // num)
        return KeyValueCache(len(self.blocks), shape, self.norm.weight)

    def trunk(self, x: Tensor, cache: KeyValueCache | None) -> Tensor:
        """(B, L, D), normalised, from embedded positions (B, L, D) that follow those in the cache."""
        where = _where(self.positions)
        if cache is not None and cache.position is not None:
            where, mask = where.index_select(0, cache.position), self.mask.index_select(1, cache.position)
        else:
            done = cache.length if cache is not None else 0
            end = done + x.shape[1]
            where, mask = where[done:end], self.mask[:, done:end, :end]
        x = dropout(x + where, self.dropout, self.training)
        for layer, block in enumerate(self.blocks):
            # With a cache as it was written: compiled it would be compiled anew for each length and layer.
            x = block(x, mask) if cache is None else block.forward(x, mask, cache, layer)
        if cache is not None:
            cache.advance(x.shape[1])
        return self.norm(x)


class AxialMasked(MaskedCellNetwork):
    """Logits of every cell's state from the cells that are not masked, by axial attention.

    Args:
        width, depth, num_heads, symbols, shape, num_labels, dropout: as in ``AxialTransformer``.

    Raises:
        InputError: sizes that do not fit.
    """

    without_decay = ("positions",)
    mask: Tensor

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
        super().__init__()
        _check(width, num_heads, symbols)
        self.num_labels, self.symbols, self.dropout = num_labels, symbols, dropout
        self.embeddings = make_embeddings(width, "separate", symbols)
        self.masked = nn.Parameter(torch.empty(width))
        self.positions = nn.ParameterList(torch.empty(n, width) for n in shape)
        self.label = nn.Embedding(num_labels + 1, width)
        self.blocks = nn.ModuleList(
            AxialBlock(len(symbols), width // len(symbols), num_heads, dropout) for _ in range(depth)
        )
        self.norm = nn.LayerNorm(width)
        self.head = SummedHead(width, symbols)
        self.register_buffer("mask", _masks(groups_of_cells(shape), num_heads, len(symbols)), persistent=False)
        _initialise(self, depth)

    def example_inputs(self, num_cells: int, device: torch.device | str) -> tuple[Tensor, ...]:
        """What it reads of one puzzle of ``num_cells`` cells."""
        cells = torch.zeros(1, num_cells, len(self.symbols), dtype=torch.int64, device=device)
        return cells, torch.ones(1, num_cells, dtype=torch.bool, device=device)

    def forward(
        self, cells: Tensor, masked: Tensor, labels: Tensor | None = None, places: Tensor | None = None
    ) -> Tensor:
        """(B, P, V) logits of the states of cells, as ``MaskedCellNetwork`` says."""
        known = embed_cells(self.embeddings, cells.masked_fill(masked.unsqueeze(-1), 0), "separate", self.symbols)
        if labels is None:
            labels = cells.new_full((len(cells),), self.num_labels)
        x = torch.where(masked.unsqueeze(-1), self.masked, known) + _where(self.positions)
        x = dropout(x + self.label(labels).unsqueeze(1), self.dropout, self.training)
        for block in self.blocks:
            x = block(x, self.mask)
        if places is not None:
            x = x.gather(1, places.unsqueeze(-1).expand(-1, -1, x.shape[-1]))
        return self.head(self.norm(x))


def _where(positions: nn.ParameterList) -> Tensor:
    """(L, D) the sums of a row's, a panel's and a cell's embedding."""
    row, panel, cell = positions
    return (row[:, None, None] + panel[:, None] + cell).flatten(0, 2)


def _initialise(network: nn.Module, depth: int) -> None:
    """Normal weights by the number of inputs, smaller by sqrt(2 depth) where they feed the residual stream."""
    for name, parameter in network.named_parameters():
        if name.partition(".")[0] in ("positions", "masked", "unknown"):
            nn.init.normal_(parameter, std=0.5)
    for name, module in network.named_modules():
        if isinstance(module, nn.Linear):
            smaller = 2 * depth if name.endswith("_out") else 1
            nn.init.normal_(module.weight, std=(module.in_features * smaller) ** -0.5)
            nn.init.zeros_(module.bias)
        elif isinstance(module, nn.Embedding):
            nn.init.normal_(module.weight, std=0.02 if name.startswith("head") else 0.5)
