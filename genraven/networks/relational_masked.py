"""A relational network that says what stands in masked cells, from all that is known of all panels.

B puzzles, L cells, R rows of P = 3 panels of J = 9 cells, S attributes of an object, A = S + 2 of a panel, V values.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from genraven.networks.cells import MaskedCellNetwork
from genraven.networks.ranges import check_ranges
from genraven.networks.relational import working_dtype
from genraven.networks.relational_around import Around, Marginals
from genraven.networks.relational_codes import PANELS, running_codes, value_counts
from genraven.networks.relational_sets import set_nats
from genraven.networks.relational_writer import filled_log_prob, state_log_probs


class RelationalMasked(MaskedCellNetwork):
    """Log-probabilities of the states of masked cells, from relations among panels, as far as they are known.

    Args:
        width: of the hidden state of an attribute of a panel, divisible by ``num_heads``.
        hidden: width of the MLPs over rows and panels.
        writer: width of the MLP over what a panel shows.
        occupancy: width of the layer that says whether a cell is filled.
        mixing: blocks in which the attributes of a panel attend to each other.
        num_heads: of their attention.
        set_weight: of a second target in training: which values each panel with masked cells shows.
        carrier: does it assume that exactly one attribute of a row carries the rule?
        shared_attributes: are all attributes read by the same weights?
        value_path: is there a path that is the same for all values?
        rows_summed: is the order of the other rows not to matter?
        symbols: number of symbols of each attribute.
        shape: rows, panels of a row, cells of a panel.
        num_labels: classes of the optional label; 0 makes an unconditional network.

    Raises:
        InputError: sizes that do not fit.
    """

    prior = "structured"

    def __init__(
        self,
        *,
        width: int = 96,
        hidden: int = 256,
        writer: int = 64,
        occupancy: int = 32,
        mixing: int = 1,
        num_heads: int = 4,
        set_weight: float = 1.0,
        carrier: bool = True,
        shared_attributes: bool = True,
        value_path: bool = True,
        rows_summed: bool = True,
        symbols: tuple[int, ...] = (8, 11, 11),
        shape: tuple[int, int, int] = (3, 3, 9),
        num_labels: int = 0,
    ) -> None:
        super().__init__()
        check_ranges(set_weight=set_weight)
        self.symbols, self.shape, self.num_labels, self.set_weight = symbols, shape, num_labels, set_weight
        self.around = Around(
            width=width, hidden=hidden, writer=writer, occupancy=occupancy, mixing=mixing, num_heads=num_heads,
            carrier=carrier, shared_attributes=shared_attributes, value_path=value_path, rows_summed=rows_summed,
            symbols=symbols, shape=shape, num_labels=num_labels,
        )  # fmt: skip

    @property
    def layers(self) -> nn.ModuleList:
        """Whose outputs are hidden states that can be probed."""
        return self.around.trunk.mixing

    def example_inputs(self, num_cells: int, device: torch.device | str) -> tuple[Tensor, ...]:
        """What it reads of one puzzle of ``num_cells`` cells."""
        cells = torch.zeros(1, num_cells, len(self.symbols), dtype=torch.int64, device=device)
        return cells, torch.ones(1, num_cells, dtype=torch.bool, device=device)

    def example_training_inputs(self, num_cells: int, device: torch.device | str) -> tuple[Tensor | None, ...]:
        """What ``training_losses`` reads of one puzzle of ``num_cells`` cells."""
        cells, masked = self.example_inputs(num_cells, device)
        return cells, masked, masked, None

    def share_of_pass(self, num_asked: int) -> float:
        """Of all rows' relations and panels in their roles; what all rows say is worked out for any cell."""
        trunk, num_panels = self.around.trunk, self.shape[0] * self.shape[1]
        if num_asked >= num_panels:
            return 1.0
        of_row, of_panel = trunk.multiplications()
        of_panel += sum(self.around.writer.multiplications())
        of_rows, of_panel = self.shape[0] * of_row, len(trunk.role_panels) // PANELS * of_panel
        return (of_rows + num_asked * of_panel) / (of_rows + num_panels * of_panel)

    def _known(self, cells: Tensor, masked: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Codes (B, R, 3, A, V), and which cells (B, R, 3, J) are masked and which are known to be filled."""
        panels, hidden = cells.unflatten(1, self.shape), masked.unflatten(1, self.shape)
        dtype = working_dtype(self.around.trunk.role)
        codes = running_codes(panels, self.around.num_values, hidden, dtype)[..., -1, :, :]
        filled = (panels > 0).all(-1) & ~hidden
        return codes, hidden.to(codes), filled.to(codes)

    def forward(
        self, cells: Tensor, masked: Tensor, labels: Tensor | None = None, positions: Tensor | None = None
    ) -> Tensor:
        """Log-probabilities (B, P, states of a cell), as ``MaskedCellNetwork`` says."""
        known = self._known(cells, masked)
        if positions is None:
            positions = torch.arange(cells.shape[1], device=cells.device).expand(len(cells), -1)
        each, panels = torch.arange(len(cells), device=cells.device).unsqueeze(1), positions // self.shape[2]
        if positions.shape[1] < self.shape[0] * self.shape[1]:  # fewer cells than panels
            found = self.around.of_panels(*known, labels, panels)
            panels = torch.arange(positions.shape[1], device=cells.device).expand_as(positions)
            positions = panels * self.shape[2] + positions % self.shape[2]
        else:
            found = self.around(*known, labels)[1]

        def of_panels(part: Tensor | None) -> Tensor | None:
            return None if part is None else part[each, panels]

        counts = value_counts(self.symbols, self.shape[2])[: len(self.symbols)]
        return state_log_probs(
            found.filled[each, positions], found.values[each, panels], counts, of_panels(found.carrying),
            of_panels(found.weights),
        )  # fmt: skip

    def training_losses(self, cells: Tensor, masked: Tensor, learned: Tensor, labels: Tensor | None) -> Tensor:
        """(B,) mean nats of the cells that are ``learned`` (B, L), masked ones, and the second target.

        Args:
            cells: (B, L, S) symbols; those of masked cells are not read.
            masked: (B, L) bool.
            learned: (B, L) bool.
            labels: (B,) or None.
        """
        context, found = self.around(*self._known(cells, masked), labels)
        nats = self._nats(found, cells, (cells > 0).all(-1))
        of_cells = (nats * learned).sum(1) / learned.sum(1).clamp(min=1)
        whole = running_codes(cells.unflatten(1, self.shape), self.around.num_values)[..., -1, :, :]
        asked, not_known = (part.unflatten(1, self.shape).any(-1) for part in (learned, masked & ~learned))
        roles = self.around.trunk.panel_of_role
        return of_cells + self.set_weight * set_nats(context, whole, roles, asked & ~not_known)

    def _nats(self, found: Marginals, cells: Tensor, is_filled: Tensor) -> Tensor:
        """(B, L) nats of ``cells``."""
        at = (cells - 1).clamp(min=0).long().unflatten(1, (-1, self.shape[2])).transpose(2, 3)  # B, panels, S, J
        full = is_filled.unflatten(1, (-1, self.shape[2])).unsqueeze(2)

        def of_cells(log_p: Tensor) -> Tensor:
            """(B, L, S) of the values that stand in filled cells."""
            return (log_p.gather(-1, at) * full).transpose(2, 3).flatten(1, 2)

        others = of_cells(found.values)
        if found.carrying is None or found.weights is None:
            return -(filled_log_prob(found.filled, is_filled) + others.sum(-1))
        change = F.pad(of_cells(found.carrying) - others, (0, 2))
        weights = found.weights.repeat_interleave(self.shape[2], 1)
        hypotheses = weights + filled_log_prob(found.filled, is_filled.unsqueeze(-1)) + change
        return -(others.sum(-1) + hypotheses.logsumexp(-1))
