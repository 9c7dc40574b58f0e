"""A recorder for CPUs, as strict as a CUDA graph: it repeats operations on the memory that they had when recorded.

What was a number of Python's stays that number, what is read is refused, and what stands elsewhere is not seen.
"""

from collections.abc import Callable
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from genraven.networks.recording import Work

READS = ("aten._local_scalar_dense", "aten.equal", "aten.nonzero", "aten.is_nonzero")


class Operations(TorchDispatchMode):
    """Notes what is done in its block, with its arguments and results."""

    def __init__(self) -> None:
        super().__init__()
        self.done: list[tuple[Any, Any, Any, Any]] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs, name = kwargs or {}, str(func).rpartition(".")[0]
        assert name not in READS, f"{name} reads from the device"
        assert kwargs.get("generator") is None, f"{name} draws by a generator that the recording does not know"
        out = func(*args, **kwargs)
        if not any(each.alias_info is not None and not each.alias_info.is_write for each in func._schema.returns):
            self.done.append((func, args, kwargs, out))  # all but views, which stay what they are
        return out

    def repeat(self) -> None:
        """Does it again, on the same memory."""
        for func, args, kwargs, before in self.done:
            now = func(*args, **kwargs)
            if not func._schema.is_mutable:
                for old, new in zip(tree_leaves(before), tree_leaves(now), strict=True):
                    if isinstance(old, Tensor):
                        old.copy_(new)


class TapeRecorder:
    """Counts what it records and repeats, of all its instances."""

    num_aside: ClassVar = 0
    num_recorded: ClassVar = 0
    num_repeated: ClassVar = 0

    def __init__(self, device: torch.device) -> None:
        TapeRecorder.num_aside = TapeRecorder.num_recorded = TapeRecorder.num_repeated = 0

    def aside(self, work: Work) -> Tensor:
        TapeRecorder.num_aside += 1
        return work()

    def record(self, work: Work) -> tuple[Callable[[], None], Tensor]:
        """Draws and gradients of this time do not count: a CUDA graph does nothing when it is recorded."""
        TapeRecorder.num_recorded += 1
        state = torch.get_rng_state()
        with Operations() as operations:
            left = work()
        torch.set_rng_state(state)
        left.fill_(torch.nan)

        def repeat() -> None:
            TapeRecorder.num_repeated += 1
            with torch.no_grad():
                operations.repeat()

        return repeat, left
