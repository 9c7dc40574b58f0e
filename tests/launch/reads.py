"""Counts the calls of a training that would wait for a GPU, or copy to one; on a CPU they cost nothing."""

import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar

import lightning as L
import pytest
import torch
from torch import Tensor

READS = ("item", "__bool__", "__float__", "__int__", "__index__", "tolist")
FIRST, LAST = 5, 15


class Watch(L.Callback):
    """Counts from one step on until another begins."""

    is_on: ClassVar = False
    steps: ClassVar[list[int]] = []

    def on_train_batch_start(
        self, trainer: L.Trainer, pl_module: L.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Begins and ends."""
        Watch.is_on = FIRST <= trainer.global_step < LAST
        Watch.steps += [trainer.global_step] * Watch.is_on


@contextmanager
def counted(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """What is read or copied while ``Watch`` is on, each with the lines that led to it."""
    found: list[str] = []

    def note(what: str) -> None:
        if Watch.is_on:
            frames = [f"{Path(frame.filename).name}:{frame.lineno}" for frame in traceback.extract_stack()[:-2]]
            found.append(f"{what} < {' < '.join(frames[:-6:-1])}")

    def counting(name: str) -> Any:
        old = getattr(Tensor, name)

        def read(self: Tensor, *args: Any, **kwargs: Any) -> Any:
            note(name)
            return old(self, *args, **kwargs)

        return read

    make = torch.tensor

    def tensor(*args: Any, device: Any = None, **kwargs: Any) -> Tensor:
        if device is not None:
            note("torch.tensor")
        return make(*args, device=device, **kwargs)

    with monkeypatch.context() as patched:
        for name in READS:
            patched.setattr(Tensor, name, counting(name))
        patched.setattr(torch, "tensor", tensor)
        yield found
