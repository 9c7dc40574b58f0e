"""Networks' parts as their papers write them: slow and obvious, what the fast ones are held against."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def recurrence(
    x: Tensor, delta: Tensor, a: Tensor, b: Tensor, c: Tensor, state: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """The selective scan, position by position."""
    state = torch.zeros_like(a) if state is None else state
    outputs = []
    for t in range(x.shape[1]):
        step = delta[:, t].unsqueeze(1)
        state = (step * a).exp() * state + step * b[:, t].unsqueeze(2) * x[:, t].unsqueeze(1)
        outputs.append((c[:, t].unsqueeze(2) * state).sum(1))
    return torch.stack(outputs, 1), state


def convolution(self: nn.Conv2d, x: Tensor, repeats: int = 1) -> Tensor:
    """3 x 3 with every product, also those with padding and with repeated cells; a forward of ``Convolution``."""
    x = F.interpolate(x, scale_factor=repeats, mode="nearest") if repeats > 1 else x
    return F.conv2d(x, self.weight, self.bias, padding=1)
