"""torch.compile of networks in place, and of the steps of sampling."""

import functools
from collections.abc import Callable, Hashable
from types import MethodType
from typing import Any, Literal, get_args
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

Compilation = Literal["blocks", "network", "graph"]
"""What of a training is one graph: a block, the network, or a step's whole way there and back."""
COMPILATIONS: tuple[Compilation, ...] = get_args(Compilation)
OF_TRAINING = ("training_losses", "all_blocks")
"""Methods of networks, one of which training calls instead of the network itself where it is there."""

_KEPT: "WeakKeyDictionary[nn.Module, dict[Hashable, Any]]" = WeakKeyDictionary()


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


def compile_network(network: nn.Module, *, steps: bool | None = None, **options: Any) -> None:
    """Compiles what training calls of ``network`` as one graph of fixed shapes, and all else as ``compile_blocks``.

    A part that cannot be in the graph is an error at the first call, and so is a ninth shape.

    Args:
        network: that is called in training mode, with gradients, to be trained.
        steps: as of ``compile_blocks``.
        options: of torch.compile.
    """
    compile_blocks(network, steps=steps, **options)
    name = next((name for name in OF_TRAINING if hasattr(type(network), name)), None)
    called: Any = type(network)._call_impl if name is None else getattr(type(network), name)

    def of_training(self: nn.Module, *args: Any, **kwargs: Any) -> Any:
        return called(self, *args, **kwargs)

    whole = torch.compile(of_training, fullgraph=True, dynamic=False, **options)
    before = network._compiled_call_impl if name is None else None  # of a network without blocks
    otherwise = called if before is None else _without_self(before)

    def call(self: nn.Module, *args: Any, **kwargs: Any) -> Any:
        is_training = self.training and torch.is_grad_enabled()
        return (whole if is_training else otherwise)(self, *args, **kwargs)

    if name is None:  # which no copy of the network has
        network._compiled_call_impl = MethodType(call, network)
    else:
        setattr(network, name, MethodType(call, network))


def uncompile(network: nn.Module) -> None:
    """Makes a copy of a compiled network, whose parts are as they were written, call its own methods so, too."""
    for name in OF_TRAINING:
        vars(network).pop(name, None)


def _without_self(bound: Callable[..., Any]) -> Callable[..., Any]:
    return lambda self, *args, **kwargs: bound(*args, **kwargs)


def compile_seconds() -> float:
    """What this process has spent in torch.compile so far."""
    from torch._dynamo.utils import calculate_time_spent  # takes a second to import

    return float(calculate_time_spent()["total_wall_time"])


def is_compiled(network: nn.Module) -> bool:
    """Is ``network``, or a part of it, compiled in place, or are its steps of sampling?"""
    return _has_compiled_steps(network) or any(part._compiled_call_impl is not None for part in network.modules())


def _has_compiled_steps(network: nn.Module) -> bool:
    steps, _ = getattr(network, "step_options", (False, {}))
    if not getattr(network, "steps_alike", True):
        return False
    return _is_on_cuda(network) if steps is None else bool(steps)


def _is_on_cuda(network: nn.Module) -> bool:
    return any(parameter.is_cuda for parameter in network.parameters())


def compiled_step(step: Callable[..., Any], network: nn.Module) -> Callable[..., Any] | None:
    """``step`` as one compiled graph where the steps of ``network`` are to be compiled, else None.

    A CUDA graph holds memory, not values: best ``step`` changes what it is given in place and returns nothing; what it
    returns is written anew by its next call.

    Args:
        step: a function of a module, of tensors that are of the same shapes in every step.
        network: as ``compile_blocks`` left it.
    """
    if not _has_compiled_steps(network):
        return None
    _, options = getattr(network, "step_options", (False, {}))
    return _compiled(step, **({"mode": "reduce-overhead"} if _is_on_cuda(network) else {}) | options)


@functools.cache
def _compiled(step: Callable[..., Any], **options: Any) -> Callable[..., Any]:
    return torch.compile(step, **options)  # type: ignore[no-any-return]


def kept(network: nn.Module, key: Hashable, make: Callable[[], Any]) -> Any:
    """What ``make`` has given when it was first asked for ``key``, as long as ``network`` lives.

    No copy of the network has it. Its tensors may be written in any mode.
    """
    known = _KEPT.setdefault(network, {})
    if key not in known:
        with torch.inference_mode(False):
            known[key] = make()
    return known[key]


def static_buffers(network: nn.Module, name: str, *tensors: Tensor) -> list[Tensor]:
    """Copies of ``tensors`` in memory that is the same each time they have these shapes.

    So no CUDA graph is recorded anew.

    What another call has left there is written over: it is to be copied before.
    """
    key = (name, *((tensor.shape, tensor.dtype, tensor.device) for tensor in tensors))
    memory: list[Tensor] = kept(
        network, key, lambda: [torch.empty(t.shape, dtype=t.dtype, device=t.device) for t in tensors]
    )
    for place, tensor in zip(memory, tensors, strict=True):
        place.copy_(tensor)
    mark_static(*memory)
    return memory


def mark_static(*tensors: Tensor) -> None:
    """Promises that a compiled step is given the same memory each time, so that a CUDA graph need not copy it."""
    for tensor in tensors:
        torch._dynamo.mark_static_address(tensor, guard=False)
