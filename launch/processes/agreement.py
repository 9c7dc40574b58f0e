"""What the first process of a training decides for all of them."""

from collections.abc import Callable
from typing import TypeVar

import lightning as L
from lightning.pytorch.strategies.launchers import _SubprocessScriptLauncher

from genraven.errors import InputError

T = TypeVar("T")


def agreed(trainer: L.Trainer, decide: Callable[[], T]) -> T:
    """What ``decide`` gives in the first process; the others only hear of it. A collective.

    Processes that Lightning would start in ``fit`` are started, and all of them connected, with the first decision.

    Raises:
        Exception: what ``decide`` raises; in the other processes an InputError stays one, and all else is a
            RuntimeError.
    """
    decision: T | None = None
    error: Exception | None = None
    if trainer.is_global_zero:
        try:
            decision = decide()
        except Exception as raised:
            error = raised
            if not _others_wait(trainer):
                raise
    _connect(trainer)
    told = None if error is None else (isinstance(error, InputError), str(error))
    decision, told = trainer.strategy.broadcast((decision, told))
    if told is not None:
        is_input, message = told
        raise error or (InputError(message) if is_input else RuntimeError(f"the first process failed: {message}"))
    return decision  # type: ignore[return-value]


def _others_wait(trainer: L.Trainer) -> bool:
    """Are there other processes, which would not hear of an error that ends this one?"""
    launcher = trainer.strategy.launcher
    return isinstance(launcher, _SubprocessScriptLauncher) and launcher.cluster_environment.creates_processes_externally


def _connect(trainer: L.Trainer) -> None:
    """Lightning does the same in ``fit``, once more, and then finds it done."""
    launcher = trainer.strategy.launcher
    if isinstance(launcher, _SubprocessScriptLauncher):
        launcher.launch(trainer.strategy.setup_environment, trainer=trainer)
