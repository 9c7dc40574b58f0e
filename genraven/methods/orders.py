"""In which order cells are written: the one table of orders, for every method that may choose the next cell.

B puzzles, L cells, V states of a cell. Scores (B, L) say which cells come first, the highest before the others.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from genraven.puzzles.spec import NUM_CELLS, TOKENS_PER_PUZZLE

ASKED, GOLDEN_RATIO = 1000, 0.6180339887498949  # evenly spread numbers, by which an order is seen to be fixed


@dataclass(frozen=True)
class Order:
    """Exactly one of the two: by what is known before the network reads, or by what it says of each cell."""

    before: Callable[[Tensor], Tensor] | None = None
    """(B, L) scores from (B, L) uniform draws; the network is then asked about the chosen cells alone."""
    after: Callable[[Tensor, Tensor], Tensor] | None = None
    """(B, L) scores from log-probabilities (B, L, V), and the states (B, L) that were drawn by them."""

    def __post_init__(self) -> None:
        assert (self.before is None) != (self.after is None)

    @cached_property
    def is_fixed(self) -> bool:
        """Is it one order, whatever is drawn? Then the likelihood of a model that writes in it is exact. It is asked
        for many draws, and for the ends of their range.
        """
        if self.before is None:
            return False
        # On the CPU also where a model is made without memory for its weights; nothing is drawn of anybody's stream.
        numbers = torch.arange(ASKED * TOKENS_PER_PUZZLE, device="cpu", dtype=torch.float64)
        draws = (numbers * GOLDEN_RATIO % 1).float().clamp(max=1 - 2.0**-24).view(ASKED, -1)
        draws[0], draws[1] = 0.0, 1 - 2.0**-24
        return len(self.before(draws).argsort(dim=1, stable=True).unique(dim=0)) == 1


def _confidence(log_p: Tensor, drawn: Tensor) -> Tensor:
    return log_p.gather(-1, drawn.unsqueeze(-1)).squeeze(-1)


def _entropy(log_p: Tensor, drawn: Tensor) -> Tensor:
    return (log_p.exp() * log_p).sum(-1)


def _margin(log_p: Tensor, drawn: Tensor) -> Tensor:
    likeliest = log_p.exp().topk(2, -1).values
    return likeliest[..., 0] - likeliest[..., 1]


def _left_to_right(uniform: Tensor) -> Tensor:
    return -torch.arange(uniform.shape[1], device=uniform.device).expand(uniform.shape)


def _panels(uniform: Tensor) -> Tensor:
    return uniform + _left_to_right(uniform).div(NUM_CELLS, rounding_mode="trunc")


ORDERS: dict[str, Order] = {
    "random": Order(before=lambda uniform: uniform),
    "left_to_right": Order(before=_left_to_right),
    "panels": Order(before=_panels),
    "confidence": Order(after=_confidence),
    "entropy": Order(after=_entropy),
    "margin": Order(after=_margin),
}
"""Orders of unmasking by name. ``panels`` writes one panel after the other, the cells of each in random order. A new
order is an entry, also of a plugin: it may score with -inf."""


def known_before() -> tuple[str, ...]:
    """Names of the orders that do not wait for what the network says."""
    return tuple(name for name, order in ORDERS.items() if order.before is not None)


def positions_in_order(name: str, uniform: Tensor, groups: Tensor | None = None) -> Tensor:
    """(B, L) int64: the place of the first cell of each puzzle, of the second, ...

    Args:
        name: of an order that does not wait for the network.
        uniform: (B, L) draws on [0, 1).
        groups: (B, L) integers; those cells come first whose number is lowest. None for one group.
    """
    before = ORDERS[name].before
    assert before is not None
    return sorted_by_group(before(uniform), groups)


def sorted_by_group(scores: Tensor, groups: Tensor | None) -> Tensor:
    """(B, L) int64 positions by falling ``scores`` (B, L), within ``groups`` (B, L) from the lowest on."""
    positions = scores.argsort(dim=1, descending=True, stable=True)
    return positions if groups is None else positions.gather(1, groups.gather(1, positions).argsort(dim=1, stable=True))


def first_positions(scores: Tensor, masked: Tensor, num: Tensor, at_once: int) -> tuple[Tensor, Tensor]:
    """The positions (B, at_once) of the highest ``scores`` (B, L) among the masked, and which are of the first ``num``.

    Args:
        scores: of an order, integers or floats.
        masked: (B, L) bool, the cells to choose from.
        num: (B,) cells to write.
        at_once: the most of any puzzle.
    """
    scores = scores if scores.is_floating_point() else scores.float()
    scores = scores.clamp(min=torch.finfo(scores.dtype).min)  # so that no cell to choose from is like one that is not
    positions = scores.masked_fill(~masked, -torch.inf).topk(at_once, 1).indices
    return positions, torch.arange(at_once, device=num.device) < num.unsqueeze(1)
