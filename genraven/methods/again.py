"""What a method may have beside ``Method``: its own answers, covered with noise, are solved again.

B puzzles (B, 3, 9, 9) int8; masks (B, 9, 9) bool, true where the model wrote.
"""

from typing import Any, Protocol

import torch
from torch import Tensor, nn


class SolvesAgain(Protocol):
    """A method with ``recovery`` among its confidences."""

    def solve_again(
        self,
        network: nn.Module,
        puzzles: Tensor,
        mask: Tensor,
        level: float,
        sampling: Any,
        generator: torch.Generator | None,
    ) -> Tensor:
        """``puzzles`` whose cells under ``mask`` are covered with noise, sigma / alpha about ``level``, and written
        again from there.
        """
