"""NoReads: finds the callback that waits for the device in each step."""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import lightning as L
import torch
from lightning.pytorch.profilers import Profiler
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from genraven.errors import InputError
from lightning_modules.base import PuzzleModule

LOOKED_AT = 4
"""Steps that neither log nor validate: who reads in all of them reads in each."""
WAITING = ("aten._local_scalar_dense", "aten.equal", "aten.nonzero", "aten.is_nonzero")
"""What gives the host a number of the device, or a shape that hangs on one."""


class Reads(TorchDispatchMode):
    """Counts the operations in its block that wait for a device.

    Args:
        device: whose tensors are looked at.
    """

    def __init__(self, device: torch.device) -> None:
        super().__init__()
        self.device, self.num = device, 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        name, out = str(func).rpartition(".")[0], func(*args, **kwargs)
        here = any(isinstance(leaf, Tensor) and leaf.device == self.device for leaf in tree_leaves((args, kwargs)))
        leaves = any(isinstance(leaf, Tensor) and leaf.device.type == "cpu" for leaf in tree_leaves(out))
        self.num += here and (name in WAITING or (leaves and self.device.type != "cpu"))
        return out


class NoReads(L.Callback):
    """Raises InputError on a callback that reads from the device in each step: the host could never run ahead.

    It looks at the hooks of the first steps that neither log nor validate, by way of the trainer's profiler, which
    knows when each begins and ends, and is the trainer's own again afterwards.
    """

    def __init__(self) -> None:
        self._looks: _Looking | None = None

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Begins to look."""
        if isinstance(pl_module, PuzzleModule):
            self._looks = _Looking(trainer.profiler, pl_module)  # type: ignore[attr-defined]
            trainer.profiler = self._looks  # type: ignore[attr-defined]

    def on_train_batch_start(
        self, trainer: L.Trainer, pl_module: L.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Ends where enough was seen; tells the steps to look at from others."""
        if self._looks is None or not isinstance(pl_module, PuzzleModule):
            return
        self._looks.next_step(is_quiet=not pl_module.is_reported)
        if self._looks.num_seen > LOOKED_AT:
            guilty = self._looks.guilty()
            self._end(trainer)
            if guilty:
                raise InputError("expected callbacks that read from the device in logged steps only with --compile "
                                 f"graph, got {guilty}, which reads in each step: leave it out, or use --compile "
                                 "network.")  # fmt: skip

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Ends with the training."""
        self._end(trainer)

    def _end(self, trainer: L.Trainer) -> None:
        if self._looks is not None:
            trainer.profiler = self._looks.own  # type: ignore[attr-defined]
            self._looks = None


class _Looking(Profiler):
    """Hands every action on to the trainer's own profiler, and looks into the hooks of callbacks.

    Args:
        own: of the trainer.
        module: that is trained.
    """

    def __init__(self, own: Profiler, module: PuzzleModule) -> None:
        super().__init__()
        self.own, self.module = own, module
        self.num_seen, self._is_quiet = 0, False
        self._steps: Counter[str] = Counter()
        self._reading: set[str] = set()

    def next_step(self, *, is_quiet: bool) -> None:
        """A step begins, in which nobody has reason to read where it is quiet."""
        self._steps.update(self._reading)
        self._reading.clear()
        self._is_quiet = is_quiet
        self.num_seen += is_quiet

    def guilty(self) -> str | None:
        """The callback that has read in all steps that were looked at and have ended."""
        return next((name for name, steps in self._steps.items() if steps >= LOOKED_AT), None)

    def start(self, action_name: str) -> None:
        """Starts the action in the trainer's own profiler."""
        self.own.start(action_name)

    def stop(self, action_name: str) -> None:
        """Stops the action in the trainer's own profiler."""
        self.own.stop(action_name)

    def describe(self) -> None:
        """Describes what the trainer's own profiler has found."""
        self.own.describe()

    def teardown(self, stage: str | None) -> None:
        """Tears the trainer's own profiler down."""
        self.own.teardown(stage)

    @contextmanager
    def profile(self, action_name: str) -> Iterator[str]:  # type: ignore[override]
        """Looks into the hook of a callback."""
        with self.own.profile(action_name):
            if not (self._is_quiet and action_name.startswith("[Callback]")):
                yield action_name
                return
            with Reads(self.module.device) as reads:
                yield action_name
        if reads.num:
            self._reading.add(action_name.removeprefix("[Callback]").rpartition(".")[0].partition("{")[0])
