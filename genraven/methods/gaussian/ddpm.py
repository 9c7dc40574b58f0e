"""DDPM (Ho et al. 2020) with the learned variance of Nichol & Dhariwal 2021, as DiT (Peebles & Xie 2022) trains it.

B batch; fields are (B, C, S, S). Steps k = 1 .. num_steps; the time is k / num_steps, and 0 is x0.
x_k = sqrt(abar_k) x0 + sqrt(1 - abar_k) noise, abar_k the product of 1 - beta_i over i <= k.
"""

import math

import torch
from torch import Tensor

from genraven.errors import InputError
from genraven.methods.gaussian.process import Prediction, Process, TimedNetwork, check_channels, per_puzzle
from genraven.methods.gaussian.schedules import check_positive, linear_betas, spaced_times

MIN_NOISE = 1e-12  # keeps 1 - abar away from 0 in logarithms only


def _tables(num_steps: int, first: float, last: float) -> Tensor:
    """Alpha, sigma, log of the forward and of the posterior variance: (4, num_steps + 1) for k = 0 .. num_steps."""
    beta = torch.cat([torch.zeros(1, dtype=torch.float64), linear_betas(num_steps, first, last)])
    abar = (1 - beta).cumprod(0)
    posterior = beta[1:] * (1 - abar[:-1]) / (1 - abar[1:])
    if num_steps > 1:
        posterior[0] = posterior[1]  # the first step's is 0: without a logarithm
    log_posterior = torch.cat([posterior.new_zeros(1), posterior.clamp(min=MIN_NOISE).log()])
    log_forward = torch.cat([beta.new_zeros(1), beta[1:].log()])
    return torch.stack([abar.sqrt(), (1 - abar).sqrt(), log_forward, log_posterior])


class Ddpm(Process):
    """Noise prediction at a fixed number of steps, betas linear.

    Args:
        num_steps: forward steps.
        beta_first, beta_last: variance that the first and the last adds.
        learned_variance: the network's second half of channels places the logarithm of the variance of a step back
            between its two bounds, trained by the variational bound; it needs twice the output channels.
        variational_weight: of that bound (over all steps, in bits) beside the squared error.
        spacing: sampling times are u ** spacing for evenly spaced u: above 1, more of the steps are near the data.
        last_time: of the step that ends at the data; null leaves it to the even u.
        training_spacing: training times are u ** training_spacing for uniform u: above 1, more of them are near the
            data, where an error in the noise is the largest error in the field.

    Raises:
        InputError: settings out of range.
    """

    default_sampler = "ancestral"
    has_ode = False

    def __init__(
        self,
        *,
        num_steps: int = 1000,
        beta_first: float = 1e-4,
        beta_last: float = 0.02,
        learned_variance: bool = True,
        variational_weight: float = 1e-3,
        spacing: float = 1.0,
        last_time: float | None = None,
        training_spacing: float = 1.0,
    ) -> None:
        if num_steps < 1 or not 0 < beta_first <= beta_last < 1:
            raise InputError(f"expected 1 step or more and 0 < beta_first <= beta_last < 1, got {num_steps} and "
                             f"{beta_first}, {beta_last}.")  # fmt: skip
        check_positive(spacing=spacing, training_spacing=training_spacing)
        if last_time is not None and not 0 < last_time < 1:
            raise InputError(f"expected process.last_time between 0 and 1, got {last_time}.")
        if not 0 <= variational_weight < math.inf:
            raise InputError(f"expected process.variational_weight of 0 or more, got {variational_weight}.")
        self.spacing, self.last_time, self.training_spacing = spacing, last_time, training_spacing
        self.num_steps, self.beta_first, self.beta_last = num_steps, beta_first, beta_last
        self.learned_variance, self.variational_weight = learned_variance, variational_weight
        with torch.inference_mode(False), torch.device("cpu"):  # kept for training as well, wherever it is built
            self._exact = self._tables = _tables(num_steps, beta_first, beta_last)  # on the host; as last asked for

    def prepare(self, like: Tensor) -> None:
        if like.device.type != "cpu" and (self._tables.device != like.device or self._tables.dtype != like.dtype):
            with torch.inference_mode(False):
                self._tables = self._exact.to(like.dtype).to(like.device)

    def _at(self, t: Tensor) -> tuple[Tensor, ...]:
        steps = (t * self.num_steps).round().long()
        if t.device.type == "cpu":  # samplers keep their times on the host, whatever the fields are on
            return self._exact[:, steps].to(t.dtype).unbind()
        self.prepare(t)
        return self._tables[:, steps].unbind()

    def alpha(self, t: Tensor) -> Tensor:
        return self._at(t)[0]

    def sigma(self, t: Tensor) -> Tensor:
        return self._at(t)[1]

    def times(self, num_steps: int) -> Tensor:
        return spaced_times(num_steps, self.num_steps, self.spacing, self.last_time)

    def training_times(self, uniform: Tensor) -> Tensor:
        """Times (B,) of whole steps from ``uniform`` (B,) on [0, 1)."""
        return self.validation_times(uniform if self.training_spacing == 1 else uniform**self.training_spacing)

    def validation_times(self, uniform: Tensor) -> Tensor:
        """Each whole step is as likely."""
        return ((uniform * self.num_steps).floor() + 1).clamp(max=self.num_steps) / self.num_steps

    def _output(
        self, network: TimedNetwork, x: Tensor, times: Tensor, labels: Tensor | None
    ) -> tuple[Tensor, Tensor | None]:
        """Predicted noise and, where it is learned, the variance's fraction of its upper bound."""
        channels = x.shape[1]
        output = check_channels(network(x, times, labels), channels * (1 + self.learned_variance), self).to(x.dtype)
        return output[:, :channels], (output[:, channels:] + 1) / 2 if self.learned_variance else None

    def predict(self, network: TimedNetwork, x: Tensor, times: Tensor, labels: Tensor | None = None) -> Prediction:
        noise, fraction = self._output(network, x, times, labels)
        x0 = (x - per_puzzle(self.sigma(times), x) * noise) / per_puzzle(self.alpha(times), x)
        return Prediction(x0, fraction)

    def errors(
        self, network: TimedNetwork, x0: Tensor, noise: Tensor, times: Tensor, labels: Tensor | None = None
    ) -> Tensor:
        """Squared errors of the noise, and for the variance its term of the variational bound."""
        x = self.interpolate(x0, noise, times)
        predicted, fraction = self._output(network, x, times, labels)
        errors = (predicted - noise).square()
        if fraction is None:
            return errors
        bound = self.bound(noise, predicted.detach(), fraction, times)
        return errors + self.variational_weight * self.num_steps * bound

    def bound(self, noise: Tensor, predicted: Tensor, fraction: Tensor, times: Tensor) -> Tensor:
        """The bound's term at ``times`` (B,) in bits, of ``noise``'s shape.

        The divergence of the model's step back from the posterior given x0; at the first step, where the posterior has
        no width, the negative logarithm of the model's density of x0 (DiT has the same term for pixels of 8 bits).
        """
        sigma, log_forward, log_posterior = (per_puzzle(table, noise) for table in self._at(times)[1:])
        log_variance = fraction * log_forward + (1 - fraction) * log_posterior
        # Both means are (x_t - beta / sigma * noise) / sqrt(1 - beta), of the true and of the predicted noise.
        beta = log_forward.exp()
        apart = (beta / sigma * (noise - predicted)).square() / (1 - beta)
        divergence = log_variance - log_posterior - 1 + (log_posterior - log_variance).exp()
        first = per_puzzle(times, noise) * self.num_steps < 1.5
        own = torch.where(first, log_variance + math.log(2 * math.pi), divergence)
        return (own + apart * (-log_variance).exp()) / (2 * math.log(2))
