"""What the first process of a training decides for all of them, and what all must have decided alike."""

from collections.abc import Callable
from typing import TypeVar

import lightning as L

from genraven.errors import InputError
from launch.processes.process_group import ProcessGroup
from lightning_modules.lightning_internals import others_wait, start_processes

T = TypeVar("T")


def group_of(trainer: L.Trainer) -> ProcessGroup:
    """The processes of ``trainer``, once they are started."""
    return ProcessGroup(trainer.global_rank, trainer.world_size)


def agreed(trainer: L.Trainer, decide: Callable[[], T]) -> T:
    """What ``decide`` gives in the first process; the others only hear of it. A collective.

    Processes that Lightning would start in ``fit`` are started, and all of them connected, with the first decision.

    Raises:
        Exception: see ``ProcessGroup.together``.
    """
    error: Exception | None = None
    if trainer.is_global_zero:
        try:
            decision = decide()
        except Exception as raised:
            if not others_wait(trainer):
                raise
            error = raised
    start_processes(trainer)

    def tell() -> T:
        if error is not None:
            raise error
        return decision

    return group_of(trainer).agreed(tell)


def check_same(trainer: L.Trainer, option: str, value: str) -> None:
    """Refuses processes that have chosen unlike values by themselves. A collective, after ``agreed``.

    Raises:
        InputError: in all processes: they hold more than one value of ``option``.
    """
    values = group_of(trainer).gathered([value])
    if len({*values}) > 1:
        raise InputError(f"expected one {option} in all processes, got {', '.join(values)}, in the order of their "
                         f"ranks: their devices are unlike, so give {option}.")  # fmt: skip
