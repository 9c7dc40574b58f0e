"""How long a model takes to write puzzles."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import get_args

import torch

from genraven.methods.method import Task


class SamplingTimer:
    """Sums the seconds of generating and of completing: ``with timer("generate"): ...``.

    Args:
        device: whose work is waited for before the clock is read.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.seconds: dict[Task, float] = dict.fromkeys(get_args(Task), 0.0)

    @contextmanager
    def __call__(self, task: Task) -> Iterator[None]:
        """Counts the block, unless it raises."""
        self._synchronize()
        start = time.perf_counter()
        yield
        self._synchronize()
        self.seconds[task] += time.perf_counter() - start

    def _synchronize(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
