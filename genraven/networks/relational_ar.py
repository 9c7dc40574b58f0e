"""A relational network that predicts each next cell: panel after panel, cell after cell.

B puzzles, L cells, R rows of P = 3 panels of N cells, S attributes of an object, A = S + 2 of a panel, V values.

The likelihood is exact: the probability of a cell is given by the cells before it alone, and sums to one over its
states. The sets of values that a panel is expected to show steer the cells, but none is ruled out by them. In a third
panel the hypotheses of which attribute carries the rule are summed over, each with the probability that the panel's
cells so far have left it.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from genraven.errors import InputError
from genraven.networks.cells import NextCellNetwork
from genraven.networks.ranges import check_ranges
from genraven.networks.relational import Context, Trunk, working_dtype
from genraven.networks.relational_cache import PanelCache
from genraven.networks.relational_codes import PANELS, check_sizes, running_codes, value_counts
from genraven.networks.relational_factors import of_cells, of_third, posterior
from genraven.networks.relational_sets import set_nats
from genraven.networks.relational_writer import Hidden, Writer, state_log_probs
from genraven.states import num_states

OPENING, THIRD = slice(0, 2), slice(2, None)
"""Roles of the first two panels of a row, and of the third."""


class RelationalAR(NextCellNetwork):
    """Log-probabilities of each next cell's states, from relations among the panels before it.

    Args:
        width: of the hidden state of an attribute of a panel, divisible by ``num_heads``.
        hidden: width of the MLPs over rows and panels.
        writer: width of the MLP over cells.
        occupancy: width of the layer that says whether a cell is filled.
        mixing: blocks in which the attributes of a panel attend to each other.
        num_heads: of their attention.
        set_weight: of a second target in training: which values each panel shows.
        one_row: are the cells of one row of a puzzle, drawn anew each time, learned at a step, instead of all? That
            takes less than half of the work; the second target is of all rows.
        carrier: does it assume that exactly one attribute of a row carries the rule?
        shared_attributes: are all attributes read by the same weights?
        value_path: is there a path that is the same for all values?
        rows_summed: is the order of the rows before not to matter?
        symbols: number of symbols of each attribute.
        shape: rows, panels of a row, cells of a panel.
        num_labels: classes of the optional label; 0 makes an unconditional network.
        reads_unknown: does it read how much of a panel is unknown? Null is no; `genraven fit` makes it yes where the
            data can have missing cells.

    Raises:
        InputError: sizes that do not fit.
    """

    prior = "structured"
    steps_alike = False  # each panel's first cell takes more work than the others

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
        one_row: bool = True,
        carrier: bool = True,
        shared_attributes: bool = True,
        value_path: bool = True,
        rows_summed: bool = True,
        symbols: tuple[int, ...] = (8, 11, 11),
        shape: tuple[int, int, int] = (3, 3, 9),
        num_labels: int = 0,
        reads_unknown: bool | None = None,
    ) -> None:
        super().__init__()
        check_sizes(symbols, shape)
        check_ranges(width=width, hidden=hidden, writer=writer, occupancy=occupancy, num_heads=num_heads, mixing=mixing,
                     num_labels=num_labels, set_weight=set_weight)  # fmt: skip
        if width % num_heads:
            raise InputError(f"expected width divisible by num_heads, got width {width} and {num_heads} heads.")
        self.symbols, self.shape, self.num_labels = symbols, shape, num_labels
        self.reads_unknown, self.set_weight, self.one_row = bool(reads_unknown), set_weight, one_row
        self.head_sizes, self.rows_exchangeable = (num_states(symbols),), rows_summed
        self.num_values = max(value_counts(symbols, shape[2]))
        switches = {"shared_attributes": shared_attributes, "value_path": value_path}
        self.trunk = Trunk(
            reads="before", width=width, hidden=hidden, mixing=mixing, num_heads=num_heads, num_rows=shape[0],
            num_attributes=len(symbols) + 2, num_values=self.num_values, num_labels=num_labels,
            reads_missing=self.reads_unknown, rows_summed=rows_summed, carrier=carrier, **switches,
        )  # fmt: skip
        self.writer = Writer(
            width=width, hidden=writer, occupancy=occupancy, symbols=symbols, num_cells=shape[2],
            num_values=self.num_values, num_features=2, by_cell=True, **switches,
        )  # fmt: skip

    @property
    def layers(self) -> torch.nn.ModuleList:
        """Whose outputs are hidden states that can be probed."""
        return self.trunk.mixing

    def example_inputs(self, num_cells: int, device: torch.device | str) -> tuple[Tensor, ...]:
        """What it reads of one puzzle in training: all of its ``num_cells`` cells but the last."""
        return (torch.zeros(1, num_cells - 1, len(self.symbols), dtype=torch.int64, device=device),)

    def example_training_inputs(self, num_cells: int, device: torch.device | str) -> tuple[Tensor | None, ...]:
        """What ``training_losses`` reads of one puzzle of ``num_cells`` cells."""
        cells = torch.zeros(1, num_cells, len(self.symbols), dtype=torch.int64, device=device)
        return cells, None, None, None, torch.zeros(1, device=device)

    def passes(self, num_open: int) -> float:
        """Of all rows' relations, panels in their roles and cells, those that the panels of open cells take."""
        of_row, of_panel = self.trunk.multiplications()
        of_panel_too, of_cell = self.writer.multiplications()
        rows, cells = self.shape[0], self.shape[2]
        roles = [self.trunk.panel_of_role.count(panel) for panel in range(PANELS)] * rows
        num_panels = -(-num_open // cells)

        def work(num_rows: int, roles: list[int], num_cells: int) -> float:
            of_all_cells = num_cells / len(roles) * of_cell
            return num_rows * of_row + sum(roles) * (of_panel + of_panel_too + of_all_cells)

        return work(rows - 1, roles[-num_panels:], num_open) / work(rows, roles, rows * PANELS * cells)

    # Of whole puzzles --------------------------------------------------------------------------------------------

    def _read(
        self, cells: Tensor, labels: Tensor | None, unknown: Tensor | None
    ) -> tuple[Tensor, Tensor, Tensor, Context]:
        """By panels: symbols (B, R, 3, N, S); codes before each cell and of the whole; the contexts."""
        panels = cells.unflatten(1, self.shape)
        missing = None if unknown is None else unknown.unflatten(1, self.shape)
        codes = running_codes(panels, self.num_values, missing, working_dtype(self.trunk.role))
        before, whole = codes[..., :-1, :, :], codes[..., -1, :, :]
        fraction = None if missing is None else missing.to(whole).mean(-1)
        return panels, before, whole, self.trunk(whole, labels, fraction)

    def training_losses(
        self,
        cells: Tensor,
        labels: Tensor | None,
        learned: Tensor | None,
        unknown: Tensor | None,
        uniform: Tensor,
    ) -> Tensor:
        """(B,) nats per learned cell, of one row or all, and the second target.

        Args:
            cells: (B, L, S) symbols of whole puzzles.
            labels: (B,) or None.
            learned: (B, L) bool, cells that count; None for all.
            unknown: (B, L) bool or None.
            uniform: (B,) draws on [0, 1), of the row whose cells are learned.
        """
        panels, before, whole, context = self._read(cells, labels, unknown)
        counted = torch.ones_like(cells[..., 0], dtype=torch.bool) if learned is None else learned
        num = counted.sum(1).clamp(min=1)
        counted = counted.unflatten(1, self.shape)
        missing = None if unknown is None else unknown.unflatten(1, self.shape)
        if self.one_row:
            rows = (uniform * self.shape[0]).long()
            each = torch.arange(len(cells), device=cells.device)
            hidden = None if missing is None else missing[each, rows]
            nats = self._cell_nats(context.at(rows), panels[each, rows], before[each, rows], hidden)
            of_cells = (nats * counted[each, rows]).flatten(1).sum(1) * self.shape[0]
        else:
            hidden = None if missing is None else missing.flatten(0, 1)
            nats = self._cell_nats(context.by_rows(), panels.flatten(0, 1), before.flatten(0, 1), hidden)
            of_cells = (nats.unflatten(0, counted.shape[:2]) * counted).flatten(1).sum(1)
        known = None if missing is None else ~missing.any(-1)
        return of_cells / num + self.set_weight * set_nats(context, whole, self.trunk.panel_of_role, known)

    def _cell_nats(self, context: Context, panels: Tensor, before: Tensor, unknown: Tensor | None) -> Tensor:
        """(N, 3, J) nats of the cells ``panels`` (N, 3, J, S) of N rows, each given those before it that are known.

        Args:
            context: of these rows.
            panels: symbols.
            before: (N, 3, J, A, V) codes of the cells before each.
            unknown: (N, 3, J) bool, or None.
        """
        occupancy, values = self._alone(context.roles(OPENING), before[:, OPENING])
        opening = of_cells(occupancy, values, panels[:, OPENING])
        occupancy, values = self._third(context.roles(THIRD), before[:, THIRD])
        if context.carrier is None:
            return -torch.cat([opening, of_cells(occupancy, values, panels[:, THIRD])], 1)
        third = of_third(occupancy, values, panels[:, 2], None if unknown is None else unknown[:, 2])
        so_far = (third.cumsum(1) + context.carrier).logsumexp(-1)
        third = so_far - F.pad(so_far[:, :-1], (1, 0))
        return -torch.cat([opening, third.unsqueeze(1)], 1)

    # Factors of cells --------------------------------------------------------------------------------------------

    def _hidden(self, context: Context, seen: Tensor, cells: slice) -> Hidden:
        """What is known of cells when each is written."""
        positions = self.writer.sets_of(context)[..., -1, : self.shape[2]].sigmoid()
        later = positions.flip(-1).cumsum(-1).flip(-1) - positions
        features = torch.stack([positions[..., cells], later[..., cells] * 0.25], -1)
        left = torch.arange(self.shape[2], 0, -1, device=positions.device)[cells]
        return self.writer.hidden(context, seen, features, left, cells)

    def _alone(self, context: Context, seen: Tensor, cells: slice = slice(None)) -> tuple[Tensor, Tensor]:
        """(N, K, J) logits of *filled* and (N, K, J, S, V) log-probabilities of values, each role taken as it is."""
        hidden = self._hidden(context, seen, cells)
        filled = self.writer.filled_alone(hidden, context, cells)
        return filled, self.writer.values_of(hidden, context, seen)

    def _third(self, context: Context, seen: Tensor, cells: slice = slice(None)) -> tuple[Tensor, Tensor]:
        """(N, 1, J, A) logits of *filled* and (N, 2, J, S, V) log-probabilities where an attribute carries the rule
        and where it does not; (N, 1, J) and (N, 1, J, S, V) where no attribute is distinguished.
        """
        if context.carrier is None:
            return self._alone(context, seen, cells)
        hidden = self._hidden(context, seen, cells)
        filled = self.writer.filled_by_carrier(hidden, context, cells)
        return filled, self.writer.values_of(hidden, context, seen)

    # Of each next cell -------------------------------------------------------------------------------------------

    def new_cache(self, batch_size: int) -> PanelCache:
        """An empty cache for ``batch_size`` sequences."""
        shape = batch_size, self.shape[0] * self.shape[1] * self.shape[2], len(self.symbols)
        return PanelCache(shape, self.trunk.role.device)

    def forward(
        self,
        cells: Tensor,
        labels: Tensor | None = None,
        cache: PanelCache | None = None,
        *,
        last_only: bool = False,
        unknown: Tensor | None = None,
    ) -> Tensor:
        """Log-probabilities (B, positions read, states of a cell), as ``NextCellNetwork`` says."""
        if cache is None:
            return self._all_positions(cells, labels, unknown)[:, -1 if last_only else 0 :]
        first, cache.length = cache.length, cache.length + cells.shape[1]
        cache.cells[:, first : cache.length] = cells
        if cache.is_started:
            first += 1
        else:
            cache.labels, cache.is_started = labels, True
        if first == cache.length or last_only:
            return self._next(cache).unsqueeze(1)
        return self._all_positions(cache.cells[:, : cache.length], cache.labels, None)[:, first:]

    def _all_positions(self, cells: Tensor, labels: Tensor | None, unknown: Tensor | None) -> Tensor:
        """(B, l + 1, states) from the first l cells: what comes after them is blank, and not read."""
        num, blank = cells.shape[1], self.shape[0] * self.shape[1] * self.shape[2] - cells.shape[1]
        cells = F.pad(cells, (0, 0, 0, blank))
        unknown = None if unknown is None else F.pad(unknown, (0, blank))
        panels, before, _, context = self._read(cells, labels, unknown)
        context, before = context.by_rows(), before.flatten(0, 1)
        opening = self._states(*self._alone(context.roles(OPENING), before[:, OPENING]))
        occupancy, values = self._third(context.roles(THIRD), before[:, THIRD])
        weights = None
        if context.carrier is not None:
            hidden = None if unknown is None else unknown.unflatten(1, self.shape)[:, :, 2].flatten(0, 1)
            weights = posterior(context.carrier, of_third(occupancy, values, panels.flatten(0, 1)[:, 2], hidden))
        third = self._states(occupancy, values, weights)
        found = torch.cat([opening, third], 1).unflatten(0, (len(cells), -1)).flatten(1, 3)
        return found[:, : num + 1]

    def _states(self, occupancy: Tensor, values: Tensor, weights: Tensor | None = None) -> Tensor:
        """(N, P, J, states) log-probabilities from what ``_alone`` or ``_third`` give."""
        counts = value_counts(self.symbols, self.shape[2])[: len(self.symbols)]
        if weights is None:
            return state_log_probs(occupancy, values, counts)
        carries, others = values.chunk(2, 1)
        return state_log_probs(occupancy, others, counts, carries, weights)

    def _next(self, cache: PanelCache) -> Tensor:
        """(B, states) log-probabilities of the cell after those in the cache."""
        panel, cell = divmod(cache.length, self.shape[2])
        context = self._context_of(cache, panel)
        written = cache.cells[:, panel * self.shape[2] : (panel + 1) * self.shape[2]]
        codes = running_codes(written, self.num_values, dtype=working_dtype(self.trunk.role)).unsqueeze(1)
        if context.carrier is None:
            here = slice(cell, cell + 1)
            return self._states(*self._alone(context, codes[:, :, here], here))[:, 0, 0]
        if cache.num_factors <= cell:
            here = slice(cache.num_factors, cell + 1)
            cache.add(*self._third(context, codes[:, :, here], here))
        assert cache.factors is not None
        occupancy, values = cache.factors
        weights = posterior(context.carrier, of_third(occupancy, values, written[:, : cell + 1]))
        return self._states(occupancy[:, :, -1:], values[:, :, -1:], weights[:, :, -1:])[:, 0, 0]

    def _context_of(self, cache: PanelCache, panel: int) -> Context:
        """The context (B, roles, ...) of a panel, given those before it."""
        if cache.panel == panel and cache.context is not None:
            return cache.context
        (row, of_row), known = divmod(panel, PANELS), cache.num_rows
        rows = cache.cells.unflatten(1, self.shape)[:, known : row + 1]
        codes = running_codes(rows, self.num_values, dtype=working_dtype(self.trunk.role))[..., -1, :, :]
        if cache.evidence is None:
            cache.evidence = codes.new_zeros(len(codes), 1, codes.shape[3], self.trunk.attribute.shape[1])
        if row > known:
            said = self.trunk.relations(codes[:, :-1], None, known).sum(1, keepdim=True)
            cache.evidence, cache.num_rows = cache.evidence + said, row
        roles = THIRD if of_row == PANELS - 1 else slice(of_row, of_row + 1)
        context = self.trunk.contexts(codes[:, -1:], cache.evidence, cache.labels, None, roles).at(0)
        context.of_writer = self.writer.of_role(context)
        cache.begin(panel, context)
        return context
