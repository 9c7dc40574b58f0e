"""What every diffusion process shares: a Gaussian path x_t = alpha(t) x0 + sigma(t) noise from data to noise.

B batch; fields are (B, C, S, S); a time is a scalar tensor for the whole batch, on the host, or (B,). Each process
chooses its clock: Flow and Ddpm run from 0 (data) to 1 (noise), Edm's time is sigma itself.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, NamedTuple, Protocol, runtime_checkable

import torch
from torch import Tensor

from genraven.errors import InputError
from genraven.methods.method import mean_within

Denoiser = Callable[[Tensor, Tensor], Tensor]  # (x_t, t) -> estimate of x0; t is a scalar tensor


class TimedNetwork(Protocol):
    """What a process asks of a network: a field from (B, C, S, S), times (B,) and labels (B,)."""

    def __call__(self, x: Tensor, times: Tensor, labels: Tensor | None = None) -> Tensor: ...


@dataclass(frozen=True)
class OwnPrecision:
    """A network that is given fields in the precision of its weights; a process computes in no less than float32.

    Args:
        network: it, or what reads with it.
        dtype: of its weights; None where it has none, for any.
    """

    network: Callable[..., Tensor]
    dtype: torch.dtype | None

    def __call__(self, x: Tensor, times: Tensor, labels: Tensor | None = None, **others: Tensor) -> Tensor:
        """The network's output for noisy fields (B, C, S, S) at ``times`` (B,), which are not rounded."""
        return self.network(x if self.dtype is None else x.to(self.dtype), times, labels, **others)


class Prediction(NamedTuple):
    """``x0`` (B, C, S, S), and where the variance is learned its ``fraction`` of the upper bound, of the same shape."""

    x0: Tensor
    fraction: Tensor | None = None


@runtime_checkable
class Predictor(Protocol):
    """A denoiser that also knows the variance of a step back."""

    def predict(self, x: Tensor, t: Tensor) -> Prediction:
        """Estimate and fraction at one time for the whole batch."""


def predict(denoiser: Denoiser, x: Tensor, t: Tensor) -> Prediction:
    """The prediction of any denoiser; a plain function has no fraction."""
    return denoiser.predict(x, t) if isinstance(denoiser, Predictor) else Prediction(denoiser(x, t))


def per_puzzle(values: Tensor, like: Tensor) -> Tensor:
    """``values`` () or (B,) such that they multiply ``like`` (B, ...); a scalar stays one and promotes nothing."""
    return values.view(-1, *[1] * (like.ndim - 1)) if values.ndim else values


def everywhere(t: Tensor, like: Tensor) -> Tensor:
    """(B,) times, all the one time ``t`` () of the host, beside ``like`` (B, ...)."""
    return torch.full((len(like),), float(t), dtype=like.dtype, device=like.device)


class Process(ABC):
    """A Gaussian path, the loss that trains a network on it, and the denoiser that a trained network is."""

    default_sampler: ClassVar[str]
    """The name of a sampler in ``samplers.SAMPLERS``."""
    has_ode: bool = True
    """Is the velocity known, so that ODE samplers can use it?"""
    is_linear_path: bool = False
    """Are alpha = 1 - t and sigma = t?"""
    learned_variance: bool = False
    """Does the network say how wide a step back is, in as many channels again as the field has?"""

    @abstractmethod
    def alpha(self, t: Tensor) -> Tensor:
        """Scale of the data at ``t``, of its shape."""

    @abstractmethod
    def sigma(self, t: Tensor) -> Tensor:
        """Scale of the noise at ``t``, of its shape."""

    @abstractmethod
    def times(self, num_steps: int) -> Tensor:
        """(num_steps + 1,) times from noise to data that suit the process, on the host; the last is x0's.

        Raises:
            InputError: a number of steps that it cannot take.
        """

    @abstractmethod
    def training_times(self, uniform: Tensor) -> Tensor:
        """Times (B,) to train at, from draws ``uniform`` (B,) on [0, 1)."""

    @abstractmethod
    def validation_times(self, uniform: Tensor) -> Tensor:
        """Times (B,) to validate at, from draws ``uniform`` (B,) on [0, 1).

        Their distribution is one for all recipes of a process, whatever times these train at: by a loss at their own
        times, recipes could not be compared.
        """

    def network_input(self, x: Tensor, times: Tensor) -> tuple[Tensor, Tensor]:
        """What a network is given for x_t at ``times`` (B,): the field, and what tells its noise."""
        return x, times

    def prepare(self, like: Tensor) -> None:  # noqa: B027 - most have nothing to prepare
        """Puts what ``predict`` reads of this process on ``like``'s device: a compiled step must not move it."""

    def for_data(self, deviation: float) -> "Process":
        """The process for data of that standard deviation, where this one does not say its own."""
        return self

    @abstractmethod
    def predict(self, network: TimedNetwork, x: Tensor, times: Tensor, labels: Tensor | None = None) -> Prediction:
        """Estimate of x0 from x_t at ``times`` (B,)."""

    @abstractmethod
    def errors(
        self, network: TimedNetwork, x0: Tensor, noise: Tensor, times: Tensor, labels: Tensor | None = None
    ) -> Tensor:
        """(B, C, S, S) losses of each number.

        Args:
            network: that is to learn.
            x0, noise: (B, C, S, S) data and standard normal draws.
            times: (B,) such as ``training_times`` gives.
            labels: (B,) int64 or None.
        """

    def loss(
        self,
        network: TimedNetwork,
        x0: Tensor,
        noise: Tensor,
        times: Tensor,
        labels: Tensor | None = None,
        open_cells: Tensor | None = None,
    ) -> Tensor:
        """(B,) losses: the mean of ``errors``, of those in ``open_cells`` (B, 1, S, S) bool where given."""
        errors = self.errors(network, x0, noise, times, labels)
        if open_cells is None:
            return errors.flatten(1).mean(1)
        return mean_within(errors, open_cells.expand_as(errors))

    def initial(self, noise: Tensor) -> Tensor:
        """Where a sampler starts, from standard normal ``noise``."""
        return noise

    def interpolate(self, x0: Tensor, noise: Tensor, t: Tensor) -> Tensor:
        """x_t on the path from ``x0`` to ``noise``; ``t`` () or (B,)."""
        return per_puzzle(self.alpha(t), x0) * x0 + per_puzzle(self.sigma(t), x0) * noise

    def time_of_noise(self, ratio: float) -> Tensor:
        """The time (), on the host, at which sigma / alpha comes nearest to ``ratio``.

        Raises:
            InputError: it comes no nearer than 5%.
        """
        small = torch.logspace(-6, 0, 6001, dtype=torch.float32, device="cpu")
        times = self.times(1)[0] * torch.cat([small, 1 - small])
        ratios = self.sigma(times) / self.alpha(times)
        nearest = int((ratios.log() - math.log(ratio)).abs().argmin())
        if not 0.95 < ratios[nearest] / ratio < 1.05:
            raise InputError(f"expected noise that {type(self).__name__} has a time for, got {ratio:g}; the nearest is "
                             f"{ratios[nearest]:.3g}: choose another.")  # fmt: skip
        return times[nearest]

    def times_from(self, ratio: float, times: Tensor) -> Tensor:
        """Of falling ``times`` (K + 1,) those from the one on whose sigma / alpha is nearest to ``ratio``."""
        before = times[:-1]
        apart = ((self.sigma(before) / self.alpha(before)).log() - math.log(ratio)).abs()
        return times[int(apart.argmin()) :]

    def velocity(self, x: Tensor, x0: Tensor, t: Tensor) -> Tensor:
        """Dx/dt of the probability-flow ODE at ``x``, where ``x0`` is its estimate; t above 0."""
        raise InputError(f"expected a process with an ODE in time, got {type(self).__name__}, known at its steps only: "
                         f"use another sampler, such as {self.default_sampler}.")  # fmt: skip

    def step_back(
        self, x: Tensor, x0: Tensor, t: Tensor, s: Tensor, fraction: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Mean and variance of x_s given x_t and the estimate of x0, for s below t (Ho et al. 2020, eq. 7).

        ``fraction`` moves the logarithm of the variance from that posterior's (0) to the forward step's (1), as in
        Nichol & Dhariwal 2021, eq. 15; at s = x0 the variance is 0.
        """
        t, s = t.double(), s.double()  # what a small step adds is a small difference, and its logarithm is taken
        alpha_t, alpha_s, var_t, var_s = self.alpha(t), self.alpha(s), self.sigma(t) ** 2, self.sigma(s) ** 2
        ratio = alpha_t / alpha_s
        forward = var_t - ratio**2 * var_s
        kept = ratio * var_s / var_t
        mean = kept * x + (alpha_s - kept * alpha_t) * x0
        variance = forward * var_s / var_t
        if fraction is not None and variance > 0:
            variance = torch.exp(fraction * forward.log() + (1 - fraction) * variance.log())
        return mean, variance

    def step_forth(self, x: Tensor, noise: Tensor, s: Tensor, t: Tensor) -> Tensor:
        """A draw of x_t given x_s, for t above s."""
        t, s = t.double(), s.double()
        ratio = self.alpha(t) / self.alpha(s)
        return ratio * x + (self.sigma(t) ** 2 - ratio**2 * self.sigma(s) ** 2).sqrt() * noise

    def denoiser(
        self,
        network: TimedNetwork,
        labels: Tensor | None = None,
        guidance_scale: float = 1.0,
        step: Callable[..., Prediction] | None = None,
    ) -> "NetworkDenoiser":
        """What samplers call: (x_t, t) -> x0; labels are strengthened by ``guidance_scale``.

        ``step`` is ``estimate`` compiled whole; None takes it as it is.
        """
        return NetworkDenoiser(self, network, labels, guidance_scale, step)


def estimate(
    process: Process, network: TimedNetwork, x: Tensor, times: Tensor, labels: Tensor | None, guidance_scale: float
) -> Prediction:
    """The network's prediction from x_t at ``times`` (B,), with classifier-free guidance where there are labels.

    With the learned variance, if the process has one, which guidance leaves as the labels have it (Ho & Salimans 2022).
    """
    with_labels = process.predict(network, x, times, labels)
    if labels is None or guidance_scale == 1:
        return with_labels
    without = process.predict(network, x, times).x0
    return Prediction(without + guidance_scale * (with_labels.x0 - without), with_labels.fraction)


@dataclass(frozen=True)
class NetworkDenoiser:
    """The network's estimate of x0."""

    process: Process
    network: TimedNetwork
    labels: Tensor | None
    guidance_scale: float
    step: Callable[..., Prediction] | None = None

    def __call__(self, x: Tensor, t: Tensor) -> Tensor:
        """x0 (B, C, S, S) from x_t at one time."""
        return self.predict(x, t).x0

    def predict(self, x: Tensor, t: Tensor) -> Prediction:
        """``estimate`` at one time for all."""
        inputs = self.process, self.network, x, everywhere(t, x), self.labels, self.guidance_scale
        if self.step is None or torch.is_grad_enabled():
            return estimate(*inputs)
        self.process.prepare(x)
        x0, fraction = self.step(*inputs)  # in a CUDA graph's memory, which its next call writes anew
        return Prediction(x0.clone(), None if fraction is None else fraction.clone())


def check_channels(output: Tensor, wanted: int, process: Process) -> Tensor:
    """``output`` of a network.

    Raises:
        InputError: it has another number of channels than the process wants.
    """
    if output.shape[1] != wanted:
        raise InputError(f"expected a network with {wanted} output channels for {type(process).__name__}, got "
                         f"{output.shape[1]}: set its out_channels.")  # fmt: skip
    return output
