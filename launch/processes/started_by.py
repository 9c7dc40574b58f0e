"""Who started this process: torchrun, ``genraven launch`` or a scheduler's starter with others beside it; or nobody.

What the environment says of it is believed when it is whole. What is left over, of an allocation without a starter or
of a shell, would make Lightning take this process for one of many: it is removed, before Lightning is imported.
"""

import os

from genraven.console import say
from genraven.errors import InputError
from launch.schedulers import known
from launch.schedulers.scheduler import BY_HAND, MASTER, RANKS, Scheduler

STARTED = ("LOCAL_RANK", *MASTER)  # what every starter says but those of schedulers


def tasks() -> tuple[str, ...]:
    """What starters of schedulers say of a process, and what is left of it in their jobs."""
    return tuple(name for each in known.SCHEDULERS for name in (*each.place.step, *each.place.leftovers))


def has(*names: str) -> bool:
    """Does the environment have all of ``names``?"""
    return all(name in os.environ for name in names)


def forget(*names: str) -> list[str]:
    """Removes ``names`` from the environment; those that were there, with their values."""
    return [f"{name}={os.environ.pop(name)}" for name in names if name in os.environ]


def settle_starter() -> None:
    """Leaves in the environment only what tells this process from those that were started with it."""
    by = by_scheduler()
    size = os.environ.get(by.place.size, "1") if by else "1"
    if size != "1" and (not has(*STARTED) or os.environ.get("WORLD_SIZE", size) == size):
        forget(*RANKS)
    elif has(*STARTED):
        forget(*tasks())
    else:
        forget(*tasks())
        if left := forget(*(name for name in RANKS if name != "NODE_RANK" or not has(*BY_HAND))):
            starters = ", ".join(each.starter for each in known.SCHEDULERS)
            say(f"genraven: ignored {', '.join(left)} of the environment, because neither {starters}, torchrun nor "
                "`genraven launch` started this process", error=True)  # fmt: skip


def by_scheduler() -> Scheduler | None:
    """After ``settle_starter``: the scheduler whose starter started this process, with others."""
    return next((each for each in known.SCHEDULERS if has(*each.place.step)), None)


def is_alone() -> bool:
    """After ``settle_starter``: did nobody start other processes with this one?"""
    return not has(*STARTED) and by_scheduler() is None


def check_nodes(num_nodes: int) -> None:
    """Forgets other machines where this one is enough.

    Raises:
        InputError: ``num_nodes`` machines would wait for each other for ever.
    """
    if not is_alone():
        return
    if num_nodes == 1:
        forget(*BY_HAND)
    elif not has(*BY_HAND):
        raise InputError(f"expected a process on each of {num_nodes} nodes, got this one alone: start them with "
                         f"{known.here().starter} or torchrun, use `genraven submit`, or set trainer.num_nodes to "
                         "1.")  # fmt: skip


def check_size(world_size: int) -> None:
    """Raises InputError unless as many processes were started as the trainer has devices."""
    by = by_scheduler()
    started = os.environ.get(by.place.size if by else "WORLD_SIZE")
    if not is_alone() and started not in (None, str(world_size)):
        names = f"{by.place.size} by {by.starter}" if by else "WORLD_SIZE"
        raise InputError(f"expected as many processes as trainer.num_nodes x trainer.devices, {world_size}, got "
                         f"{started} ({names}): start as many, with {known.here().starter} or `genraven "
                         "launch`.")  # fmt: skip
