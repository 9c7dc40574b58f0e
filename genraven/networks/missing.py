"""A channel more that says which cells of a field are unknown.

B batch, C channels, S side of the field.
"""

import torch
from torch import Tensor


def with_channel(x: Tensor, unknown: Tensor | None) -> Tensor:
    """(B, C + 1, S, S) from fields (B, C, S, S) and ``unknown`` (B, S, S) bool; None where all cells are known."""
    channel = torch.zeros_like(x[:, :1]) if unknown is None else unknown.unsqueeze(1).to(x.dtype)
    return torch.cat([x, channel], 1)
