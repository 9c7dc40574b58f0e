"""torch.compile of networks in place, and of the steps of sampling."""

import functools
from collections.abc import Callable
from types import MethodType
from typing import Any

import torch
from torch import Tensor, nn


def compile_blocks(network: nn.Module, *, steps: bool | None = None, **options: Any) -> None:
    """Compiles ``network`` block by block, at their first call; the names of its parameters stay.

    Blocks that are alike share one compilation, so that a deep network takes no longer than a shallow one; where they
    differ in shape, as in a U-Net, the network is compiled as a whole. Of a network with training losses of its own
    these alone are compiled, as a whole: what it reads in sampling changes its shape from cell to cell.

    Args:
        network: whose blocks are alike when ``blocks`` is a ModuleList.
        steps: is each step of sampling compiled as a whole, too? None is on CUDA, where it becomes a CUDA graph; a CPU
            compiles for longer than all sampling of a run takes.
        options: of torch.compile.
    """
    of_training: Any = getattr(type(network), "training_losses", None)
    if of_training is not None:  # as a method, which of a copy of the network is the copy's
        network.training_losses = MethodType(torch.compile(of_training, **options), network)  # type: ignore[assignment]
    else:
        blocks = getattr(network, "blocks", None)
        for part in blocks if isinstance(blocks, nn.ModuleList) else [network]:
            part.compile(**options)
    network.step_options = (steps, options)  # type: ignore[assignment]


def is_compiled(network: nn.Module) -> bool:
    """Is ``network``, or a part of it, compiled in place?"""
    return any(part._compiled_call_impl is not None for part in network.modules())


def whole_step(step: Callable[..., Any], network: nn.Module) -> Callable[..., Any] | None:
    """``step`` as one compiled graph where the steps of ``network`` are to be compiled, else None.

    A CUDA graph holds memory, not values: best ``step`` changes what it is given in place and returns nothing; what it
    returns is written anew by its next call.

    Args:
        step: a function of a module, of tensors that are of the same shapes in every step.
        network: as ``compile_blocks`` left it.
    """
    steps, options = getattr(network, "step_options", (False, {}))
    if not getattr(network, "steps_alike", True):
        return None
    on_cuda = any(parameter.is_cuda for parameter in network.parameters())
    if not (on_cuda if steps is None else steps):
        return None
    return _compiled(step, **({"mode": "reduce-overhead"} if on_cuda else {}) | options)


@functools.cache
def _compiled(step: Callable[..., Any], **options: Any) -> Callable[..., Any]:
    return torch.compile(step, **options)  # type: ignore[no-any-return]


def stay(*tensors: Tensor) -> None:
    """Promises that a compiled step is given the same memory each time, so that a CUDA graph need not copy it."""
    for tensor in tensors:
        torch._dynamo.mark_static_address(tensor, guard=False)
