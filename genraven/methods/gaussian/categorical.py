"""A softmax at the end of a Gaussian process, for data that are one-hot codes.

B batch, n_a symbols of attribute a; fields are (B, sum of n_a, S, S), each attribute's code in its own channels.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from genraven.errors import InputError
from genraven.methods.gaussian.process import Prediction, Process, TimedNetwork, check_channels


def code_deviation(symbols: tuple[int, ...]) -> float:
    """Standard deviation of codes 2 x one-hot less their mean, when all symbols are as frequent."""
    return math.sqrt(sum(4 * (1 - 1 / n) for n in symbols) / sum(symbols))


class Categorical(Process):
    """The path of another process, on which the network says logits and learns by cross-entropy.

    The estimate of x0 is the mean of the code under the softmaxes, so that samplers need not know (score
    interpolation: Dieleman et al. 2022, "Continuous diffusion for categorical data", sec. 3.1). The network reads what
    the other process would give it; that process's own way from output to estimate is not used.

    Args:
        path: the other process, without learned variance.
        symbols: n_a of each attribute.
    """

    def __init__(self, path: Process, symbols: tuple[int, ...]) -> None:
        if path.learned_variance:
            raise InputError("expected a process without learned variance for a one-hot code, got learned_variance "
                             "true: set it to false.")  # fmt: skip
        self.path, self.symbols = path.for_data(code_deviation(symbols)), symbols
        self.default_sampler = path.default_sampler  # type: ignore[misc]
        self.has_ode, self.is_linear_path = path.has_ode, path.is_linear_path

    def alpha(self, t: Tensor) -> Tensor:
        return self.path.alpha(t)

    def sigma(self, t: Tensor) -> Tensor:
        return self.path.sigma(t)

    def times(self, num_steps: int) -> Tensor:
        return self.path.times(num_steps)

    def training_times(self, uniform: Tensor) -> Tensor:
        return self.path.training_times(uniform)

    def validation_times(self, uniform: Tensor) -> Tensor:
        return self.path.validation_times(uniform)

    def network_input(self, x: Tensor, times: Tensor) -> tuple[Tensor, Tensor]:
        return self.path.network_input(x, times)

    def prepare(self, like: Tensor) -> None:
        self.path.prepare(like)

    def initial(self, noise: Tensor) -> Tensor:
        return self.path.initial(noise)

    def velocity(self, x: Tensor, x0: Tensor, t: Tensor) -> Tensor:
        return self.path.velocity(x, x0, t)

    def _logits(self, network: TimedNetwork, x: Tensor, times: Tensor, labels: Tensor | None) -> tuple[Tensor, ...]:
        """(B, n_a, S, S) of each attribute."""
        output = check_channels(network(*self.network_input(x, times), labels), sum(self.symbols), self)
        return output.float().split(self.symbols, 1)

    def predict(self, network: TimedNetwork, x: Tensor, times: Tensor, labels: Tensor | None = None) -> Prediction:
        """The mean of the code."""
        logits = self._logits(network, x, times, labels)
        means = [2 * part.softmax(1) - 2 / n for part, n in zip(logits, self.symbols, strict=True)]
        return Prediction(torch.cat(means, 1).to(x.dtype))

    def errors(
        self, network: TimedNetwork, x0: Tensor, noise: Tensor, times: Tensor, labels: Tensor | None = None
    ) -> Tensor:
        """(B, 1, S, S) cross-entropy in nats per cell, summed over the attributes."""
        logits = self._logits(network, self.interpolate(x0, noise, times), times, labels)
        targets = [part.argmax(1) for part in x0.split(self.symbols, 1)]
        nats = [F.cross_entropy(part, y, reduction="none") for part, y in zip(logits, targets, strict=True)]
        return torch.stack(nats).sum(0).unsqueeze(1)
