"""Work on a device that is recorded once and repeated in one go: on NVIDIA's GPUs, a CUDA graph.

What is repeated reads and writes the same memory each time, and none of it is looked at from the host.
"""

from collections.abc import Callable
from typing import Protocol

import torch
from torch import Tensor

Work = Callable[[], Tensor]
"""What is done on a device, and the tensor that it leaves there."""


class Recorder(Protocol):
    """What records work on a device."""

    def aside(self, work: Work) -> Tensor:
        """Does ``work`` where it will be recorded: libraries that it calls prepare there what they need once."""
        ...

    def record(self, work: Work) -> tuple[Callable[[], None], Tensor]:
        """What repeats ``work``, and the memory that each repetition leaves its tensor in. Nothing is done yet."""
        ...


class CudaRecorder:
    """CUDA graphs of one GPU.

    Args:
        device: of type cuda.
    """

    def __init__(self, device: torch.device) -> None:
        self.device, self.stream = device, torch.cuda.Stream(device)

    def aside(self, work: Work) -> Tensor:
        """Does ``work`` on the stream of the recordings, after all that was asked before, and before all after."""
        now = torch.cuda.current_stream(self.device)
        self.stream.wait_stream(now)
        with torch.cuda.stream(self.stream):
            left = work()
        now.wait_stream(self.stream)
        left.record_stream(now)
        return left

    def record(self, work: Work) -> tuple[Callable[[], None], Tensor]:
        """A CUDA graph of ``work``. Other threads may use the GPU meanwhile: batches come from one."""
        graph = torch.cuda.CUDAGraph()
        torch.clear_autocast_cache()  # a copy of weights that stands there would be read for ever as it is
        with torch.cuda.graph(graph, stream=self.stream, capture_error_mode="thread_local"):
            left = work()
        torch.clear_autocast_cache()  # and one that was made here has no numbers yet
        return graph.replay, left


RECORDERS: dict[str, Callable[[torch.device], Recorder]] = {"cuda": CudaRecorder}
"""Those of each type of device that has them."""
