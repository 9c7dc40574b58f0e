"""The trunk of relational networks: what the rows of a puzzle have in common, and what that says of each panel.

B batch, R rows, A attributes of a panel, V values, D width, K roles of a panel. Codes are
those of ``relational_codes``.

Each attribute of a row is read by the same layers, as three codes; what the rows say is summed. A panel is then seen
in several roles: that an attribute carries the rule, and so obeys what the other rows have shown, or that it does not,
and so knows of its own row only. Exactly one attribute of a row carries the rule: a softmax over them says which.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from genraven.networks.relational_codes import PANELS, counts, differences, patterns, shifted, steps, sums

OTHERS = ((1, 2), (0, 2), (0, 1))
"""The two other panels of the row, of each of three."""
NEAR = 2
"""Steps along the values, up and down, by which a panel may follow another."""
Reads = Literal["before", "around"]
"""Which panels a panel is seen from: those before it in its puzzle, or all, itself as far as it is known."""


def gelu(x: Tensor) -> Tensor:
    """GELU by its tanh, which is faster."""
    return F.gelu(x, approximate="tanh")


def working_dtype(weight: Tensor) -> torch.dtype:
    """The type in which matrices are multiplied where ``weight`` is: autocast's where it is on."""
    device = weight.device.type
    if torch.amp.is_autocast_available(device) and torch.is_autocast_enabled(device):
        return torch.get_autocast_dtype(device)
    return weight.dtype


class AttributeLinear(nn.Module):
    """A linear layer of (..., A, inputs).

    Args:
        inputs, outputs: features.
        num: 1 for the same weights for all attributes, A for weights of each.
        bias: is there one?
    """

    without_decay = ("bias",)

    def __init__(self, inputs: int, outputs: int, num: int, *, bias: bool = True) -> None:
        super().__init__()
        bound = inputs**-0.5
        self.weight = nn.Parameter(torch.empty(num, outputs, inputs).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.zeros(num, outputs)) if bias else None

    def forward(self, x: Tensor) -> Tensor:
        """(..., A, outputs)."""
        if len(self.weight) == 1:
            return F.linear(x, self.weight[0], None if self.bias is None else self.bias[0])
        found = torch.einsum("...ai,aoi->...ao", x, self.weight)
        return found if self.bias is None else found + self.bias.to(found)


def multiplications(*layers: nn.Module | None) -> int:
    """How many an attribute takes in linear ``layers``."""
    weights = [weight for layer in layers if layer is not None for weight in layer.parameters() if weight.ndim > 1]
    return sum(weight[0].numel() if weight.ndim > 2 else weight.numel() for weight in weights)


class Mixing(nn.Module):
    """Attention among the attributes of a panel, and an MLP.

    Args:
        width: D, divisible by ``num_heads``.
        num_heads: of attention.
    """

    def __init__(self, width: int, num_heads: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.attention_out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.mlp_in, self.mlp_out = nn.Linear(width, 2 * width), nn.Linear(2 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        """(..., A, D) from (..., A, D)."""
        q, k, v = self.qkv(self.norm1(x)).unflatten(-1, (3, self.num_heads, -1)).movedim(-3, 0).transpose(-2, -3)
        weights = ((q @ k.transpose(-1, -2)) * q.shape[-1] ** -0.5).softmax(-1)
        attended = (weights.to(v.dtype) @ v).transpose(-2, -3).flatten(-2)  # five attributes: no kernel is faster
        x = x + self.attention_out(attended)
        return x + self.mlp_out(gelu(self.mlp_in(self.norm2(x))))


def _of_row(part: Tensor, rows: Tensor) -> Tensor:
    """(B, ...): of (B, R, ...) the row ``rows`` (B,) of each puzzle.

    It chooses among the rows instead of indexing: torch 2.13's compiler loses gradients of an index on CPUs with
    AVX-512 when several parts are indexed alike in bfloat16, and on a GPU the gradient of an index has to be sorted.
    """
    is_row = rows.view(-1, *[1] * (part.dim() - 2))
    first, *others = part.unbind(1)
    for row, other in enumerate(others, 1):
        first = torch.where(is_row == row, other, first)
    return first


@dataclass
class Context:
    """What panels are to be, seen in each of K roles."""

    states: Tensor
    """(..., K, A, D) hidden states."""
    sets: Tensor
    """(..., K, A, V) logits of which values are shown."""
    near: Tensor
    """(..., K, A, V, 4) which of the two panels beside it show each value."""
    carrier: Tensor | None
    """(..., panels, A) float32 log-probability that an attribute carries the rule; None where none is distinguished
    from others. The panels are the third for a trunk that reads before, else all three."""
    of_writer: Tensor | None = None
    """(..., K, A, W) what a writer makes of the roles, where it was asked before its cells are."""

    def at(self, rows: Tensor | int) -> "Context":
        """Of one row of each puzzle: the second dimension is gone."""
        if isinstance(rows, int):
            return self._each(lambda part: part[:, rows])
        return self._each(lambda part: _of_row(part, rows))

    def roles(self, roles: slice) -> "Context":
        """Of some of the roles; (N, K, ...) without rows."""
        of_writer = None if self.of_writer is None else self.of_writer[:, roles]
        return Context(self.states[:, roles], self.sets[:, roles], self.near[:, roles], self.carrier, of_writer)

    def select(self, sequences: Tensor) -> "Context":
        """Of ``sequences`` (B,) int64, the first dimension."""
        return self._each(lambda part: part[sequences])

    def by_rows(self) -> "Context":
        """Of each row by itself: the first two dimensions are one."""
        return self._each(lambda part: part.flatten(0, 1))

    def _each(self, change: Callable[[Tensor], Tensor]) -> "Context":
        carrier, of_writer = (None if part is None else change(part) for part in (self.carrier, self.of_writer))
        return Context(change(self.states), change(self.sets), change(self.near), carrier, of_writer)


class Trunk(nn.Module):
    """Contexts of all panels of a puzzle.

    Args:
        reads: ``before`` or ``around``.
        width: D, divisible by ``num_heads``.
        hidden: width of the MLPs.
        mixing: blocks in which the attributes of a panel attend to each other.
        num_heads: of their attention.
        num_rows: R.
        num_attributes: A.
        num_values: V.
        num_labels: classes of the optional label.
        reads_missing: does it read how much of each panel is not known?
        shared_attributes: are all attributes read by the same weights?
        value_path: is there a path that is the same for all values?
        rows_summed: is the order of the other rows not to matter?
        carrier: does it model which one attribute carries the rule?
    """

    without_decay = ("role", "attribute")
    role_panels: Tensor
    others: Tensor
    earlier: Tensor
    knows_others: Tensor

    def __init__(
        self,
        *,
        reads: Reads,
        width: int,
        hidden: int,
        mixing: int,
        num_heads: int,
        num_rows: int,
        num_attributes: int,
        num_values: int,
        num_labels: int,
        reads_missing: bool,
        shared_attributes: bool,
        value_path: bool,
        rows_summed: bool,
        carrier: bool,
    ) -> None:
        super().__init__()
        self.reads, self.value_path, self.reads_missing = reads, value_path, reads_missing
        self.num_labels, self.num_values = num_labels, num_values
        num = 1 if shared_attributes else num_attributes
        extra = PANELS if reads_missing else 0

        def linear(inputs: int, outputs: int, *, bias: bool = True) -> AttributeLinear:
            return AttributeLinear(inputs, outputs, num, bias=bias)

        of_row = PANELS * num_values + (18 + 2 * (2 * NEAR + 1) if value_path else 0) + extra
        self.relation_in, self.relation, self.relation_out = (
            linear(of_row, hidden), linear(hidden, hidden), linear(hidden, width)
        )  # fmt: skip
        num_seen = PANELS if reads == "around" else 2
        of_panel = num_seen * num_values + (8 + 2 * NEAR + 1 if value_path else 0) + extra
        self.seen, self.evidence = linear(of_panel, hidden), linear(width, hidden, bias=False)
        self.panel_of_role, knows_others = _roles(reads, carrier)
        panels = torch.tensor(self.panel_of_role)
        self.register_buffer("role_panels", panels, persistent=False)
        self.register_buffer("others", torch.tensor(OTHERS), persistent=False)
        self.register_buffer("earlier", torch.arange(PANELS) < panels.unsqueeze(1), persistent=False)
        self.register_buffer("knows_others", torch.tensor(knows_others).view(-1, 1, 1), persistent=False)
        self.role = nn.Parameter(torch.randn(len(knows_others), 1, hidden) * 0.1)
        self.label = nn.Embedding(num_labels + 1, num_attributes * hidden)
        nn.init.normal_(self.label.weight, std=0.02)
        self.panel, self.panel_out = linear(hidden, hidden), linear(hidden, width)
        self.attribute = nn.Parameter(torch.randn(num_attributes, width) * 0.1)
        self.mixing = nn.ModuleList(Mixing(width, num_heads) for _ in range(mixing))
        self.sets = linear(width, num_values)
        self.gates = linear(width, 7 + 2 * (2 * NEAR + 1)) if value_path else None
        self.score = linear(width, 1, bias=False) if carrier else None
        self.order = None if rows_summed else nn.Parameter(torch.randn(num_rows, width, width) * width**-0.5)

    def relations(self, codes: Tensor, missing: Tensor | None, start: int = 0) -> Tensor:
        """(B, R, A, D) what each row says, from codes (B, R, 3, A, V); ``missing`` as in ``forward``.

        Args:
            start: which row of a puzzle the first of them is.
        """
        first, second, third = codes.unbind(2)
        parts = [first, second, third]
        if self.value_path:
            added = [sums(first, second) * third, sums(second, third) * first]
            parts += [counts(patterns(*parts)), steps(first, second, NEAR), steps(second, third, NEAR)]
            parts.append(torch.stack(added, -1).sum(-2))
        found = torch.cat(self._with_missing(parts, missing), -1)
        found = self.relation_out(gelu(self.relation(gelu(self.relation_in(found)))))
        if self.order is None:
            return found
        return torch.einsum("brad,rde->brae", found, self.order[start : start + found.shape[1]])

    def multiplications(self) -> tuple[int, int]:
        """Of an attribute: for what a row says, and for a panel in one role."""
        of_role = (self.seen, self.evidence, self.panel, self.panel_out, self.mixing, self.sets, self.gates)
        of_row = multiplications(self.relation_in, self.relation, self.relation_out)
        return of_row + (0 if self.order is None else self.order[0].numel()), multiplications(*of_role)

    def _with_missing(self, parts: list[Tensor], missing: Tensor | None) -> list[Tensor]:
        """``parts`` (..., A, features), and how much of each panel of (..., 3) is missing."""
        if not self.reads_missing:
            return parts
        like = parts[0]
        fraction = like.new_zeros(*like.shape[:-2], PANELS) if missing is None else missing.to(like)
        return [*parts, fraction.unsqueeze(-2).expand(*like.shape[:-1], PANELS)]

    def forward(self, codes: Tensor, labels: Tensor | None = None, missing: Tensor | None = None) -> Context:
        """The contexts (B, R, ...) of all rows.

        Args:
            codes: (B, R, 3, A, V).
            labels: (B,) int64; None, or ``num_labels``, is unconditional.
            missing: (B, R, 3) fraction of the cells of each panel that are not known; None for none.
        """
        return self.contexts(codes, self._evidence(codes, missing), labels, missing)

    def of_panels(self, codes: Tensor, labels: Tensor | None, missing: Tensor, panels: Tensor) -> Context:
        """The contexts (B, P, ...) of some ``panels`` (B, P) int64 of each puzzle, in all roles of that panel.

        Only for a trunk that reads around.

        Args:
            codes, labels, missing: as in ``forward``.
            panels: numbers from 0 to 3 R - 1; a panel may be asked for twice.
        """
        each, rows, panel = (
            torch.arange(len(codes), device=codes.device).unsqueeze(1),
            panels // PANELS,
            panels % PANELS,
        )
        roles = torch.arange(len(self.role_panels) // PANELS, device=codes.device) * PANELS + panel.unsqueeze(-1)
        evidence = self._evidence(codes, missing)
        return self.contexts(codes[each, rows], evidence[each, rows], labels, missing[each, rows], roles)

    def _evidence(self, codes: Tensor, missing: Tensor | None) -> Tensor:
        """(B, R, A, D) what the other rows that are read say of each."""
        relations = self.relations(codes, missing)
        if self.reads == "around":
            return relations.sum(1, keepdim=True) - relations
        # to take a row off a sum with it would leave what rounding knows of it
        return F.pad(relations.cumsum(1)[:, :-1], (0, 0, 0, 0, 1, 0))

    def contexts(
        self,
        codes: Tensor,
        evidence: Tensor,
        labels: Tensor | None,
        missing: Tensor | None,
        roles: slice | Tensor = slice(None),
    ) -> Context:
        """The contexts (B, R, ...) of rows with ``codes`` (B, R, 3, A, V) and ``evidence`` (B, R, A, D) of others.

        Args:
            codes, evidence: of the rows.
            labels, missing: as in ``forward``.
            roles: those that are asked for; a third panel's hypotheses belong to all of its roles. Or (B, R, K) int64,
                of each row its own, where the trunk reads around: one panel's.
        """
        near, seen = self._near(codes, roles)
        parts = list(near) if self.reads == "before" else [*codes.unbind(2)]
        if self.reads == "around":
            parts = [part.unsqueeze(2).expand_as(near[0]) for part in parts]
        if self.value_path:
            parts += [counts(seen), steps(*near, NEAR)]
        if self.reads_missing and missing is not None:
            missing = missing.unsqueeze(2).expand(*near[0].shape[:3], PANELS)
            if self.reads == "before":  # nothing of the panels to come
                missing = missing * self.earlier[roles]
        h = self.seen(torch.cat(self._with_missing(parts, missing), -1))
        if labels is None:
            labels = torch.full((len(codes),), self.num_labels, device=codes.device)
        label = self.label(labels).view(len(codes), 1, 1, h.shape[-2], -1).to(h)
        known = self.evidence(evidence).unsqueeze(2) + label
        h = h + known * self.knows_others[roles].to(h) + self.role[roles].to(h)
        h = self.panel_out(gelu(self.panel(gelu(h))))
        h = h + self.attribute.to(h)
        for block in self.mixing:
            h = block(h)
        sets = self.sets(h)
        if self.gates is not None:
            added = torch.stack([sums(*near), differences(*near), differences(*near[::-1])], -1)
            paths = torch.cat([seen, added, *(shifted(part, NEAR) for part in near)], -1)
            sets = sets + (paths * self.gates(h).unsqueeze(-2)).sum(-1)
        return Context(h, sets, seen, self._carrier(h, roles))

    def _carrier(self, h: Tensor, roles: slice | Tensor) -> Tensor | None:
        if self.score is None:
            return None
        if self.reads == "around":  # the first half of the roles
            of_panels = h.chunk(2, -3)[0]
        else:
            assert isinstance(roles, slice)
            panels = self.panel_of_role[roles]
            if PANELS - 1 not in panels:
                return None
            third = panels.index(PANELS - 1)
            of_panels = h[..., third : third + 1, :, :]
        return self.score(of_panels).squeeze(-1).float().log_softmax(-1)

    def _near(self, codes: Tensor, roles: slice | Tensor) -> tuple[tuple[Tensor, Tensor], Tensor]:
        """The two other panels (B, R, K, A, V) of each role's, as far as they are read, and their patterns."""
        if isinstance(roles, Tensor):
            near = self.others[self.role_panels[roles]]  # B, R, K, 2
            one, other = (codes.take_along_dim(of[..., None, None], 2) for of in near.unbind(-1))
            return (one, other), patterns(one, other)
        of_panel: tuple[tuple[Tensor, Tensor], ...]
        panels = codes.unbind(2)
        if self.reads == "before":
            first, second, _ = panels
            none = torch.zeros_like(first)
            of_panel = ((none, none), (first, none), (first, second))
        else:
            of_panel = tuple((panels[one], panels[other]) for one, other in OTHERS)
        one, other = (torch.stack([of_panel[p][i] for p in self.panel_of_role[roles]], 2) for i in range(2))
        return (one, other), patterns(one, other)


def _roles(reads: Reads, carrier: bool) -> tuple[tuple[int, ...], tuple[float, ...]]:
    """The panel of each role, and 1 for a role that knows what other rows say."""
    if not carrier:
        return (0, 1, 2), (1.0, 1.0, 1.0)
    if reads == "before":  # the first two panels of a row look alike whatever carries the rule
        return (0, 1, 2, 2), (1.0, 1.0, 1.0, 0.0)
    return (0, 1, 2, 0, 1, 2), (1.0, 1.0, 1.0, 0.0, 0.0, 0.0)
