"""A fraction with its count: what every score here is made of."""

import math
from typing import NamedTuple

import torch
from scipy.special import ndtri
from torch import Tensor

from genraven.metrics.intervals import CONFIDENCE, wilson


class Rate(NamedTuple):
    """``hits`` of ``total``: two int64 tensors of one shape.

    Of things of which each puzzle has several, such as rows, those of one puzzle are alike: a puzzle that is copied has
    all of its rows from the training set. The interval is then one over puzzles.
    """

    hits: Tensor
    total: Tensor
    each: int = 1
    """How many of them a puzzle has."""
    squares: Tensor | None = None
    """Sum over puzzles of the squares of their hits, which tells how alike they are; None takes them to be the same."""

    @property
    def value(self) -> Tensor:
        """float64 fraction; NaN where nothing was counted."""
        return self.hits.cpu().double() / self.total.cpu().double()  # not every device has float64

    @property
    def effective_total(self) -> Tensor:
        """float64 number of independent draws that would tell as much: from the number of puzzles up to ``total``.

        It is total / (each * r) with r the variance of puzzles' fractions as a part of its largest, p (1 - p): 1 where
        all of a puzzle are alike, 1 / each where they are independent (the design effect of clusters, Kish 1965). Few
        hits say little of r: one puzzle's worth of r = 1 is added to what was seen. How often intervals then hold the
        truth is in docs/lab/trust.md.
        """
        puzzles, p = self.total.cpu().double() / self.each, self.value
        if self.each == 1 or self.squares is None:
            return puzzles
        mean_square = self.squares.cpu().double() / self.each**2 / puzzles
        variance = (mean_square - p**2) * puzzles / (puzzles - 1)
        alike = (variance / (p * (1 - p))).nan_to_num(1.0, 1.0, 1.0).clamp(1 / self.each, 1.0)
        seen = puzzles * torch.minimum(p, 1 - p)
        return puzzles * (seen + 1) / (seen * alike + 1)

    def interval(self) -> tuple[Tensor, Tensor]:
        """95% Wilson score interval, low and high (Wilson 1927); NaN where nothing was counted."""
        low, high = wilson(self.value.numpy(), self.effective_total.numpy())
        return torch.as_tensor(low), torch.as_tensor(high)

    def as_json(self) -> dict[str, float | int | list[float]] | None:
        """value, count and interval of a scalar rate as plain numbers; None where nothing was counted.

        Where a puzzle has several, ``effective_count`` too, from which intervals of several runs are made.
        """
        if not self.total:
            return None
        low, high = self.interval()
        plain = {
            "value": self.value.item(),
            "hits": int(self.hits),
            "count": int(self.total),
            "interval95": [low.item(), high.item()],
        }
        return plain if self.each == 1 else plain | {"effective_count": self.effective_total.item()}


class Correlation(NamedTuple):
    """Pearson's r of ``num_pairs`` pairs."""

    value: float
    num_pairs: int

    @classmethod
    def of(cls, x: Tensor, y: Tensor) -> "Correlation | None":
        """Of pairs (n,), (n,); None where there are fewer than three, or where one of the two is constant."""
        pairs = torch.stack([x, y]).cpu().double()
        pairs = pairs - pairs.mean(1, keepdim=True)
        norms = pairs.norm(dim=1)
        if len(x) < 3 or not norms.all():
            return None
        return cls((pairs[0] @ pairs[1] / norms.prod()).clamp(-1, 1).item(), len(x))

    def as_json(self) -> dict[str, float | int | list[float] | None]:
        """value, count and 95% interval (Fisher 1921); no interval for three pairs, or where r is 1."""
        interval = None
        if self.num_pairs > 3 and abs(self.value) < 1:
            half = ndtri(0.5 + CONFIDENCE / 2) / math.sqrt(self.num_pairs - 3)
            interval = [math.tanh(math.atanh(self.value) + side) for side in (-half, half)]
        return {"value": self.value, "count": self.num_pairs, "interval95": interval}


def entropy_bits(counts: Tensor) -> Tensor:
    """Entropy in bits of the distribution that ``counts`` (K,) are drawn from; 0 where nothing was counted."""
    p = counts.cpu().double() / counts.sum().cpu().clamp(min=1)
    return torch.special.entr(p).sum() / math.log(2)
