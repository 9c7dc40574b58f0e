"""Weighted particles: B problems with K particles each, (B, K) logarithms of weights, of any scale."""

import torch
from torch import Tensor

from genraven.methods.draws import finest


def systematic_resample(log_weights: Tensor, uniform: Tensor) -> Tensor:
    """(B, K) indices into (B, K) particles, each drawn within one of the expected number (Douc & Cappe 2005, sec. 2.4).

    Args:
        log_weights: (B, K).
        uniform: (B, 1) draws on [0, 1).
    """
    num = log_weights.shape[1]
    cumulative = log_weights.to(finest(log_weights.device)).softmax(1).cumsum(1)
    points = (torch.arange(num, device=uniform.device) + uniform.to(cumulative)) / num
    return torch.searchsorted(cumulative, points, right=True).clamp(max=num - 1)


def effective_sample_size(log_weights: Tensor) -> Tensor:
    """(B,) 1 / sum of squared normalised weights."""
    return 1 / log_weights.softmax(1).square().sum(1)


def resample_degenerate(log_weights: Tensor, uniform: Tensor) -> tuple[Tensor, Tensor]:
    """Draws the particles of a problem anew where fewer than half of them carry its weight.

    Args:
        log_weights: (B, K).
        uniform: (B, 1) draws on [0, 1).

    Returns:
        (B * K,) indices to go on with of particles laid out one after another, and their weights (B, K).
    """
    batch, num = log_weights.shape
    own = torch.arange(num, device=log_weights.device)
    degenerate = (effective_sample_size(log_weights) < num / 2).unsqueeze(1)
    chosen = systematic_resample(log_weights, uniform).where(degenerate, own)
    first = torch.arange(batch, device=log_weights.device).unsqueeze(1) * num
    return (first + chosen).flatten(), log_weights.masked_fill(degenerate, 0)
