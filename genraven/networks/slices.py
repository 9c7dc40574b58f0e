"""Many puzzles read a few at a time, on processors."""

import itertools
from collections.abc import Callable

import torch
from torch import Tensor

SLICE = 64


def in_slices(network: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """``network`` for sampling: on a CPU it reads 64 puzzles at a time, whose numbers stay in the processor's caches.

    The outputs are the same; of 256 puzzles the smallest networks make them in about 0.8 of the time.

    Args:
        network: a function of tensors (B, ...), some perhaps None, to (B, ...).
    """

    def read(*inputs: Tensor | None) -> Tensor:
        first = inputs[0]
        assert first is not None
        if first.device.type != "cpu" or len(first) <= SLICE or torch.is_grad_enabled():
            return network(*inputs)
        parts = [itertools.repeat(None) if whole is None else whole.split(SLICE) for whole in inputs]
        return torch.cat([network(*part) for part in zip(*parts, strict=False)])

    return read
