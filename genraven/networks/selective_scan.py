"""The recurrence of a selective state space (Gu & Dao 2023, arXiv 2312.00752, section 3), fast without kernels.

B batch, L positions, D channels, N states of a channel. In every channel the states follow
h_t = exp(delta_t A) h_{t-1} + delta_t b_t x_t, and y_t = c_t . h_t is read from them.
"""

from collections.abc import Callable
from contextlib import nullcontext
from functools import cache
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

CHUNK = 27
"""Positions whose states are in memory together."""


def _states(x: Tensor, delta: Tensor, a: Tensor, b: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
    """Decays and states (K, B, N, D) of a chunk of K positions that follows ``state``."""
    decays = (delta.unsqueeze(2) * a).exp_()
    states = b.unsqueeze(3) * (delta * x).unsqueeze(2)
    for now, decay in zip(states, decays, strict=True):
        state = now.addcmul_(decay, state)
    return decays, states


class _SelectiveScan(torch.autograd.Function):
    """Exponentials and sums over all positions of a chunk at once, and one fused step a position for what must wait.

    Autograd would keep every state (N numbers for each of x); this keeps one for each chunk and computes the others
    anew on the way back.
    """

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, delta: Tensor, a: Tensor, b: Tensor, c: Tensor, state: Tensor
    ) -> tuple[Tensor, Tensor]:
        """(L, B, D) outputs and (B, N, D) the last state, from positions-first arguments and ``a`` (N, D)."""
        outputs, starts = [], []
        for parts in zip(*(t.split(CHUNK) for t in (x, delta, b, c)), strict=True):
            x_, delta_, b_, c_ = parts
            starts.append(state)
            states = _states(x_, delta_, a, b_, state)[1]
            outputs.append((c_.unsqueeze(2) @ states).squeeze(2))
            state = states[-1].clone()
        ctx.save_for_backward(x, delta, a, b, c, *starts)
        return torch.cat(outputs), state

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_y: Tensor, grad_state: Tensor) -> tuple[Tensor, ...]:
        """Gradients of all arguments: the recurrence of the adjoint, from the last position to the first."""
        x, delta, a, b, c, *starts = ctx.saved_tensors
        grad_a = torch.zeros_like(a)
        grads: list[tuple[Tensor, ...]] = []
        carry = grad_state
        parts = zip(*(t.split(CHUNK) for t in (x, delta, b, c, grad_y.contiguous())), starts, strict=True)
        for x_, delta_, b_, c_, grad_y_, start in reversed(list(parts)):
            decays, states = _states(x_, delta_, a, b_, start)
            adjoint = c_.unsqueeze(3) * grad_y_.unsqueeze(2)
            for now, decay in zip(reversed(adjoint.unbind()), reversed(decays.unbind()), strict=True):
                carry = now.add_(carry) * decay
            grad_c = (states @ grad_y_.unsqueeze(3)).squeeze(3)
            grad_b = (adjoint @ (delta_ * x_).unsqueeze(3)).squeeze(3)
            grad_input = (b_.unsqueeze(2) @ adjoint).squeeze(2)
            # The gradient of delta_t A: what reaches the state, times its part that came through the decay.
            through = decays.mul_(adjoint)
            through[1:].mul_(states[:-1])
            through[0].mul_(start)
            grad_delta = grad_input * x_ + (through * a).sum(2)
            grad_a += through.mul_(delta_.unsqueeze(2)).flatten(0, 1).sum(0)
            grads.append((grad_input * delta_, grad_delta, grad_b, grad_c))
        grad_x, grad_delta, grad_b, grad_c = (torch.cat(g[::-1]) for g in zip(*grads, strict=True))
        return grad_x, grad_delta, grad_a, grad_b, grad_c, carry


@cache
def kernel(device: str) -> Callable[..., Any] | None:
    """The scan of the package mamba_ssm for a type of device, if it is CUDA and that is installed."""
    if device != "cuda":
        return None
    try:
        from mamba_ssm.ops.selective_scan_interface import selective_scan_fn  # type: ignore[import-not-found]
    except ImportError:
        return None
    return selective_scan_fn


@torch.compiler.disable  # type: ignore[untyped-decorator]  # its loop over positions would become one huge graph
def selective_scan(
    x: Tensor, delta: Tensor, a: Tensor, b: Tensor, c: Tensor, state: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Outputs (B, L, D) and the last state (B, N, D), in float32, or float64 from float64.

    From no state in float32 on CUDA, the kernel of mamba_ssm does the work where that package is installed.

    Args:
        x: (B, L, D) inputs.
        delta: (B, L, D) step sizes, positive.
        a: (N, D) negative.
        b, c: (B, L, N) what x adds to the states, and what is read from them.
        state: (B, N, D) before the first position; None is zeros.
    """
    dtype = torch.promote_types(x.dtype, torch.float32)
    x, delta, a, b, c = (t.to(dtype) for t in (x, delta, a, b, c))
    device = x.device.type
    scan = kernel(device) if state is None and dtype == torch.float32 else None
    if scan is not None:
        x, delta, b, c = (t.transpose(1, 2).contiguous() for t in (x, delta, b, c))
        y, last = scan(x, delta, a.T.contiguous(), b, c, return_last_state=True)
        return y.transpose(1, 2), last.transpose(1, 2)
    if state is None:
        state = x.new_zeros(len(x), *a.shape)
    x, delta, b, c = (t.transpose(0, 1).contiguous() for t in (x, delta, b, c))
    # Sums over states and channels in half precision would lose what float32 states keep.
    exact = torch.autocast(device, enabled=False) if torch.amp.is_autocast_available(device) else nullcontext()
    with exact:
        y, last = _SelectiveScan.apply(x, delta, a, b, c, state.to(dtype))
    return y.transpose(0, 1), last


def scan_one(x: Tensor, delta: Tensor, a: Tensor, b: Tensor, c: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
    """``selective_scan`` of one position after others, L = 1: without a loop, so that a compiler takes it whole."""
    dtype = torch.promote_types(x.dtype, torch.float32)
    x, delta, b, c = (t.squeeze(1).to(dtype) for t in (x, delta, b, c))
    state = (b.unsqueeze(2) * (delta * x).unsqueeze(1)).addcmul(
        (delta.unsqueeze(1) * a.to(dtype)).exp(), state.to(dtype)
    )
    return (c.unsqueeze(2) * state).sum(1, keepdim=True), state
