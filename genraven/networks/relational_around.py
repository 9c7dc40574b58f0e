"""What all cells of a puzzle may hold, from all that is known of all panels: shared by masked and by noisy puzzles.

B puzzles, R rows of P = 3 panels of J cells, N = B R, S attributes of an object, A = S + 2 of a panel, V values,
K roles.

The open cells of a panel are alike but for their place: what its objects show does not depend on where they stand. So
values are predicted once a panel, and only whether a cell is filled, cell by cell.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from genraven.errors import InputError
from genraven.networks.ranges import check_ranges
from genraven.networks.relational import Context, Trunk
from genraven.networks.relational_codes import PANELS, check_sizes, value_counts
from genraven.networks.relational_writer import Writer


@dataclass
class Marginals:
    """What each cell may hold."""

    filled: Tensor
    """(B, L, A) logits under each hypothesis; (B, L) where no attribute is distinguished."""
    values: Tensor
    """(B, panels, S, V) log-probabilities of the values of filled cells, of attributes that do not carry the rule."""
    carrying: Tensor | None
    """(B, panels, S, V) of attributes that do; None without hypotheses."""
    weights: Tensor | None
    """(B, panels, A) log-probability of each hypothesis; None without."""


class Around(nn.Module):
    """A trunk that reads all panels, as far as they are known, and a writer of cells.

    Args:
        width, hidden, writer, occupancy, mixing, num_heads, carrier, shared_attributes, value_path, rows_summed,
            symbols, shape, num_labels: as in ``RelationalMasked``.

    Raises:
        InputError: sizes that do not fit.
    """

    def __init__(
        self,
        *,
        width: int,
        hidden: int,
        writer: int,
        occupancy: int,
        mixing: int,
        num_heads: int,
        carrier: bool,
        shared_attributes: bool,
        value_path: bool,
        rows_summed: bool,
        symbols: tuple[int, ...],
        shape: tuple[int, int, int],
        num_labels: int,
    ) -> None:
        super().__init__()
        check_sizes(symbols, shape)
        check_ranges(width=width, hidden=hidden, writer=writer, occupancy=occupancy, num_heads=num_heads, mixing=mixing,
                     num_labels=num_labels)  # fmt: skip
        if width % num_heads:
            raise InputError(f"expected width divisible by num_heads, got width {width} and {num_heads} heads.")
        self.num_symbols, self.num_cells = len(symbols), shape[2]
        self.num_values = max(value_counts(symbols, shape[2]))
        switches = {"shared_attributes": shared_attributes, "value_path": value_path}
        self.trunk = Trunk(
            reads="around", width=width, hidden=hidden, mixing=mixing, num_heads=num_heads, num_rows=shape[0],
            num_attributes=len(symbols) + 2, num_values=self.num_values, num_labels=num_labels, reads_missing=True,
            rows_summed=rows_summed, carrier=carrier, **switches,
        )  # fmt: skip
        self.writer = Writer(
            width=width, hidden=writer, occupancy=occupancy, symbols=symbols, num_cells=shape[2],
            num_values=self.num_values, num_features=1, by_cell=False, **switches,
        )  # fmt: skip
        self.layout = nn.Linear(2 * shape[2], occupancy, bias=False)  # the writer has one

    def forward(
        self, codes: Tensor, is_open: Tensor, filled: Tensor, labels: Tensor | None
    ) -> tuple[Context, Marginals]:
        """The contexts (B, R, ...) of all rows, and what cells may hold.

        Args:
            codes: (B, R, 3, A, V) of what is known.
            is_open: (B, R, 3, J) in [0, 1], how much of each cell is not known.
            filled: (B, R, 3, J) in [0, 1], how surely each cell holds an object; 0 where nothing is known.
            labels: (B,) or None.
        """
        context = self.trunk(codes, labels, is_open.mean(-1))
        return context, self._marginals(context, codes, is_open, filled, self.trunk.role_panels)

    def of_panels(
        self, codes: Tensor, is_open: Tensor, filled: Tensor, labels: Tensor | None, panels: Tensor
    ) -> Marginals:
        """What the cells of some ``panels`` (B, P) int64 may hold, as if these were all panels: less work.

        Args:
            codes, is_open, filled, labels: as in ``forward``, of whole puzzles.
            panels: numbers from 0 to 3 R - 1; a panel may be asked for twice.
        """
        context = self.trunk.of_panels(codes, labels, is_open.mean(-1), panels)
        each = torch.arange(len(codes), device=codes.device).unsqueeze(1)
        codes, is_open, filled = (part.flatten(1, 2)[each, panels].unsqueeze(2) for part in (codes, is_open, filled))
        return self._marginals(context, codes, is_open, filled, torch.zeros_like(self.trunk.role_panels[::PANELS]))

    def _marginals(
        self, context: Context, codes: Tensor, is_open: Tensor, filled: Tensor, panel_of_role: Tensor
    ) -> Marginals:
        """Of (B, groups, panels of a group, ...), each of which ``context`` (B, groups, K, ...) shows in its roles."""
        batch, roles, context = len(codes), panel_of_role, context.by_rows()
        codes, is_open, filled = (part.flatten(0, 1) for part in (codes, is_open, filled))
        seen, everywhere = codes[:, roles].unsqueeze(2), slice(0, self.num_cells)  # N, K, 1, A, V
        num_open = is_open.sum(-1)[:, roles].unsqueeze(-1)
        hidden = self.writer.hidden(context, seen, num_open.unsqueeze(-1) * 0.25, num_open, everywhere)
        values = self.writer.values_of(hidden, context, seen).squeeze(2)  # N, K, S, V
        layout = self.layout(torch.cat([is_open, filled], -1))  # N, 3, O
        if context.carrier is None:
            logits = self.writer.filled_alone(hidden, context, everywhere, layout)
            return Marginals(logits.reshape(batch, -1), values.reshape(batch, -1, *values.shape[2:]), None, None)
        logits = self.writer.filled_by_carrier(hidden, context, everywhere, layout)
        carrying, plain = (part.reshape(batch, -1, *values.shape[2:]) for part in values.chunk(2, 1))
        weights = context.carrier.reshape(batch, -1, logits.shape[-1])
        return Marginals(logits.reshape(batch, -1, logits.shape[-1]), plain, carrying, weights)
