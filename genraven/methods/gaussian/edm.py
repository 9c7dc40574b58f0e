"""EDM (Karras et al. 2022, "Elucidating the design space of diffusion-based generative models", table 1).

B batch; fields are (B, C, S, S). x_t = x0 + t noise: the time is sigma itself.
"""

import copy
import itertools
import math
from typing import Literal

import torch
from torch import Tensor

from genraven.errors import InputError
from genraven.methods.gaussian.process import Prediction, Process, TimedNetwork, check_channels, per_puzzle
from genraven.methods.gaussian.schedules import check_positive, karras_sigmas, normal_quantiles
from genraven.puzzles.layout import FIELDS_DEVIATION

P_MEAN, P_STD = -1.2, 1.2  # of ln(sigma) in training (Karras et al. 2022, table 1)
SMALLEST_DRAW = 2.0**-25  # in place of a uniform draw of exactly 0, whose sigma would be 0


class Edm(Process):
    """Preconditioned denoising: input, target and weighted error of the network have unit variance at every sigma.

    Args:
        sigma_data: standard deviation of the data; ``data`` is that of the code of puzzles that the process is given:
            0.98 of numbers, 0.60 of the one-hot code. With the study's 0.5 inputs and targets have up to 3.8 times the
            variance, and the error of denoised numbers is 45% larger at sigma 0.1, 36% at 0.3 (docs/lab/samplers.md).
        p_mean, p_std: of ln(sigma) in training.
        sigma_min, sigma_max: ends of the sampling grid; it starts from ``sigma_max`` times noise.
        rho: how much of the grid is near ``sigma_min``.
        training_draws: pairs of a fraction of the training draws and the quantile of the noise that they reach, with
            straight lines in between:
            [[0, 0], [0.12, 0.06], [0.45, 0.94], [1, 1]] spends 55% of them on the loudest 6%; null
            draws evenly.

    Raises:
        InputError: settings out of range.
    """

    default_sampler = "heun"

    def __init__(
        self,
        *,
        sigma_data: float | Literal["data"] = "data",
        p_mean: float = P_MEAN,
        p_std: float = P_STD,
        sigma_min: float = 0.002,
        sigma_max: float = 80.0,
        rho: float = 7.0,
        training_draws: list[tuple[float, float]] | None = None,
    ) -> None:
        self.sigma_data_given = None if sigma_data == "data" else sigma_data
        self.sigma_data = FIELDS_DEVIATION if self.sigma_data_given is None else self.sigma_data_given
        check_positive(sigma_data=self.sigma_data, p_std=p_std, rho=rho, sigma_min=sigma_min, sigma_max=sigma_max)
        if not math.isfinite(p_mean) or sigma_min >= sigma_max:
            raise InputError("expected a finite process.p_mean, and process.sigma_min below process.sigma_max, got "
                             f"{p_mean}, and {sigma_min} and {sigma_max}.")  # fmt: skip
        self.p_mean, self.p_std = p_mean, p_std
        self.sigma_min, self.sigma_max, self.rho = sigma_min, sigma_max, rho
        self.training_draws = check_draws(training_draws) if training_draws else None

    def for_data(self, deviation: float) -> "Edm":
        """With that sigma_data, unless one was given."""
        process = copy.copy(self)
        process.sigma_data = deviation if self.sigma_data_given is None else self.sigma_data_given
        return process

    def alpha(self, t: Tensor) -> Tensor:
        return torch.ones_like(t)

    def sigma(self, t: Tensor) -> Tensor:
        return t

    def times(self, num_steps: int) -> Tensor:
        return karras_sigmas(num_steps, self.sigma_min, self.sigma_max, self.rho)

    def initial(self, noise: Tensor) -> Tensor:
        return self.sigma_max * noise

    def velocity(self, x: Tensor, x0: Tensor, t: Tensor) -> Tensor:
        return (x - x0) / t

    def preconditioning(self, sigma: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """c_skip, c_out, c_in, c_noise, each of ``sigma``'s shape."""
        total = sigma**2 + self.sigma_data**2
        return self.sigma_data**2 / total, sigma * self.sigma_data / total.sqrt(), total.rsqrt(), sigma.log() / 4

    def training_times(self, uniform: Tensor) -> Tensor:
        """Log-normal sigmas (B,) from ``uniform`` (B,) on [0, 1)."""
        if self.training_draws is not None:
            uniform = piecewise_linear(uniform, self.training_draws)
        return log_normal(uniform, self.p_mean, self.p_std)

    def validation_times(self, uniform: Tensor) -> Tensor:
        """Log-normal sigmas (B,) with the mean and deviation of Karras et al. 2022."""
        return log_normal(uniform, P_MEAN, P_STD)

    def target(self, x0: Tensor, noise: Tensor, sigma: Tensor) -> Tensor:
        """What the network should say: (x0 - c_skip x_t) / c_out, written so that nothing cancels at small sigmas."""
        sigma = per_puzzle(sigma, x0)
        return (sigma / self.sigma_data * x0 - self.sigma_data * noise) * (sigma**2 + self.sigma_data**2).rsqrt()

    def network_input(self, x: Tensor, times: Tensor) -> tuple[Tensor, Tensor]:
        """c_in x_t and c_noise."""
        _, _, c_in, c_noise = self.preconditioning(times)
        return per_puzzle(c_in, x) * x, c_noise

    def predict(self, network: TimedNetwork, x: Tensor, times: Tensor, labels: Tensor | None = None) -> Prediction:
        c_skip, c_out, _, _ = self.preconditioning(times)
        output = check_channels(network(*self.network_input(x, times), labels), x.shape[1], self)
        return Prediction(per_puzzle(c_skip, x) * x + per_puzzle(c_out, x) * output.to(x.dtype))

    def errors(
        self, network: TimedNetwork, x0: Tensor, noise: Tensor, times: Tensor, labels: Tensor | None = None
    ) -> Tensor:
        """Squared errors of the network against its target, which are lambda(sigma) times the denoiser's."""
        x = self.interpolate(x0, noise, times)
        output = check_channels(network(*self.network_input(x, times), labels), x.shape[1], self)
        target = self.target(x0, noise, times)
        return (output.to(x0.dtype) - target).square()


def log_normal(uniform: Tensor, mean: float, deviation: float) -> Tensor:
    """Positive numbers of ``uniform``'s shape, whose logarithms are normal, from draws on [0, 1)."""
    return (mean + deviation * normal_quantiles(uniform.clamp(min=SMALLEST_DRAW))).exp()


def check_draws(points: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """``points``; raises InputError unless they rise from (0, 0) to a fraction of 1."""
    fractions, quantiles = zip(*points, strict=True)
    rise = all(low < high for column in (fractions, quantiles) for low, high in itertools.pairwise(column))
    if not (rise and points[0][0] == points[0][1] == 0 and fractions[-1] == 1 and quantiles[-1] <= 1):
        raise InputError(f"expected process.training_draws that rise from [0, 0] to [1, 1] or below it, got {points}.")
    return points


def piecewise_linear(x: Tensor, points: list[tuple[float, float]]) -> Tensor:
    """The function through ``points``, of rising places from 0 to 1, at ``x`` in [0, 1]."""
    return sum(
        ((x - left).clamp(0, right - left) * ((above - below) / (right - left))
         for (left, below), (right, above) in itertools.pairwise(points)),
        start=torch.full_like(x, points[0][1]),
    )  # fmt: skip
