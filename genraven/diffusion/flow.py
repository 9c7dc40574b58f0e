"""The linear-path flow (Liu et al. 2022; Lipman et al. 2022; SiT, Ma et al. 2024): t = 0 is data, t = 1 is noise.

B batch; pictures are (B, C, S, S). x_t = (1 - t) x0 + t noise, velocity = dx_t / dt = noise - x0.
"""

from collections.abc import Callable
from typing import Protocol

from torch import Tensor

Velocity = Callable[[Tensor, Tensor], Tensor]


class TimedNetwork(Protocol):
    """What a process asks of a network: a picture from (B, C, S, S), times (B,) and labels (B,)."""

    def __call__(self, x: Tensor, times: Tensor, labels: Tensor | None = None) -> Tensor: ...


def interpolate(x0: Tensor, noise: Tensor, times: Tensor) -> Tensor:
    """x_t on the straight path from ``x0`` to ``noise``; ``times`` (B,) or ()."""
    t = times.view(-1, *[1] * (x0.ndim - 1))
    return (1 - t) * x0 + t * noise


class Flow:
    """Velocity matching on the linear path, with times uniform on [0, 1]."""

    def loss(
        self, network: TimedNetwork, x0: Tensor, noise: Tensor, uniform: Tensor, labels: Tensor | None = None
    ) -> Tensor:
        """(B,) mean squared error of the velocity.

        Args:
            x0, noise: (B, C, S, S) data and standard normal draws.
            uniform: (B,) draws on [0, 1) that choose the times.
        """
        predicted = network(interpolate(x0, noise, uniform), uniform, labels)
        return (predicted.float() - (noise - x0)).square().flatten(1).mean(1)

    def velocity(self, network: TimedNetwork, labels: Tensor | None = None) -> Velocity:
        """The field (x_t, t) -> dx_t / dt that the samplers integrate; t is a scalar tensor."""
        return lambda x, t: network(x, t.expand(len(x)), labels).to(x.dtype)
