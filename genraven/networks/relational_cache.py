"""What a relational network remembers of a puzzle that it writes: a finished panel, or row, is read once.

B sequences, L cells, S attributes of an object, A = S + 2 of a panel, V values, D width.
"""

import torch
from torch import Tensor

from genraven.networks.relational import Context


class PanelCache:
    """The cells read so far, what the rows so far say, and the panel at work.

    Args:
        shape: (B, L, S).
        device: where the cells are kept.
    """

    def __init__(self, shape: tuple[int, int, int], device: torch.device) -> None:
        self.cells = torch.zeros(shape, dtype=torch.int64, device=device)
        self.length = 0
        """The number of cells that were read."""
        self.is_started = False
        """Was the start, with the label, read?"""
        self.labels: Tensor | None = None
        self.num_rows = 0
        """Whose relations are in the evidence."""
        self.evidence: Tensor | None = None
        """(B, 1, A, D) what these say."""
        self.panel: int | None = None
        """The one at work, of all in their order."""
        self.context: Context | None = None
        """The trunk's context of that panel."""
        self.factors: tuple[Tensor, Tensor] | None = None
        """Of the cells of a third panel that were asked for, as the network gives them."""

    def begin(self, panel: int, context: Context) -> None:
        """Goes on to another panel."""
        self.panel, self.context, self.factors = panel, context, None

    @property
    def num_factors(self) -> int:
        """Cells of the panel at work that were asked for."""
        return 0 if self.factors is None else self.factors[1].shape[2]

    def add(self, occupancy: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """The factors of all cells that were asked for, with those of the next."""
        more = occupancy, values
        if self.factors is not None:
            more = tuple(torch.cat(part, 2) for part in zip(self.factors, more, strict=True))  # type: ignore[assignment]
        self.factors = more
        return more

    def select(self, sequences: Tensor) -> None:
        """Goes on with ``sequences`` (B,) int64 of those read so far, some perhaps twice and some no more."""
        self.cells = self.cells[sequences]
        self.labels = None if self.labels is None else self.labels[sequences]
        self.evidence = None if self.evidence is None else self.evidence[sequences]
        self.context = None if self.context is None else self.context.select(sequences)
        if self.factors is not None:
            self.factors = self.factors[0][sequences], self.factors[1][sequences]
