"""A transformer that reads all cells of a puzzle at once, some of them masked, and says what the masked ones are.

B batch, L cells, A attributes, D width, V states of a cell.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from genraven.errors import InputError
from genraven.networks.cells import Embedding, MaskedCellNetwork, SummedHead, embed_cells, make_embeddings, place_table
from genraven.networks.dropout import dropout
from genraven.networks.ranges import check_ranges
from genraven.networks.transformer import RESIDUAL, Block


class Encoder(MaskedCellNetwork):
    """Logits of every cell's state from embedded cells, blocks that read them all, and a head.

    No time is read: which cells are masked says it (Ou et al. 2024, arXiv 2406.03736). A position is the sum of its
    row's, its panel's and its cell's embedding.

    Args:
        make_block: makes a block that is called as ``Block`` is.
        width: D.
        depth: number of blocks.
        embedding: of a cell: ``separate``, ``combined`` or ``joint``, as in CellNetwork.
        symbols: number of symbols of each attribute.
        shape: rows, panels of a row and cells of a panel; L is their product.
        num_labels: classes of the optional label; 0 makes an unconditional network.
        dropout: on embeddings.
    """

    without_decay = ("positions",)

    def __init__(
        self,
        make_block: Callable[[], nn.Module],
        *,
        width: int,
        depth: int,
        embedding: Embedding,
        symbols: tuple[int, ...],
        shape: tuple[int, int, int],
        num_labels: int,
        dropout: float,
    ) -> None:
        super().__init__()
        self.width, self.num_labels, self.dropout = width, num_labels, dropout
        self.symbols, self.shape, self.embedding = symbols, shape, embedding
        self.embeddings = make_embeddings(width, embedding, symbols)
        self.masked = nn.Parameter(torch.empty(width))
        self.positions = nn.ParameterList(torch.empty(n, width) for n in shape)
        self.label = nn.Embedding(num_labels + 1, width)
        self.blocks = nn.ModuleList(make_block() for _ in range(depth))
        self.norm = nn.LayerNorm(width)
        self.head = SummedHead(width, symbols)
        self._initialise(depth)

    def _initialise(self, depth: int) -> None:
        """Weights by the number of inputs, smaller by sqrt(2 depth) where they feed the residual stream."""
        embeddings = [module.weight for module in self.embeddings if isinstance(module, nn.Embedding)]
        for table in (self.masked, self.label.weight, *self.positions, *embeddings):
            nn.init.normal_(table, std=0.5)
        for table in self.head.tables:
            nn.init.normal_(table.weight, std=0.02)  # type: ignore[arg-type]
        for name, module in self.named_modules():
            if isinstance(module, nn.Linear):
                smaller = 2 * depth if name.endswith(RESIDUAL) else 1
                nn.init.normal_(module.weight, std=(module.in_features * smaller) ** -0.5)
                nn.init.zeros_(module.bias)

    def example_inputs(self, num_cells: int, device: torch.device | str) -> tuple[Tensor, ...]:
        """What it reads of one puzzle of ``num_cells`` cells."""
        cells = torch.zeros(1, num_cells, len(self.symbols), dtype=torch.int64, device=device)
        return cells, torch.ones(1, num_cells, dtype=torch.bool, device=device)

    def forward(
        self, cells: Tensor, masked: Tensor, labels: Tensor | None = None, positions: Tensor | None = None
    ) -> Tensor:
        """(B, P, V) logits of the states of cells, as ``MaskedCellNetwork`` says."""
        x = dropout(self.embedded(cells, masked, labels), self.dropout, self.training)
        *before, last = self.blocks
        for block in before:
            x = block(x)
        x = last(x, positions=positions) if positions is not None else last(x)  # nobody reads its other outputs
        return self.head(self.norm(x))

    def embedded(self, cells: Tensor, masked: Tensor, labels: Tensor | None, first: int = 0) -> Tensor:
        """(B, L, D) of the cells from place ``first`` on."""
        known = embed_cells(self.embeddings, cells.masked_fill(masked.unsqueeze(-1), 0), self.embedding, self.symbols)
        where = place_table(self.positions)[first : first + cells.shape[1]]
        x = torch.where(masked.unsqueeze(-1), self.masked, known) + where
        if labels is None:
            labels = cells.new_full((len(cells),), self.num_labels)
        return x + self.label(labels).unsqueeze(1)


class BidirectionalTransformer(Encoder):
    """Logits of every cell's state from the cells that are not masked, by blocks of GPT-2 without a causal mask.

    Args:
        width: D, divisible by ``num_heads``, and by the number of attributes where embeddings are separate.
        depth: number of blocks.
        num_heads: attention heads.
        embedding: of a cell: ``separate``, ``combined`` or ``joint``, as in CellNetwork.
        symbols: number of symbols of each attribute.
        shape: rows, panels of a row and cells of a panel; L is their product.
        num_labels: classes of the optional label; 0 makes an unconditional network.
        dropout: on embeddings, attention weights and residual branches.
    """

    def __init__(
        self,
        *,
        width: int = 384,
        depth: int = 12,
        num_heads: int = 6,
        embedding: Embedding = "combined",
        symbols: tuple[int, ...] = (8, 11, 11),
        shape: tuple[int, int, int] = (3, 3, 9),
        num_labels: int = 0,
        dropout: float = 0.0,
    ) -> None:
        check_ranges(width=width, depth=depth, num_heads=num_heads, num_labels=num_labels, dropout=dropout)
        if width % num_heads or (embedding == "separate" and width % len(symbols)):
            raise InputError(f"expected width divisible by num_heads, and by {len(symbols)} with separate embeddings, "
                             f"got width {width} and {num_heads} heads.")  # fmt: skip
        super().__init__(
            lambda: Block(width, num_heads, dropout, causal=False),
            width=width,
            depth=depth,
            embedding=embedding,
            symbols=symbols,
            shape=shape,
            num_labels=num_labels,
            dropout=dropout,
        )
