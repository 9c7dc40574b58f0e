"""Dropout that a compiler can vectorise: on a CPU, torch draws its masks number by number."""

import torch
import torch.nn.functional as F
from torch import Tensor

_FIRST, _SECOND = 0x85EBCA6B - 2**32, 0xC2B2AE35 - 2**32


def dropout(x: Tensor, fraction: float, training: bool = True) -> Tensor:
    """``F.dropout``: sets ``fraction`` of the numbers to 0 and divides the others by the rest, in training alone.

    On a CPU the mask is a hash of each number's place and of 64 bits drawn from torch's generator: MurmurHash3's mixing
    of 32 bits (Appleby 2011), the second half of the bits between its products.
    """
    if x.device.type != "cpu" or not training or fraction in (0, 1):
        return F.dropout(x, fraction, training)
    first, second = torch.randint(-(2**31), 2**31, (2,), dtype=torch.int32)
    bits = torch.arange(x.numel(), dtype=torch.int32).view(x.shape) ^ first
    bits = (bits ^ bits >> 16 & 0xFFFF) * _FIRST
    bits = bits ^ second
    bits = (bits ^ bits >> 13 & 0x7FFFF) * _SECOND
    uniform = bits.float() * 2**-32 + 0.5
    return x * ((uniform >= fraction) / (1 - fraction)).to(x.dtype)
