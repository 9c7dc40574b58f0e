"""A relational network of noisy one-hot fields: what Gaussian diffusion asks for.

B puzzles, L cells, R rows of P = 3 panels of J cells, S attributes of an object, V values, C channels, a symbol each.

What a cell's noisy code says of its symbols is Bayes' rule: the logits of the symbols are the code times 2 alpha /
sigma^2, on a linear path, where alpha = 1 - t and sigma = t. The panels' codes are then probabilities that a value is
shown; what the network expects of a cell from all panels is added to what the cell says by itself.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from genraven.errors import InputError
from genraven.networks.relational import working_dtype
from genraven.networks.relational_around import Around, Marginals
from genraven.networks.relational_codes import value_counts

CLEAN = 20.0
"""What the code of a cell that is shown clean is multiplied by."""
LEAST_TIME = 0.02


def log_prob_of_others(log_p: Tensor) -> Tensor:
    """(..., A) logarithm of the probability that another one of A exclusive events, of log-probabilities ``log_p``, is.

    It is a sum of theirs: log(1 - p) would be noise where p is nearly 1.
    """
    own = torch.eye(log_p.shape[-1], dtype=torch.bool, device=log_p.device)
    return log_p.unsqueeze(-2).masked_fill(own, -torch.inf).logsumexp(-1)


class RelationalSoft(nn.Module):
    """Logits of the symbols of all cells, from relations among panels, as far as noise lets them be seen.

    Args:
        width: of the hidden state of an attribute of a panel, divisible by ``num_heads``.
        hidden: width of the MLPs over rows and panels.
        writer: width of the MLP over what a panel shows.
        occupancy: width of the layer that says whether a cell is filled.
        mixing: blocks in which the attributes of a panel attend to each other.
        num_heads: of their attention.
        carrier: does it assume that exactly one attribute of a row carries the rule?
        shared_attributes: are all attributes read by the same weights?
        value_path: is there a path that is the same for all values?
        rows_summed: is the order of the other rows not to matter?
        in_channels: C, or twice C for a network that reads its last estimate of the code, too; and one more for one
            that reads where it writes.
        out_channels: C.
        symbols: number of symbols of each attribute; C is their sum.
        shape: rows, panels of a row, cells of a panel.
        num_labels: classes of the optional label; 0 makes an unconditional network.
        reads_unknown: does it read which cells are unknown? Null is no; `genraven fit` makes it yes where the data
            can have missing cells.

    Raises:
        InputError: sizes that do not fit.
    """

    prior = "structured"
    needs_linear_path = True
    without_decay = ("own", "usual", "recall")

    def __init__(
        self,
        *,
        width: int = 96,
        hidden: int = 256,
        writer: int = 64,
        occupancy: int = 32,
        mixing: int = 1,
        num_heads: int = 4,
        carrier: bool = True,
        shared_attributes: bool = True,
        value_path: bool = True,
        rows_summed: bool = True,
        in_channels: int = 31,
        out_channels: int = 30,
        symbols: tuple[int, ...] = (8, 11, 11),
        shape: tuple[int, int, int] = (3, 3, 9),
        num_labels: int = 0,
        reads_unknown: bool | None = None,
    ) -> None:
        super().__init__()
        num_channels = sum(symbols)
        fields, where = divmod(in_channels, num_channels)
        if out_channels != num_channels or fields not in (1, 2) or where > 1:
            raise InputError(f"expected out_channels {num_channels}, a channel for each symbol, and in_channels the "
                             f"same, twice as many for self_conditioning, or one more than these, got {out_channels} "
                             f"and {in_channels}: choose code onehot.")  # fmt: skip
        if math.isqrt(shape[2]) ** 2 != shape[2]:
            raise InputError(f"expected square panels for fields, got shape {shape}: choose another number of cells.")
        self.symbols, self.shape, self.num_labels = symbols, shape, num_labels
        self.in_channels, self.reads_unknown = in_channels, bool(reads_unknown)
        self.around = Around(
            width=width, hidden=hidden, writer=writer, occupancy=occupancy, mixing=mixing, num_heads=num_heads,
            carrier=carrier, shared_attributes=shared_attributes, value_path=value_path, rows_summed=rows_summed,
            symbols=symbols, shape=shape, num_labels=num_labels,
        )  # fmt: skip
        self.gain = nn.Sequential(nn.Linear(2, 32), nn.GELU(), nn.Linear(32, len(symbols)))
        self.recall = nn.Parameter(torch.zeros(len(symbols))) if fields == 2 else None  # weight of its last estimate
        self.own = nn.Parameter(torch.ones(2))  # how much of what a cell says by itself is added at last
        self.usual = nn.Parameter(torch.zeros(()))  # logit of a filled cell

    @property
    def layers(self) -> nn.ModuleList:
        """Whose outputs are hidden states that can be probed."""
        return self.around.trunk.mixing

    def example_inputs(self, num_cells: int, device: torch.device | str) -> tuple[Tensor, ...]:
        """What it reads of one puzzle of ``num_cells`` cells: a field and its time."""
        side = math.isqrt(num_cells)
        return torch.zeros(1, self.in_channels, side, side, device=device), torch.full((1,), 0.5, device=device)

    def forward(
        self, x: Tensor, times: Tensor, labels: Tensor | None = None, *, unknown: Tensor | None = None
    ) -> Tensor:
        """(B, C, side, side) logits from noisy fields (B, in_channels, side, side).

        Args:
            times: (B,) in [0, 1].
            labels: (B,) int64; None, or ``num_labels``, is unconditional.
            unknown: (B, side, side) bool, cells that say nothing, for a network that reads them; None for none.
        """
        said = self._evidence(x, times, unknown)
        for_filled = [part[..., 1:].logsumexp(-1) - part[..., 0] - math.log(part.shape[-1] - 1) for part in said]
        of_filled = torch.stack(for_filled).sum(0)
        filled = (of_filled + self.usual).sigmoid()  # B, R, 3, J
        shown = [part[..., 1:].softmax(-1) for part in said]
        surest = torch.stack([part.amax(-1) for part in shown]).amin(0)
        is_open = 1 - torch.maximum(1 - filled, filled * surest)
        dtype = working_dtype(self.around.trunk.role)
        codes = self._codes(filled, shown).to(dtype)
        _, found = self.around(codes, is_open.to(dtype), filled.to(dtype), labels)
        return self._fields(self._logits(found, said, of_filled))

    def _evidence(self, x: Tensor, times: Tensor, unknown: Tensor | None) -> list[Tensor]:
        """(B, R, 3, J, n_a) logits of each attribute's symbols, by what a cell says itself."""
        t = times.float().clamp(LEAST_TIME, 1 - LEAST_TIME)
        expected = (2 * (1 - t) / t.square()).log()
        read = torch.stack([t, expected], 1).to(self.own.dtype)
        gains = (expected.unsqueeze(1) + self.gain(read).float()).clamp(max=math.log(2 * CLEAN)).exp()
        cells = self._cells(x.float())
        num = sum(self.symbols)
        scale = gains[:, None, None, None]  # B, 1, 1, 1, S
        if self.in_channels % num:  # the last channel says where it writes; elsewhere stands a clean code
            scale = torch.where(cells[..., -1:] > 0.5, scale, CLEAN)
        if unknown is not None:
            known = ~self._cells(unknown.unsqueeze(1))
            scale, cells = scale * known, cells * known
        said = [part * scale[..., a : a + 1] for a, part in enumerate(cells[..., :num].split(self.symbols, -1))]
        if self.recall is None:
            return said
        last = cells[..., num : 2 * num].split(self.symbols, -1)
        return [part + weight * before for part, weight, before in zip(said, self.recall, last, strict=True)]

    def _codes(self, filled: Tensor, shown: list[Tensor]) -> Tensor:
        """(B, R, 3, A, V) probabilities that a panel shows each value, cells taken as independent."""
        num = self.around.num_values
        codes = []
        for part in shown:
            at_each = (filled.unsqueeze(-1) * part).clamp(max=1 - 1e-6)
            codes.append(F.pad(1 - torch.log1p(-at_each).sum(-2).exp(), (0, num - part.shape[-1])))
        count = F.one_hot(torch.zeros_like(filled[..., 0], dtype=torch.int64), num).to(filled)
        for cell in filled.unbind(-1):  # the distribution of a sum of independent cells
            count = count * (1 - cell.unsqueeze(-1)) + F.pad(count[..., :-1], (1, 0)) * cell.unsqueeze(-1)
        return torch.stack([*codes, count, F.pad(filled, (0, num - filled.shape[-1]))], -2)

    def _logits(self, found: Marginals, said: list[Tensor], of_filled: Tensor) -> Tensor:
        """(B, R, 3, J, C) log-probabilities of each attribute's symbols."""
        counts = value_counts(self.symbols, self.shape[2])
        logits = found.filled
        if found.weights is not None:
            weights = found.weights.repeat_interleave(self.shape[2], 1)
            yes, no = ((weights + F.logsigmoid(sign * logits)).logsumexp(-1) for sign in (1, -1))
            logits = yes - no
        logits = logits.view_as(of_filled) + self.own[0] * of_filled
        symbols = []
        for a, part in enumerate(said):
            values = found.values[:, :, a, : counts[a]]
            if found.carrying is not None and found.weights is not None:
                carries = found.weights[..., a : a + 1]
                another = log_prob_of_others(found.weights)[..., a : a + 1]
                values = torch.logaddexp(carries + found.carrying[:, :, a, : counts[a]], another + values)
            own = values.view(*part.shape[:3], 1, -1) + self.own[1] * part[..., 1:]
            filled = F.logsigmoid(logits).unsqueeze(-1) + own.log_softmax(-1)
            symbols += [F.logsigmoid(-logits).unsqueeze(-1), filled]
        return torch.cat(symbols, -1)

    def _cells(self, fields: Tensor) -> Tensor:
        """(B, R, P, J, C) from (B, C, side, side)."""
        rows, panels, cells = self.shape
        side = math.isqrt(cells)
        split = fields.unflatten(3, (panels, side)).unflatten(2, (rows, side))
        return split.permute(0, 2, 4, 3, 5, 1).flatten(3, 4)

    def _fields(self, cells: Tensor) -> Tensor:
        """(B, C, side, side) from (B, R, P, J, C)."""
        side = math.isqrt(self.shape[2])
        return cells.unflatten(3, (side, side)).permute(0, 5, 1, 3, 2, 4).flatten(4, 5).flatten(2, 3)
