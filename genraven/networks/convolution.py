"""Resampling and 3 x 3 convolution of small fields without the products whose outcome is known: a fast U-Net's.

B batch, C channels, S side of the field, R repeats of a cell along a side.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

# Products of polynomials of degree 2 modulo x^4 - 1 (Winograd 1980). Both are evaluated at 1, -1 and i: real part,
# imaginary part, their sum. Five products give the coefficients of x, x^2 and x^3, which the modulus leaves alone.
_EVALUATE = torch.tensor([[1.0, 1, 1], [1, -1, 1], [1, 0, -1], [0, 1, 0], [1, 1, -1]], device="cpu")
_COEFFICIENTS = torch.tensor([[1.0, -1, -2, -2, 2], [1, 1, -2, 2, 0], [1, -1, 2, 2, -2]], device="cpu") / 4
_EVALUATE_CELLS = torch.kron(_EVALUATE, _EVALUATE)
_EVALUATE_WEIGHTS = torch.kron(_EVALUATE.flip(1), _EVALUATE.flip(1))  # a convolution, of a kernel turned around
_CELLS = torch.kron(_COEFFICIENTS, _COEFFICIENTS)


def resample(x: Tensor, scale: float) -> Tensor:
    """(B, C, S * scale, S * scale) from (B, C, S, S): a whole ``scale`` R repeats cells, 1 / R takes means of R x R."""
    if scale > 1:
        return F.interpolate(x, scale_factor=scale, mode="nearest")
    return F.avg_pool2d(x, round(1 / scale)) if scale < 1 else x


def of_resampled(layer: nn.Module, x: Tensor, scale: float) -> Tensor:
    """``layer(resample(x, scale))`` by as few products as it takes: what is repeated is computed once.

    Args:
        layer: a ``Convolution``, or one that computes each cell by itself, such as a 1 x 1 convolution.
        x: (B, C, S, S).
        scale: as for ``resample``.
    """
    if scale <= 1:
        return layer(resample(x, scale))  # type: ignore[no-any-return]
    if isinstance(layer, Convolution):
        return layer(x, round(scale))  # type: ignore[no-any-return]
    return resample(layer(x), scale)


class Convolution(nn.Conv2d):
    """3 x 3 with zeros around the field, without the products whose outcome padding or repetition tells.

    The parameters and, but for rounding, the outputs of ``nn.Conv2d(channels_in, channels_out, 3, padding=1)``.
    """

    def __init__(self, channels_in: int, channels_out: int) -> None:
        super().__init__(channels_in, channels_out, 3, padding=1)

    def forward(self, x: Tensor, repeats: int = 1) -> Tensor:
        """(B, channels_out, R S, R S) from (B, channels_in, S, S), each cell repeated R times a side beforehand."""
        if repeats > 1:
            return self._of_repeated(x, repeats)
        if x.shape[-1] == 1:  # all but the centre meets padding
            return F.conv2d(x, self.weight[:, :, 1:2, 1:2], self.bias)
        # Sums and differences would cost 16-bit numbers their accuracy; a GPU's libraries choose for themselves.
        short = x.dtype.itemsize < 4 or torch.is_autocast_enabled("cpu")
        if x.shape[-1] == 3 and x.device.type == "cpu" and not short:
            return self._of_nine_cells(x)
        return super().forward(x)

    def _of_nine_cells(self, x: Tensor) -> Tensor:
        # 25 products for each pair of channels instead of 81, of which 49 meet no padding.
        cells = _EVALUATE_CELLS.to(x) @ x.flatten(2).flatten(0, 1).T.contiguous()
        weights = _EVALUATE_WEIGHTS.to(x) @ self.weight.flatten(2).flatten(0, 1).T.contiguous()
        products = cells.view(25, len(x), -1) @ weights.view(25, len(self.weight), -1).mT
        written = (_CELLS.to(x) @ products.flatten(1)).T.reshape(len(x), -1, 3, 3)
        return written if self.bias is None else written + self.bias[:, None, None]

    def _of_repeated(self, x: Tensor, repeats: int) -> Tensor:
        # A cell reaches R + 2 cells a side, each by a sum of weights: (R + 2)^2 products instead of (3 R)^2.
        alone = x.shape[-1] == 1  # and then the outermost of these lie outside the field
        reach = self.weight.flip(2, 3)
        for _ in range(2):  # adds shifted copies along the last side, which becomes the first
            shifts = [(j - alone, repeats - 1 - j - alone) for j in range(repeats)]
            reach = sum((F.pad(reach, shift) for shift in shifts[1:]), F.pad(reach, shifts[0])).transpose(2, 3)
        if not alone:
            return F.conv_transpose2d(x, reach.transpose(0, 1), self.bias, stride=repeats, padding=1)
        written = F.linear(x.flatten(1), reach.permute(0, 2, 3, 1).flatten(0, 2)).view(len(x), -1, repeats, repeats)
        return written if self.bias is None else written + self.bias[:, None, None]
