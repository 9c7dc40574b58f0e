"""TrainingGraph: the way there and back of a training step, recorded once and repeated.

B puzzles of a shard of the global batch.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from genraven.errors import InputError
from genraven.methods.method import Draw
from genraven.networks.recording import Recorder

Inputs = tuple[Tensor | None, ...]
Losses = Callable[[Draw, Inputs], Tensor]
"""The loss () of inputs of one size, by tensor operations alone."""
Asked = tuple[Callable[..., Tensor], tuple[int, ...]] | None
"""A distribution and a shape; None for a spread."""
WARM_UP = 3
"""Steps that are taken as they are before one is recorded: libraries choose kernels in them, and compilers compile."""


@dataclass
class NotedDraw:
    """Draws as they come, and what was asked for: the next steps ask for the same."""

    draw: Draw
    asked: list[Asked] = field(default_factory=list)

    def __call__(self, distribution: Callable[..., Tensor], *shape: int) -> Tensor:
        """Draws of ``distribution``."""
        self.asked.append((distribution, shape))
        return self.draw(distribution, *shape)

    def spread(self) -> Tensor:
        """Draws on [0, 1) that cover it evenly."""
        self.asked.append(None)
        return self.draw.spread()


@dataclass
class DrawnBefore:
    """Draws that are there already, in the order in which they are asked for."""

    drawn: list[Tensor]
    next: int = 0

    def __call__(self, distribution: Callable[..., Tensor], *shape: int) -> Tensor:
        """The next of them."""
        self.next += 1
        return self.drawn[self.next - 1]

    def spread(self) -> Tensor:
        """The next of them."""
        return self(torch.rand)


@dataclass
class _Recording:
    """The steps of inputs of one size."""

    steps: int = 0
    asked: list[Asked] = field(default_factory=list)
    memory: list[Tensor] = field(default_factory=list)
    """What is read, in the order of inputs and draws."""
    replay: Callable[[], None] | None = None
    loss: Tensor | None = None
    addresses: list[int] = field(default_factory=list)


class TrainingGraph:
    """Forward, loss and backward of a training step as one recording, whose gradients are those of the step without.

    Inputs and draws are copied into memory of its own: draws are made outside, as the step without makes them.
    Gradients are set to zero in place, before the first operation. Clipping and the optimizer are not part of it, so
    that they may be whatever they are.

    Args:
        recorder: of the device that trains.
        parameters: that are trained.
        losses: of inputs and draws.
    """

    def __init__(self, recorder: Recorder, parameters: Iterable[nn.Parameter], losses: Losses) -> None:
        self.recorder, self.losses = recorder, losses
        self.parameters = [parameter for parameter in parameters if parameter.requires_grad]
        self.num_recorded = self.num_replayed = 0
        self._recordings: dict[tuple[object, ...], _Recording] = {}

    def __call__(self, inputs: Inputs, draw: Draw) -> Tensor:
        """The loss () of ``inputs``, as a copy; the gradients of the parameters are its own when it returns."""
        size = tuple(None if part is None else (part.shape, part.dtype) for part in inputs)
        now = self._recordings.setdefault(size, _Recording())
        now.steps += 1
        if now.steps <= WARM_UP:
            noted = NotedDraw(draw)
            loss = self.recorder.aside(lambda: self._there_and_back(inputs, noted))
            now.asked = noted.asked
            return loss
        drawn = [draw.spread() if asked is None else draw(asked[0], *asked[1]) for asked in now.asked]
        given = [part for part in inputs if part is not None] + drawn
        if now.replay is None:
            self._record(now, inputs, given)
        elif now.addresses != self._addresses():
            raise InputError("expected weights and gradients that keep their memory with --compile graph, got ones "
                             "that a callback or the optimizer replaced: use --compile network.")  # fmt: skip
        else:
            torch._foreach_copy_(now.memory, given)
        assert now.replay is not None and now.loss is not None
        now.replay()
        self.num_replayed += 1
        return now.loss.clone()

    def _record(self, now: _Recording, inputs: Inputs, given: list[Tensor]) -> None:
        if torch.is_anomaly_enabled():
            raise InputError("expected trainer.detect_anomaly false with --compile graph, got true, which reads from "
                             "the device at each operation: leave it out, or use --compile network.")  # fmt: skip
        now.memory = [part.clone() for part in given]
        left = iter(now.memory)
        own = tuple(None if part is None else next(left) for part in inputs)
        drawn = list(left)
        now.replay, now.loss = self.recorder.record(lambda: self._there_and_back(own, DrawnBefore(drawn)))
        now.addresses = self._addresses()
        self.num_recorded += 1

    def _there_and_back(self, inputs: Inputs, draw: Draw) -> Tensor:
        gradients = [parameter.grad for parameter in self.parameters if parameter.grad is not None]
        if gradients:  # the first step makes them, of what the loss depends on
            torch._foreach_zero_(gradients)
        loss = self.losses(draw, inputs)
        with torch.autocast(loss.device.type, enabled=False):  # as without a graph: each is as its way there was
            loss.backward()
        return loss.detach()

    def _addresses(self) -> list[int]:
        gradients = [parameter.grad for parameter in self.parameters if parameter.grad is not None]
        return [tensor.data_ptr() for tensor in [*self.parameters, *gradients]]
