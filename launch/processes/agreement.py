"""What the first process of a training decides for all of them, and what all must have decided alike."""

from collections.abc import Callable
from typing import TypeVar

import lightning as L
import torch.distributed as dist

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


def check_same(trainer: L.Trainer, option: str, value: str) -> None:
    """Refuses processes that have chosen unlike values by themselves. A collective, after ``agreed``.

    Raises:
        InputError: in all processes: they hold more than one value of ``option``.
    """
    values = [value] * trainer.world_size
    if trainer.world_size > 1:
        dist.all_gather_object(values, value)
    if len({*values}) > 1:
        raise InputError(f"expected one {option} in all processes, got {', '.join(values)}, in the order of their "
                         f"ranks: their devices are unlike, so give {option}.")  # fmt: skip
