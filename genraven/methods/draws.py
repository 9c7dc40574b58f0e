"""Random numbers that are the same whatever a model computes in, and whatever a batch holds besides.

torch draws in its default dtype, which is bf16 or float16 while a model trains or samples in ``bf16-true`` or
``16-true``. A uniform draw has 256 values then, or 2,048: of 700 equally likely objects most would never be drawn.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

SHARD = 64
"""Puzzles that share a stream of random numbers, which costs what is drawn and not used at the ends of a batch."""


class PlacedGenerator(torch.Generator):
    """Random numbers of puzzles at their indices in a set: the same whatever other puzzles are drawn along with them.

    Indices are cut into shards, each of which has a stream of its own; a batch takes its part of the streams that it
    touches. ``uniform_draws`` and ``normal_draws`` do so where they draw as often for each puzzle as for any other.
    What is drawn otherwise, also by torch itself, comes from a stream that the batch's first place tells.

    Args:
        stream: gives the seed of ("shard", number of it), and of ("batch", first place).
        start: place of the first puzzle.
        num: puzzles, 1 or more.
        device: to draw on.
    """

    def __new__(cls, stream: Any, start: int, num: int, device: torch.device | str) -> "PlacedGenerator":
        return super().__new__(cls, device)  # type: ignore[call-arg]

    def __init__(self, stream: Callable[[str, int], int], start: int, num: int, device: torch.device | str) -> None:
        self.num = num
        self.manual_seed(stream("batch", start))
        self._shards = [
            (torch.Generator(device).manual_seed(stream("shard", shard)), _overlap(shard, start, num))
            for shard in range(start // SHARD, (start + num - 1) // SHARD + 1)
        ]

    def draw(self, distribution: Callable[..., Tensor], shape: Sequence[int], **settings: Any) -> Tensor:
        """Draws of ``shape``, (num * each, ...), each puzzle's one after the other."""
        each, rest = divmod(shape[0], self.num) if len(shape) else (0, 1)
        if rest:
            return distribution(tuple(shape), generator=self, device=self.device, **settings)
        parts = [
            distribution((SHARD * each, *shape[1:]), generator=generator, device=self.device, **settings)[
                part.start * each : part.stop * each
            ]
            for generator, part in self._shards
        ]
        return parts[0] if len(parts) == 1 else torch.cat(parts)

    def spread(self) -> Tensor:
        """(num,) float32 draws on [0, 1): a shard has one in each of as many equal parts, turned by a common draw."""
        parts = []
        for generator, part in self._shards:
            within, shift = (uniform_draws((n,), self.device, generator) for n in (SHARD, 1))
            whole = (torch.arange(SHARD, device=self.device) + within) / SHARD + shift
            parts.append(whole.frac()[part])
        return torch.cat(parts)


def _overlap(shard: int, start: int, num: int) -> slice:
    """Of the indices of a shard, counted from its first, those from ``start`` on."""
    first = shard * SHARD
    return slice(max(start - first, 0), min(start + num - first, SHARD))


def uniform_draws(
    shape: Sequence[int],
    device: torch.device | str | None,
    generator: torch.Generator | None,
    dtype: torch.dtype = torch.float32,
) -> Tensor:
    """Draws of ``shape`` on [0, 1), in ``dtype`` whatever torch's default is."""
    if isinstance(generator, PlacedGenerator):
        return generator.draw(torch.rand, shape, dtype=dtype)
    return torch.rand(tuple(shape), generator=generator, device=device, dtype=dtype)


def normal_draws(shape: Sequence[int], device: torch.device | str | None, generator: torch.Generator | None) -> Tensor:
    """Standard normal draws of ``shape``, in float32 whatever torch's default is."""
    if isinstance(generator, PlacedGenerator):
        return generator.draw(torch.randn, shape, dtype=torch.float32)
    return torch.randn(tuple(shape), generator=generator, device=device, dtype=torch.float32)


def finest(device: torch.device) -> torch.dtype:
    """The dtype in which a distribution is inverted on ``device``: float64 where it has that."""
    return torch.float32 if device.type == "mps" else torch.float64


def at_least_float32(x: Tensor) -> Tensor:
    """``x`` in float32, or in float64 where it is in that."""
    return x.to(torch.promote_types(x.dtype, torch.float32))
