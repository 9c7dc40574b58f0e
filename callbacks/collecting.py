"""CollectBetweenSteps: Python's search for circles of dead objects, which stops all else, at chosen moments alone."""

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import lightning as L

from lightning_modules.lightning_internals import ends_step

EVERY = 50
"""Optimizer steps between two searches where nothing is logged."""


class CollectBetweenSteps(L.Callback):
    """Lets the garbage collector run after steps that are logged and after validations, and never inside of a step.

    What is there when training begins stays out of the search, so that one takes a moment, unless somebody else has
    frozen things already. How the collector worked before comes back when ``closing`` ends, however it ends.
    """

    def __init__(self) -> None:
        self._was_enabled: bool | None = None
        self._froze = False

    @contextmanager
    def closing(self) -> Iterator[None]:
        """All of ``fit`` belongs into the block."""
        try:
            yield
        finally:
            self._give_back()

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Freezes what is there and turns the collector off."""
        if self._was_enabled is not None:
            return
        self._was_enabled, self._froze = gc.isenabled(), gc.get_freeze_count() == 0
        if self._froze:
            gc.collect()
            gc.freeze()
        gc.disable()

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Searches after a logged step."""
        if ends_step(trainer, batch_idx, trainer.log_every_n_steps or EVERY):  # type: ignore[attr-defined]
            gc.collect(1)

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Searches everywhere after a validation."""
        if self._was_enabled is not None:
            gc.collect()

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Turns the collector on again."""
        self._give_back()

    def _give_back(self) -> None:
        if self._was_enabled is None:
            return
        if self._froze:
            gc.unfreeze()
        if self._was_enabled:
            gc.enable()
        self._was_enabled, self._froze = None, False
