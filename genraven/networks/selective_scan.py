"""The recurrence of a selective state space (Gu & Dao 2023, arXiv 2312.00752, section 3), fast without kernels.

B batch, L positions, D channels, N states of a channel. In every channel the states follow
h_t = exp(delta_t A) h_{t-1} + delta_t b_t x_t, and y_t = c_t . h_t is read from them.
"""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
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


def _forward(
    x: Tensor, delta: Tensor, a: Tensor, b: Tensor, c: Tensor, state: Tensor
) -> tuple[Tensor, Tensor, list[Tensor]]:
    """(L, B, D) outputs, (B, N, D) the last state, and the state before each chunk.

    Exponentials and sums over all positions of a chunk at once, and one fused step a position for what must wait.

    Args:
        x, delta, b, c: positions first.
        a: (N, D).
        state: (B, N, D) before the first position.
    """
    outputs, starts = [], []
    for x_, delta_, b_, c_ in zip(*(t.split(CHUNK) for t in (x, delta, b, c)), strict=True):
        starts.append(state)
        states = _states(x_, delta_, a, b_, state)[1]
        outputs.append((c_.unsqueeze(2) @ states).squeeze(2))
        state = states[-1].clone()
    return torch.cat(outputs), state, starts


def _backward(
    grad_y: Tensor,
    grad_state: Tensor,
    x: Tensor,
    delta: Tensor,
    a: Tensor,
    b: Tensor,
    c: Tensor,
    starts: Sequence[Tensor],
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Gradients of the arguments of ``_forward``: the recurrence of the adjoint, from the last position to the first.

    Autograd would keep every state (N numbers for each of x); this takes one for each chunk and computes the others
    anew.
    """
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


class _SelectiveScan(torch.autograd.Function):
    """The scan and its way back."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, delta: Tensor, a: Tensor, b: Tensor, c: Tensor, state: Tensor
    ) -> tuple[Tensor, Tensor]:
        """(L, B, D) outputs and (B, N, D) the last state, from positions-first arguments and ``a`` (N, D)."""
        y, last, starts = _forward(x, delta, a, b, c, state)
        ctx.save_for_backward(x, delta, a, b, c, *starts)
        return y, last

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_y: Tensor, grad_state: Tensor) -> tuple[Tensor, ...]:
        """Gradients of all arguments."""
        x, delta, a, b, c, *starts = ctx.saved_tensors
        return _backward(grad_y, grad_state, x, delta, a, b, c, starts)


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


def selective_scan(
    x: Tensor, delta: Tensor, a: Tensor, b: Tensor, c: Tensor, state: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Outputs (B, L, D) and the last state (B, N, D), in float32, or float64 from float64.

    From no state in float32 on CUDA, the kernel of mamba_ssm does the work where that package is installed. A compiler
    sees one operation: its loop over positions would become one huge graph.

    Args:
        x: (B, L, D) inputs.
        delta: (B, L, D) step sizes, positive.
        a: (N, D) negative.
        b, c: (B, L, N) what x adds to the states, and what is read from them.
        state: (B, N, D) before the first position; None is zeros.
    """
    dtype = torch.promote_types(x.dtype, torch.float32)
    x, delta, a, b, c = (t.to(dtype) for t in (x, delta, a, b, c))
    state = None if state is None else state.to(dtype)
    if torch.compiler.is_compiling():
        y, last, _ = _one_operation(x, delta, a, b, c, state)
        return y, last
    if (scan := _kernel_for(x, state)) is not None:
        return _by_kernel(scan, x, delta, a, b, c)
    state = _zeros(x, a) if state is None else state
    x, delta, b, c = (t.transpose(0, 1).contiguous() for t in (x, delta, b, c))
    with _exact(x.device.type):
        y, last = _SelectiveScan.apply(x, delta, a, b, c, state)
    return y.transpose(0, 1), last


def _kernel_for(x: Tensor, state: Tensor | None) -> Callable[..., Any] | None:
    return kernel(x.device.type) if state is None and x.dtype == torch.float32 else None


def _by_kernel(
    scan: Callable[..., Any], x: Tensor, delta: Tensor, a: Tensor, b: Tensor, c: Tensor
) -> tuple[Tensor, Tensor]:
    x, delta, b, c = (t.transpose(1, 2).contiguous() for t in (x, delta, b, c))
    y, last = scan(x, delta, a.T.contiguous(), b, c, return_last_state=True)
    return y.transpose(1, 2), last.transpose(1, 2)


def _zeros(x: Tensor, a: Tensor) -> Tensor:
    return x.new_zeros(len(x), *a.shape)


def _exact(device: str) -> AbstractContextManager[Any]:
    """No autocast: sums over states and channels in half precision would lose what float32 states keep."""
    return torch.autocast(device, enabled=False) if torch.amp.is_autocast_available(device) else nullcontext()


@torch.library.custom_op("genraven::selective_scan", mutates_args=())
def _one_operation(
    x: Tensor, delta: Tensor, a: Tensor, b: Tensor, c: Tensor, state: Tensor | None
) -> tuple[Tensor, Tensor, Tensor]:
    """(B, L, D), (B, N, D) and the states before each chunk (K, B, N, D), of which a kernel keeps none."""
    if (scan := _kernel_for(x, state)) is not None:
        y, last = (t.contiguous() for t in _by_kernel(scan, x, delta, a, b, c))
        return y, last, x.new_empty(0)
    first = [t.transpose(0, 1).contiguous() for t in (x, delta, b, c)]
    with _exact(x.device.type):
        y, last, starts = _forward(first[0], first[1], a, first[2], first[3], _zeros(x, a) if state is None else state)
    return y.transpose(0, 1).contiguous(), last.contiguous(), torch.stack(starts)


@_one_operation.register_fake
def _(x: Tensor, delta: Tensor, a: Tensor, b: Tensor, c: Tensor, state: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
    kept = (0,) if _kernel_for(x, state) is not None else (-(-x.shape[1] // CHUNK), len(x), *a.shape)
    return x.new_empty(x.shape), x.new_empty(len(x), *a.shape), x.new_empty(kept)


@torch.library.custom_op("genraven::selective_scan_backward", mutates_args=())
def _one_operation_back(
    grad_y: Tensor, grad_last: Tensor, x: Tensor, delta: Tensor, a: Tensor, b: Tensor, c: Tensor, state: Tensor | None,
    starts: Tensor,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:  # fmt: skip
    """Gradients of x, delta, a, b, c and the state before the first position."""
    if (scan := _kernel_for(x, state)) is not None:
        given = [t.detach().requires_grad_() for t in (x, delta, a, b, c)]
        with torch.enable_grad():
            outputs = _by_kernel(scan, *given)
        grads = torch.autograd.grad(outputs, given, (grad_y, grad_last))
        return *(grad.contiguous() for grad in grads), torch.zeros_like(grad_last)  # type: ignore[return-value]
    x, delta, b, c, grad_y = (t.transpose(0, 1).contiguous() for t in (x, delta, b, c, grad_y))
    with _exact(x.device.type):
        grad_x, grad_delta, grad_a, grad_b, grad_c, carry = _backward(
            grad_y, grad_last, x, delta, a, b, c, starts.unbind()
        )
    of_x, of_delta, of_b, of_c = (t.transpose(0, 1).contiguous() for t in (grad_x, grad_delta, grad_b, grad_c))
    return of_x, of_delta, grad_a.contiguous(), of_b, of_c, carry.contiguous()  # as the compiler is promised


@_one_operation_back.register_fake
def _(
    grad_y: Tensor, grad_last: Tensor, x: Tensor, delta: Tensor, a: Tensor, b: Tensor, c: Tensor, state: Tensor | None,
    starts: Tensor,
) -> tuple[Tensor, ...]:  # fmt: skip
    return *(t.new_empty(t.shape) for t in (x, delta, a, b, c)), grad_last.new_empty(grad_last.shape)


def _keep(ctx: Any, inputs: tuple[Tensor | None, ...], output: tuple[Tensor, ...]) -> None:
    ctx.save_for_backward(*inputs, output[2])


def _back(ctx: Any, grad_y: Tensor | None, grad_last: Tensor | None, _: Any) -> tuple[Tensor | None, ...]:
    x, delta, a, b, c, state, starts = ctx.saved_tensors
    grad_y = torch.zeros_like(x) if grad_y is None else grad_y
    grad_last = _zeros(x, a) if grad_last is None else grad_last
    *grads, of_state = _one_operation_back(grad_y, grad_last, x, delta, a, b, c, state, starts)
    return *grads, None if state is None else of_state


_one_operation.register_autograd(_back, setup_context=_keep)


def scan_one(x: Tensor, delta: Tensor, a: Tensor, b: Tensor, c: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
    """``selective_scan`` of one position after others, L = 1: without a loop, so that a compiler takes it whole."""
    dtype = torch.promote_types(x.dtype, torch.float32)
    x, delta, b, c = (t.squeeze(1).to(dtype) for t in (x, delta, b, c))
    state = (b.unsqueeze(2) * (delta * x).unsqueeze(1)).addcmul(
        (delta.unsqueeze(1) * a.to(dtype)).exp(), state.to(dtype)
    )
    return (c.unsqueeze(2) * state).sum(1, keepdim=True), state
