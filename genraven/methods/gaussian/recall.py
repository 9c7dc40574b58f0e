"""Self-conditioning: beside a noisy field a network reads its own last estimate of the data, or zeros for none.

Chen et al. 2022, "Analog bits" (arXiv 2208.04202, sec. 3.2). B batch; fields are (B, C, S, S).
"""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from genraven.methods.gaussian.process import NetworkDenoiser, Prediction, Process, TimedNetwork

FRACTION = 0.5  # of the training puzzles, that are read with an estimate
LARGEST = 2.0
"""More than any number of a code: estimates are read within it. Near pure noise DDPM divides by an alpha of 0.006."""


@dataclass(frozen=True)
class Recalling:
    """A network that reads an estimate of the data after the noisy field.

    Args:
        network: of twice the field's channels.
        estimate: (B, C, S, S), of no gradient.
    """

    network: TimedNetwork
    estimate: Tensor

    def __call__(self, x: Tensor, times: Tensor, labels: Tensor | None = None) -> Tensor:
        """The network's output for noisy fields (B, C, S, S) at ``times`` (B,)."""
        return self.network(torch.cat([x, self.estimate.to(x.dtype)], 1), times, labels)


def first_estimate(process: Process, network: TimedNetwork, x: Tensor, times: Tensor, labels: Tensor | None) -> Tensor:
    """(B, C, S, S) what a network says of x_t at ``times`` (B,) that has said nothing before; without gradient."""
    kind = x.device.type
    # Weights that autocast has rounded and kept without gradient would serve the pass that learns.
    rounding = torch.autocast(
        kind, torch.get_autocast_dtype(kind), enabled=torch.is_autocast_enabled(kind), cache_enabled=False
    )
    with torch.no_grad(), rounding:
        return process.predict(Recalling(network, torch.zeros_like(x)), x, times, labels).x0.clamp(-LARGEST, LARGEST)


def with_estimates(
    process: Process,
    network: TimedNetwork,
    x0: Tensor,
    noise: Tensor,
    times: Tensor,
    labels: Tensor | None,
    wanted: Tensor | None,
) -> Recalling:
    """``network`` as a loss has it: it reads its first estimate where that is ``wanted`` (B,) bool; None is all."""
    known = first_estimate(process, network, process.interpolate(x0, noise, times), times, labels)
    return Recalling(network, known if wanted is None else known * wanted.view(-1, 1, 1, 1))


class RecallingDenoiser:
    """A denoiser whose network reads what it said in the step before; of one sampling.

    Args:
        plain: the denoiser of a network of twice the field's channels.
    """

    def __init__(self, plain: NetworkDenoiser) -> None:
        self.plain = plain
        self._last: Tensor | None = None

    def __call__(self, x: Tensor, t: Tensor) -> Tensor:
        """x0 (B, C, S, S) from x_t at one time."""
        return self.predict(x, t).x0

    def predict(self, x: Tensor, t: Tensor) -> Prediction:
        """The prediction at one time for all, which the next one reads."""
        last = torch.zeros_like(x) if self._last is None else self._last
        found = replace(self.plain, network=Recalling(self.plain.network, last)).predict(x, t)
        self._last = found.x0.detach().clamp(-LARGEST, LARGEST)
        return found

    def select(self, index: Tensor) -> None:
        """Goes on with fields ``index`` (B,) of those of the last step."""
        if self._last is not None:
            self._last = self._last[index]
