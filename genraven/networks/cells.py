"""What all networks over the cells of a puzzle share: the symbols of cells in, the logits of each next cell out.

B batch, L positions, A attributes, D width. Symbols are integers from 0, which is an empty cell's; the networks know
nothing else of what they mean. Position 0 reads the start token (the label, for a network with labels), position i the
(i - 1)-th cell; each predicts the next cell.
"""

from abc import ABC, abstractmethod
from typing import Any, Literal, Protocol, runtime_checkable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from genraven.errors import InputError
from genraven.states import num_states, states_to_symbols, symbols_to_states

Embedding = Literal["separate", "combined", "joint"]
Head = Literal["separate", "joint"]


def make_embeddings(width: int, embedding: Embedding, symbols: tuple[int, ...]) -> nn.ModuleList:
    """The tables that ``embed_cells`` looks up."""
    sizes = (num_states(symbols),) if embedding == "joint" else symbols
    columns = width // len(symbols) if embedding == "separate" else width
    return nn.ModuleList(nn.Embedding(n, columns) for n in sizes)


def embed_cells(tables: nn.ModuleList, cells: Tensor, embedding: Embedding, symbols: tuple[int, ...]) -> Tensor:
    """(B, L, D) from symbols (B, L, A)."""
    if embedding == "joint":
        return tables[0](symbols_to_states(cells, symbols))
    parts = [table(part) for table, part in zip(tables, cells.unbind(-1), strict=True)]
    return torch.cat(parts, -1) if embedding == "separate" else torch.stack(parts).sum(0)


def place_table(axes: nn.ParameterList) -> Tensor:
    """(L, D): of each cell the sum of what its row (R, D), its panel (P, D) and its place in that (J, D) have."""
    row, panel, cell = axes
    return (row[:, None, None] + panel[:, None] + cell).flatten(0, 2)


class SummedHead(nn.Module):
    """Logits of a cell's states, the weight of each the sum of its symbols' and of one of its own.

    As expressive as a linear layer over the states; but what is learnt of a shape is learnt for its hundred states at
    once, which spares masked diffusion the thousand steps at the start in which the loss stands still.

    Args:
        width: D.
        symbols: number of symbols of each attribute.
    """

    state_symbols: Tensor

    def __init__(self, width: int, symbols: tuple[int, ...]) -> None:
        super().__init__()
        states = torch.arange(num_states(symbols))
        self.register_buffer("state_symbols", states_to_symbols(states, symbols), persistent=False)
        self.tables = nn.ModuleList(nn.Embedding(n, width) for n in symbols)
        self.own = nn.Parameter(torch.zeros(len(states), width))
        self.bias = nn.Parameter(torch.zeros(len(states)))

    def forward(self, x: Tensor) -> Tensor:
        """(..., V) from (..., D)."""
        parts = [table(symbol) for table, symbol in zip(self.tables, self.state_symbols.unbind(-1), strict=True)]
        return F.linear(x, torch.stack(parts).sum(0) + self.own, self.bias)


class NextCellNetwork(nn.Module, ABC):
    """A network that reads cells in order and predicts each next one: what the autoregressive method asks of it."""

    head_sizes: tuple[int, ...]
    """Numbers of symbols that it predicts, one softmax each; one number is that of all states of a cell."""
    num_labels: int
    """Classes of the label that it reads; 0 for none."""
    reads_unknown: bool
    """Can it read that cells are unknown?"""
    rows_exchangeable: bool = False
    """Is a row predicted from those before it whatever their order, so that any may be asked for as the last?"""

    def passes(self, num_open: int) -> float:
        """How much of a pass over a whole puzzle it takes to write its last ``num_open`` cells, with a cache."""
        return 1.0

    @abstractmethod
    def new_cache(self, batch_size: int) -> Any:
        """An empty cache for ``batch_size`` sequences; it is handed back to ``forward``."""

    @abstractmethod
    def forward(
        self,
        cells: Tensor,
        labels: Tensor | None = None,
        cache: Any = None,
        *,
        last_only: bool = False,
        unknown: Tensor | None = None,
    ) -> Tensor:
        """Logits (B, positions read, sum of ``head_sizes``); split them by ``head_sizes``.

        Args:
            cells: (B, L, A) int64 symbols that follow those in the cache. Without a cache, or with an empty one, the
                start token is read first, so that L + 1 positions are read.
            labels: (B,) int64; None, or ``num_labels``, is unconditional. Only the start token reads it.
            cache: of ``new_cache``; extended in place.
            last_only: logits (B, 1, sum of ``head_sizes``) of the last position alone, the only one that sampling asks
                for: the heads are most of the work of a small network.
            unknown: (B, L) bool, cells whose symbols are not read, of a network that reads unknown cells; None for
                none.
        """


class AnyOrderNetwork(NextCellNetwork):
    """A network that reads with each cell its position, and the position that it writes next.

    So it writes cells in any order. Cells, as they are handed to ``forward``, stand in the order of writing; without
    one that is the order of tokens, in which it is a network of next cells like any other.
    """

    @abstractmethod
    def new_cache(self, batch_size: int, order: Tensor | None = None) -> Any:
        """An empty cache for sequences in ``order``, which holds for all that is read with it."""

    @abstractmethod
    def forward(
        self,
        cells: Tensor,
        labels: Tensor | None = None,
        cache: Any = None,
        *,
        last_only: bool = False,
        unknown: Tensor | None = None,
        order: Tensor | None = None,
    ) -> Tensor:
        """As ``NextCellNetwork`` says; ``order`` is (B, 81) int64, where the first, second, ... cell stands.

        It is left out with a cache, which knows it.
        """


@runtime_checkable
class LearnsCells(Protocol):
    """A network with a training loss of its own, which need not make the logits of all states."""

    def example_training_inputs(self, num_cells: int, device: torch.device | str) -> tuple[Tensor | None, ...]:
        """What ``training_losses`` reads of one puzzle of ``num_cells`` cells, for who counts its work."""

    def training_losses(
        self,
        cells: Tensor,
        labels: Tensor | None,
        learned: Tensor | None,
        unknown: Tensor | None,
        uniform: Tensor,
    ) -> Tensor:
        """(B,) nats per learned cell, and whatever else it learns.

        Args:
            cells: (B, L, A) int64 symbols of whole puzzles.
            labels: (B,) int64 or None.
            learned: (B, L) bool, cells that count; None for all.
            unknown: (B, L) bool, cells that are not read; None for none.
            uniform: (B,) draws on [0, 1), for what it draws.
        """


class MaskedCellNetwork(nn.Module, ABC):
    """A network that says what stands in masked cells: what masked diffusion asks of it."""

    num_labels: int
    """Classes of the label that it reads; 0 for none."""

    @abstractmethod
    def forward(
        self, cells: Tensor, masked: Tensor, labels: Tensor | None = None, positions: Tensor | None = None
    ) -> Tensor:
        """(B, P, V) logits of the states of cells.

        Args:
            cells: (B, L, A) int64 symbols; what stands in masked cells is not read.
            masked: (B, L) bool.
            labels: (B,) int64; None, or ``num_labels``, is unconditional.
            positions: (B, P) int64, the cells that are asked for; None for all L.
        """

    def share_of_pass(self, num_asked: int) -> float:
        """How much of the work of a pass it takes to answer for ``num_asked`` cells alone; 1 for all of it."""
        return 1.0


class BlockNetwork(MaskedCellNetwork):
    """A network of masked cells that can also read a puzzle in blocks of as many cells, one after the other.

    The masked cells of a block are then predicted from the others of it and from the whole blocks before it, of which
    nothing is masked: what block diffusion asks of a network. As a network of masked cells it reads one block of all.
    """

    @abstractmethod
    def all_blocks(
        self,
        cells: Tensor,
        masked: Tensor,
        labels: Tensor | None = None,
        *,
        block_size: int,
        unknown: Tensor | None = None,
    ) -> Tensor:
        """(B, L, V) logits of the cells of all blocks at once, what training asks for.

        Args:
            cells: (B, L, A) int64 symbols of whole puzzles.
            masked: (B, L) bool, what a block does not read of itself. Later blocks read it.
            labels: (B,) int64 or None.
            block_size: cells of a block, which divide L.
            unknown: (B, L) bool, cells that no block reads; None for none.
        """

    @abstractmethod
    def new_cache(self, batch_size: int) -> Any:
        """An empty cache of whole blocks, for ``batch_size`` puzzles."""

    @abstractmethod
    def next_block(
        self, cells: Tensor, masked: Tensor, labels: Tensor | None, positions: Tensor | None, cache: Any
    ) -> Tensor:
        """(B, P, V) logits of the block (B, n, A) that follows those in the cache, which stays as it is.

        ``masked`` (B, n) and ``positions`` (B, P) are of its cells, as ``MaskedCellNetwork`` says.
        """

    @abstractmethod
    def keep(self, cells: Tensor, labels: Tensor | None, cache: Any, *, block_size: int) -> None:
        """Reads whole blocks (B, m, A) that follow those in the cache, and adds them to it."""


@runtime_checkable
class LearnsMaskedCells(Protocol):
    """A network of masked cells with a training loss of its own."""

    def example_training_inputs(self, num_cells: int, device: torch.device | str) -> tuple[Tensor | None, ...]:
        """What ``training_losses`` reads of one puzzle of ``num_cells`` cells, for who counts its work."""

    def training_losses(self, cells: Tensor, masked: Tensor, learned: Tensor, labels: Tensor | None) -> Tensor:
        """(B,) mean nats of the cells that are ``learned`` (B, L), masked ones, and whatever else it learns.

        Args:
            cells: (B, L, A) int64 symbols; what stands in masked cells is not read.
            masked: (B, L) bool.
            learned: (B, L) bool.
            labels: (B,) int64 or None.
        """


class CellNetwork(NextCellNetwork):
    """A network that reads cells in order and predicts each next one: embeddings, a trunk of its own, heads.

    Embeddings: ``separate`` gives each attribute a part of the width, ``combined`` sums tables of the whole width,
    ``joint`` is one table over the states of a cell. Heads: ``separate`` is a softmax for each attribute that reads
    a part of the width, ``joint`` one softmax over the states. The study has separate ones of both.

    Args:
        width: D, divisible by the number of attributes.
        head: ``separate`` or ``joint``.
        embedding: ``separate``, ``combined`` or ``joint``.
        symbols: number of symbols of each attribute.
        num_states: number of symbols of the joint head.
        num_labels: classes of the optional label; 0 makes an unconditional network.
        reads_unknown: does a vector stand for cells that are unknown?
    """

    heads: nn.ModuleList
    unknown: nn.Parameter | None

    def __init__(
        self,
        *,
        width: int,
        head: Head,
        embedding: Embedding,
        symbols: tuple[int, ...],
        num_states: int,
        num_labels: int,
        reads_unknown: bool | None,
    ) -> None:
        super().__init__()
        if width % len(symbols):
            raise InputError(f"expected width divisible by {len(symbols)}, the number of attributes, got {width}.")
        self.width, self.num_labels, self.symbols, self.embedding = width, num_labels, symbols, embedding
        self.head_sizes = symbols if head == "separate" else (num_states,)
        self.start = nn.Embedding(num_labels + 1, width)
        self.embeddings = make_embeddings(width, embedding, symbols)
        self.reads_unknown = bool(reads_unknown)
        self.unknown = nn.Parameter(torch.empty(width)) if reads_unknown else None

    def make_heads(self) -> nn.ModuleList:
        """The linear layers before the softmaxes; made last, so that parameters stand in the order of their use."""
        return nn.ModuleList(nn.Linear(self.width // len(self.head_sizes), n) for n in self.head_sizes)

    def example_inputs(self, num_cells: int, device: torch.device | str) -> tuple[Tensor, ...]:
        """What it reads of one puzzle in training: all of its ``num_cells`` cells but the last."""
        return (torch.zeros(1, num_cells - 1, len(self.symbols), dtype=torch.int64, device=device),)

    @abstractmethod
    def trunk(self, x: Tensor, cache: Any) -> Tensor:
        """(B, L, D), normalised, from embedded positions (B, L, D) that follow those in the cache, if there is one."""

    def forward(
        self,
        cells: Tensor,
        labels: Tensor | None = None,
        cache: Any = None,
        *,
        last_only: bool = False,
        unknown: Tensor | None = None,
    ) -> Tensor:
        """Logits (B, positions read, sum of ``head_sizes``), as ``NextCellNetwork`` says."""
        return self.logits(self.trunk(self.embedded(cells, labels, cache, unknown), cache), last_only=last_only)

    def embedded(self, cells: Tensor, labels: Tensor | None, cache: Any, unknown: Tensor | None) -> Tensor:
        """(B, positions read, D): the cells, after the start token where nothing was read before."""
        if self.unknown is not None:
            missing = torch.zeros_like(cells[..., 0], dtype=torch.bool) if unknown is None else unknown
            cells = cells.masked_fill(missing.unsqueeze(-1), 0)
        x = embed_cells(self.embeddings, cells, self.embedding, self.symbols)
        if self.unknown is not None:
            x = torch.where(missing.unsqueeze(-1), self.unknown, x)
        if cache is None or cache.length == 0:
            if labels is None:
                labels = cells.new_full((len(cells),), self.num_labels)
            x = torch.cat([self.start(labels).unsqueeze(1), x], 1)
        return x

    def logits(self, x: Tensor, *, last_only: bool) -> Tensor:
        """(B, positions, sum of ``head_sizes``) from what the trunk says, (B, positions, D)."""
        parts = (x[:, -1:] if last_only else x).chunk(len(self.head_sizes), -1)
        return torch.cat([head(part) for head, part in zip(self.heads, parts, strict=True)], -1)
