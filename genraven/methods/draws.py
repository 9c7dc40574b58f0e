"""Random numbers that are the same whatever a model computes in.

torch draws in its default dtype, which is bf16 or float16 while a model trains or samples in ``bf16-true`` or
``16-true``. A uniform draw has 256 values then, or 2 048: of 700 equally likely objects most would never be drawn.
"""

from collections.abc import Sequence

import torch
from torch import Tensor


def uniform_draws(
    shape: Sequence[int],
    device: torch.device | str | None,
    generator: torch.Generator | None,
    dtype: torch.dtype = torch.float32,
) -> Tensor:
    """Draws of ``shape`` on [0, 1), in ``dtype`` whatever torch's default is."""
    return torch.rand(tuple(shape), generator=generator, device=device, dtype=dtype)


def normal_draws(shape: Sequence[int], device: torch.device | str | None, generator: torch.Generator | None) -> Tensor:
    """Standard normal draws of ``shape``, in float32 whatever torch's default is."""
    return torch.randn(tuple(shape), generator=generator, device=device, dtype=torch.float32)


def finest(device: torch.device) -> torch.dtype:
    """The dtype in which a distribution is inverted on ``device``: float64 where it has that."""
    return torch.float32 if device.type == "mps" else torch.float64


def at_least_float32(x: Tensor) -> Tensor:
    """``x`` in float32, or in float64 where it is in that."""
    return x.to(torch.promote_types(x.dtype, torch.float32))
