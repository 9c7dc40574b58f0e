"""From the context of a panel and what is known of it to what stands in its cells.

N rows of puzzles, K roles of a panel, J cells that are asked for (or 1, where all cells of a panel are alike), S
attributes of an object, A = S + 2 of a panel, V values, W width, O occupancy's width.

A cell is filled or not; a filled one's attributes are drawn apart, from values that depend on the attribute's role.
Under the hypothesis that attribute a carries the rule, a's values come from the role that carries it, all others' from
the one that does not, and whether a cell is filled from both. A cell's probability is the mean over the hypotheses.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from genraven.networks.relational import AttributeLinear, Context, multiplications
from genraven.networks.relational_codes import objects_left, value_counts

CLEAR = 10.0
"""Logits of sets are read up to this size."""
LEAST_FRACTION = 1e-4
"""Of filled cells that the number of objects can speak for."""


@dataclass
class Hidden:
    """What is known of cells, in each of K roles."""

    states: Tensor
    """(N, K, J, A, W)."""
    number: Tensor
    """(N, K, 1, V) logits of the number of objects."""
    have: Tensor
    """(N, K, J) objects that are known."""
    left: Tensor
    """(N, K, J) cells that are not."""
    lacks: Tensor
    """(N, K, J, A) values that are expected of the panel and not yet shown."""
    objects: Tensor
    """(N, K, J) float32 objects that are expected in the cells that are left: in bfloat16 the odds of a cell, where
    nearly all or none are filled, would be those of another number."""


class Writer(nn.Module):
    """Values and occupancy of cells.

    Args:
        width: D of the contexts.
        hidden: W.
        occupancy: O.
        symbols: number of symbols of each of the S attributes.
        num_cells: N of a panel.
        num_values: V.
        num_features: numbers about the panel that the user of the writer hands in.
        by_cell: do the values of cells depend on their position? Else their occupancy alone is.
        shared_attributes, value_path: as in ``Trunk``.
    """

    without_decay = ("attribute", "cell", "filled_bias")
    beyond: Tensor
    numbers: Tensor

    def __init__(
        self,
        *,
        width: int,
        hidden: int,
        occupancy: int,
        symbols: tuple[int, ...],
        num_cells: int,
        num_values: int,
        num_features: int,
        by_cell: bool,
        shared_attributes: bool,
        value_path: bool,
    ) -> None:
        super().__init__()
        self.num_symbols, self.num_cells, self.value_path = len(symbols), num_cells, value_path
        num_attributes = len(symbols) + 2
        num = 1 if shared_attributes else num_attributes
        own = 1 if shared_attributes else len(symbols)
        self.state, self.sets = (AttributeLinear(n, hidden, num, bias=False) for n in (width, num_values))
        self.seen = AttributeLinear(num_values + (12 if value_path else 0), hidden, num, bias=False)
        self.attribute = nn.Parameter(torch.randn(num_attributes, hidden) * 0.1)
        self.count, self.features = (nn.Linear(n, hidden, bias=False) for n in (num_values, num_features + 2))
        self.missing = nn.Linear(4, hidden, bias=False)
        self.cell = nn.Parameter(torch.randn(num_cells, hidden if by_cell else occupancy) * 0.1)
        self.by_cell = by_cell
        self.values = AttributeLinear(hidden, num_values, own)
        self.gates = AttributeLinear(hidden, 2 * (5 if value_path else 1), own)
        scale = (num_attributes * hidden) ** -0.5
        self.filled = nn.Parameter(torch.randn(num_attributes, hidden, occupancy) * scale)
        self.filled_bias = nn.Parameter(torch.zeros(occupancy))
        self.filled_out = nn.Linear(occupancy, 3)
        limits = torch.tensor(value_counts(symbols, num_cells)[: len(symbols)])
        self.register_buffer("beyond", torch.arange(num_values) >= limits[:, None], persistent=False)
        self.register_buffer("numbers", torch.arange(num_values, dtype=torch.float32), persistent=False)

    def multiplications(self) -> tuple[int, int]:
        """Of an attribute: for a panel in one role, and for each of its cells."""
        of_cell = multiplications(self.seen, self.missing, self.values, self.gates) + self.filled[0].numel()
        return multiplications(self.state, self.sets), of_cell

    def sets_of(self, context: Context) -> Tensor:
        """The logits of sets as they are read here, in the type of the states."""
        return context.sets.clamp(-CLEAR, CLEAR).to(context.states.dtype)

    def of_role(self, context: Context) -> Tensor:
        """(..., K, A, W) what cells know of each role, all the same."""
        of_role = self.state(context.states) + self.sets(self.sets_of(context))
        return of_role + self.attribute.to(of_role)

    def hidden(self, context: Context, seen: Tensor, features: Tensor, left: Tensor, cells: slice) -> Hidden:
        """What is known of the cells of a panel in each role.

        Args:
            context: (N, K, ...) of the roles.
            seen: (N, K or 1, J, A, V) codes of what is known when a cell is asked for.
            features: (N, K, J, features) numbers.
            left: cells that are not known, (J,) or (N, K, 1).
            cells: the positions of the J cells.
        """
        parts = [seen]
        if self.value_path:
            near = context.near[:, : seen.shape[1]]
            shown = torch.einsum("kjav,kavp->kjap", seen.flatten(0, 1), near.flatten(0, 1)).unflatten(0, seen.shape[:2])
            missing = near.sum(-2).unsqueeze(2) - shown
            parts += [shown * 0.25, missing * 0.25, missing.clamp(max=1)]
        known = self.seen(torch.cat(parts, -1)) + self.count(seen[..., self.num_symbols, :]).unsqueeze(-2)
        if self.by_cell:
            known = known + self.cell[cells].unsqueeze(-2).to(known)
        of_role = self.of_role(context) if context.of_writer is None else context.of_writer
        shows = self.sets_of(context).sigmoid().unsqueeze(2)  # N, K, 1, A, V
        lacks = (shows * (1 - seen)).sum(-1)
        have = (seen[..., self.num_symbols, :] @ self.numbers.to(seen)).expand(-1, lacks.shape[1], -1)
        left = left.to(lacks).expand(lacks.shape[:3])
        number = self.sets_of(context)[..., self.num_symbols, :].unsqueeze(2)
        objects = objects_left(number, have, left, lacks[..., : self.num_symbols].amax(-1), self.num_cells)
        rounded = objects.to(lacks)
        numbers = self.features(torch.cat([features, torch.stack([rounded, have], -1) * 0.25], -1))
        spare, room = rounded.unsqueeze(-1) - lacks, left.unsqueeze(-1) - lacks
        # That no object, or no cell, is to spare for another value decides what comes next: the ramps say it sharply.
        of_sets = torch.cat([torch.stack([lacks, spare], -1) * 0.25, (1 - torch.stack([spare, room], -1)).relu()], -1)
        states = F.relu(known + (of_role.unsqueeze(2) + numbers.unsqueeze(3)) + self.missing(of_sets))
        return Hidden(states, number, have, left, lacks, objects)

    def values_of(self, hidden: Hidden, context: Context, seen: Tensor) -> Tensor:
        """(N, K, J, S, V) float32 log-probabilities of the values of a filled cell."""
        s, (n, k) = self.num_symbols, hidden.states.shape[:2]
        h = hidden.states[..., :s, :]
        channels = self.sets_of(context)[..., :s, :].unsqueeze(-1)  # N, K, S, V, 1
        if self.value_path:
            channels = torch.cat([channels, context.near[..., :s, :, :].to(channels)], -1)
        gates = self.gates(h).transpose(2, 3).flatten(0, 2)  # N K S, J, 2 * channels
        paths = channels.flatten(0, 2).transpose(1, 2)  # N K S, channels, V
        free, of_seen = (
            (part @ paths).unflatten(0, (n, k, s)).transpose(2, 3) for part in gates.chunk(2, -1)
        )  # N, K, J, S, V
        logits = self.values(h) + free + of_seen * seen[..., :s, :]
        return logits.float().masked_fill(self.beyond, -torch.inf).log_softmax(-1)

    def _is_filled(self, x: Tensor, by_place: Tensor, by_number: Tensor) -> Tensor:
        """(...) float32 logits from (..., O) and the logits by the set of positions and by the number of objects."""
        bias, place, number = self.filled_out(F.relu(x)).float().unbind(-1)
        return bias + place * by_place + number * by_number

    def _of_all(self, states: Tensor, cells: slice, layout: Tensor | None) -> Tensor:
        """(N, K, J, O) what the ``states`` (N, K, J or 1, A, W) of all attributes say of whether a cell is filled."""
        whole = states.flatten(-2) @ self.filled.flatten(0, 1).to(states) + self.filled_bias.to(states)
        if layout is not None:
            whole = whole + layout.unsqueeze(2)
        return whole if self.by_cell else whole + self.cell[cells].to(whole)

    def filled_alone(self, hidden: Hidden, context: Context, cells: slice, layout: Tensor | None = None) -> Tensor:
        """(N, K, J) float32 logits of *filled*, where each role is taken as it is.

        Args:
            hidden, context: as in ``hidden``.
            cells: the positions of the J cells.
            layout: (N, K, O) what is known of where the panel's objects stand; None for nothing.
        """
        whole = self._of_all(hidden.states, cells, layout)
        return self._is_filled(whole, self._by_place(context, cells), log_odds(hidden.objects, hidden.left))

    def filled_by_carrier(self, hidden: Hidden, context: Context, cells: slice, layout: Tensor | None = None) -> Tensor:
        """(N, P, J, A) float32 logits of *filled* under each hypothesis.

        Args:
            hidden, context: of the roles that carry the rule and then of those that do not, (N, 2 P, ...).
            cells, layout: as in ``filled_alone``, of P panels.
        """
        carries, others = hidden.states.chunk(2, 1)
        whole = self._of_all(others, cells, layout)
        change = (carries - others).movedim(-2, 0).flatten(1, 3) @ self.filled.to(others)  # A, N P J, O
        change = change.unflatten(1, others.shape[:3]).movedim(0, -2)
        carry, other = self._by_place(context, cells).chunk(2, 1)
        positions = torch.stack([*([other] * (self.num_symbols + 1)), carry], -1)
        return self._is_filled(whole.unsqueeze(-2) + change, positions, self._by_number(hidden))

    def _by_number(self, hidden: Hidden) -> Tensor:
        """(N, P, J, A) logits of *filled* by the number of objects, under each hypothesis of what carries the rule."""
        s = self.num_symbols
        carry, other = hidden.number.unsqueeze(3).chunk(2, 1)  # N, P, 1, 1, V
        numbers = torch.cat([*([other] * s), carry, other], 3)
        of_carry, of_other = hidden.lacks[..., :s].chunk(2, 1)
        swapped = of_other.unsqueeze(-2) + torch.diag_embed(of_carry - of_other)  # N, P, J, s hypotheses, s attributes
        plain = of_other.amax(-1, keepdim=True)
        wanted = torch.cat([swapped.amax(-1), plain, plain], -1)  # N, P, J, A
        have, left = (part.chunk(2, 1)[0].unsqueeze(-1).expand_as(wanted) for part in (hidden.have, hidden.left))
        return log_odds(objects_left(numbers, have, left, wanted, self.num_cells), left)

    def _by_place(self, context: Context, cells: slice) -> Tensor:
        """(N, K, J) logits that the cells are of the panel's positions."""
        return self.sets_of(context)[..., -1, : self.num_cells][..., cells]


def log_odds(objects: Tensor, left: Tensor) -> Tensor:
    """Logits that one of the cells that are ``left`` is filled, which hold so many ``objects`` together."""
    fraction = (objects.float() / left.float().clamp(min=1e-3)).clamp(
        LEAST_FRACTION, 1 - LEAST_FRACTION
    )  # in bf16 it may be 1
    return fraction.logit()


def filled_log_prob(logits: Tensor, filled: Tensor) -> Tensor:
    """Log-probability that a cell is ``filled`` (bool), or that it is not."""
    return -F.softplus(torch.where(filled, -logits, logits))


def state_log_probs(
    filled: Tensor,
    values: Tensor,
    counts: tuple[int, ...],
    carrying: Tensor | None = None,
    weights: Tensor | None = None,
) -> Tensor:
    """(..., states of a cell) log-probabilities, the empty one's first.

    Args:
        filled: (...) logits; (..., A) of each hypothesis where there are some.
        values: (..., S, V) log-probabilities of values, of attributes that do not carry the rule.
        counts: values of each of the S attributes.
        carrying: (..., S, V) the same of attributes that do; None without hypotheses.
        weights: (..., A) log-probability of each hypothesis; None without.
    """
    num = len(counts)

    def along(part: Tensor, a: int) -> Tensor:
        """(..., 1, n_a, 1) of the values of attribute a."""
        return part[..., a, : counts[a]].reshape(*part.shape[:-2], *(counts[a] if i == a else 1 for i in range(num)))

    whole = along(values, 0)
    for a in range(1, num):
        whole = whole + along(values, a)
    if carrying is None or weights is None:
        logit = filled.unsqueeze(-1)
        return torch.cat([-F.softplus(logit), (whole.flatten(-num) - F.softplus(-logit))], -1)
    empty = (weights - F.softplus(filled)).logsumexp(-1, keepdim=True)
    mixed = weights - F.softplus(-filled)  # ..., A
    single = [
        along((mixed[..., :num, None] + carrying - values.masked_fill(values.isinf(), 0.0)), a) for a in range(num)
    ]
    rest = mixed[..., num:].logsumexp(-1).reshape(*mixed.shape[:-1], *(1,) * num)
    factor = rest
    for part in single:
        factor = torch.logaddexp(factor, part)
    return torch.cat([empty, (whole + factor).flatten(-num)], -1)
