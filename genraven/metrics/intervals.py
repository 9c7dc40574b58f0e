"""A value and its interval, and that of a fraction: what every number with an uncertainty here is made of."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.special import ndtri

CONFIDENCE = 0.95


@dataclass(frozen=True)
class Interval:
    """A value and its interval; a difference, too. Arrays where many are calculated side by side."""

    value: Any
    low: Any
    high: Any

    @classmethod
    def exactly(cls, value: float) -> "Interval":
        """Of a value that has no uncertainty, or of which none is known."""
        return cls(value, value, value)

    def through(self, rising: Callable[[float], float]) -> "Interval":
        """That of a function, which rises, of the value."""
        return Interval(*(float(rising(end)) for end in (self.value, self.low, self.high)))

    def written(self, form: str) -> dict[str, str]:
        """``value``, ``low`` and ``high``, each written in ``form``, such as .2f."""
        return {name: f"{getattr(self, name):{form}}" for name in ("value", "low", "high")}

    @property
    def sign(self) -> Any:
        """1 where it is surely above 0, -1 where surely below, else 0."""
        return np.sign(np.where(self.low > 0, 1, np.where(self.high < 0, -1, 0)))

    @property
    def is_known(self) -> bool:
        """Has it both ends?"""
        return bool(np.isfinite([self.low, self.high]).all())

    def __str__(self) -> str:
        return f"{self.value:.3f} [{self.low:.3f}, {self.high:.3f}]" if self.is_known else f"{self.value:.3f}"


def wilson(value: Any, count: Any, confidence: float = CONFIDENCE) -> tuple[Any, Any]:
    """Interval of a fraction ``value`` of ``count`` (Wilson 1927); exactly 0 and 1 at the ends, NaN where it is.

    Args:
        value: number or array.
        count: likewise.
        confidence: between 0 and 1.
    """
    z = ndtri(0.5 + confidence / 2)
    with np.errstate(divide="ignore", invalid="ignore"):  # of none
        centre = (value + z**2 / (2 * count)) / (1 + z**2 / count)
        half = z / (1 + z**2 / count) * np.sqrt(value * (1 - value) / count + z**2 / (4 * count**2))
    return np.where(value <= 0, 0.0, centre - half), np.where(value >= 1, 1.0, centre + half)
