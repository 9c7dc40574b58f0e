"""The linear-path flow (Liu et al. 2022; Lipman et al. 2022; SiT, Ma et al. 2024): t = 0 is data, t = 1 is noise.

B batch; fields are (B, C, S, S). x_t = (1 - t) x0 + t noise, velocity = dx_t / dt = noise - x0.
"""

from typing import Literal

from torch import Tensor

from genraven.errors import InputError
from genraven.methods.gaussian.process import Prediction, Process, TimedNetwork, check_channels, per_puzzle
from genraven.methods.gaussian.schedules import check_positive, normal_quantiles, uniform_times


class Flow(Process):
    """Velocity matching on the linear path.

    Args:
        training_times: ``uniform`` on [0, 1], or ``logit_normal``: more about the middle (Esser et al. 2024, sec. 3.1).
        spacing: sampling times are u ** spacing for evenly spaced u: above 1, more of the steps are near the data.

    Raises:
        InputError: settings out of range.
    """

    default_sampler = "euler"
    is_linear_path = True

    def __init__(self, *, training_times: Literal["uniform", "logit_normal"] = "uniform", spacing: float = 1.0) -> None:
        check_positive(spacing=spacing)
        if training_times not in ("uniform", "logit_normal"):
            raise InputError(f"expected process.training_times uniform or logit_normal, got {training_times}.")
        self.is_uniform, self.spacing = training_times == "uniform", spacing

    def alpha(self, t: Tensor) -> Tensor:
        return 1 - t

    def sigma(self, t: Tensor) -> Tensor:
        return t

    def times(self, num_steps: int) -> Tensor:
        times = uniform_times(num_steps) ** self.spacing
        if not (times.diff() < 0).all():
            raise InputError(f"expected process.spacing that tells the times of {num_steps} steps apart, got "
                             f"{self.spacing}: choose a smaller one, or fewer steps.")  # fmt: skip
        return times

    def training_times(self, uniform: Tensor) -> Tensor:
        return uniform if self.is_uniform else normal_quantiles(uniform).sigmoid()

    def validation_times(self, uniform: Tensor) -> Tensor:
        """Uniform on [0, 1]."""
        return uniform

    def velocity(self, x: Tensor, x0: Tensor, t: Tensor) -> Tensor:
        return (x - x0) / t

    def predict(self, network: TimedNetwork, x: Tensor, times: Tensor, labels: Tensor | None = None) -> Prediction:
        velocity = check_channels(network(x, times, labels), x.shape[1], self).to(x.dtype)
        return Prediction(x - per_puzzle(times, x) * velocity)

    def errors(
        self, network: TimedNetwork, x0: Tensor, noise: Tensor, times: Tensor, labels: Tensor | None = None
    ) -> Tensor:
        """Squared errors of the velocity."""
        predicted = check_channels(network(self.interpolate(x0, noise, times), times, labels), x0.shape[1], self)
        return (predicted.to(x0.dtype) - (noise - x0)).square()
