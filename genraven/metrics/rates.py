"""A share with its count: what every score here is made of."""

import math
from typing import NamedTuple

import torch
from torch import Tensor

_Z95 = 1.959963984540054  # the normal distribution's 97.5% point


class Rate(NamedTuple):
    """``hits`` of ``total``: two int64 tensors of one shape."""

    hits: Tensor
    total: Tensor

    @property
    def value(self) -> Tensor:
        """float64 share; NaN where nothing was counted."""
        return self.hits.cpu().double() / self.total.cpu().double()  # not every device has float64

    def interval(self) -> tuple[Tensor, Tensor]:
        """95% Wilson score interval, low and high (Wilson 1927); NaN where nothing was counted."""
        n, p = self.total.cpu().double(), self.value
        centre = (p + _Z95**2 / (2 * n)) / (1 + _Z95**2 / n)
        half = _Z95 / (1 + _Z95**2 / n) * (p * (1 - p) / n + _Z95**2 / (4 * n**2)).sqrt()
        # Exactly 0 and 1 at the ends, where rounding leaves a trifle.
        low, high = (centre - half).masked_fill(p == 0, 0.0), (centre + half).masked_fill(p == 1, 1.0)
        return low, high

    def as_json(self) -> dict[str, float | int | list[float]] | None:
        """value, count and interval of a scalar rate as plain numbers; None where nothing was counted."""
        if not self.total:
            return None
        low, high = self.interval()
        return {
            "value": self.value.item(),
            "hits": int(self.hits),
            "count": int(self.total),
            "interval95": [low.item(), high.item()],
        }


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
            half = _Z95 / math.sqrt(self.num_pairs - 3)
            interval = [math.tanh(math.atanh(self.value) + side) for side in (-half, half)]
        return {"value": self.value, "count": self.num_pairs, "interval95": interval}


def entropy_bits(counts: Tensor) -> Tensor:
    """Entropy in bits of the distribution that ``counts`` (K,) are drawn from; 0 where nothing was counted."""
    p = counts.cpu().double() / counts.sum().cpu().clamp(min=1)
    return torch.special.entr(p).sum() / math.log(2)
