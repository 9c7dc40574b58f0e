"""What the first process of a training decides for all of them."""

from collections.abc import Callable
from typing import TypeVar

import lightning as L

from genraven.errors import InputError
from lightning_modules.lightning_internals import others_wait, start_processes

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
            if not others_wait(trainer):
                raise
    start_processes(trainer)
    told = None if error is None else (isinstance(error, InputError), str(error))
    decision, told = trainer.strategy.broadcast((decision, told))
    if told is not None:
        is_input, message = told
        raise error or (InputError(message) if is_input else RuntimeError(f"the first process failed: {message}"))
    return decision  # type: ignore[return-value]
