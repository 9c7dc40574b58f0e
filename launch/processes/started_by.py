"""Who started this process: torchrun, ``genraven launch`` or srun with others beside it; or it is alone.

What the environment says of it is believed when it is whole. What is left over, of an allocation without srun or of a
shell, would make Lightning take this process for one of many: it is removed, before Lightning is imported.
"""

import os

from genraven.console import say
from genraven.errors import InputError

MASTER = ("MASTER_ADDR", "MASTER_PORT")
STARTED = ("LOCAL_RANK", *MASTER)  # what every starter but srun says
STEP = ("SLURM_STEP_ID", "SLURM_PROCID", "SLURM_LOCALID", "SLURM_STEP_NUM_TASKS")  # what srun says
RANKS = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "GROUP_RANK", "ROLE_RANK", "NODE_RANK")
TASKS = (*STEP, "SLURM_NTASKS", "SLURM_NTASKS_PER_NODE")
BY_HAND = (*MASTER, "NODE_RANK")  # one process on each of several nodes, which starts the others there


def has(*names: str) -> bool:
    """Does the environment have all of ``names``?"""
    return all(name in os.environ for name in names)


def forget(*names: str) -> list[str]:
    """Removes ``names`` from the environment; those that were there, with their values."""
    return [f"{name}={os.environ.pop(name)}" for name in names if name in os.environ]


def settle_starter() -> None:
    """Leaves in the environment only what tells this process from those that were started with it."""
    tasks = os.environ.get("SLURM_STEP_NUM_TASKS", "1") if has(*STEP) else "1"
    if tasks != "1" and (not has(*STARTED) or os.environ.get("WORLD_SIZE", tasks) == tasks):
        forget(*RANKS)
    elif has(*STARTED):
        forget(*TASKS)
    else:
        forget(*TASKS)
        if left := forget(*(name for name in RANKS if name != "NODE_RANK" or not has(*BY_HAND))):
            say(f"genraven: {', '.join(left)} of the environment ignored: neither srun, torchrun nor `genraven "
                "launch` started this process", error=True)  # fmt: skip


def is_alone() -> bool:
    """After ``settle_starter``: did nobody start other processes with this one?"""
    return not has(*STARTED) and not has(*STEP)


def by_srun() -> bool:
    """After ``settle_starter``: did srun start this process, with others?"""
    return has(*STEP)


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
        raise InputError(f"expected a process on each of {num_nodes} nodes, got this one alone: start them with srun "
                         "or torchrun, use `genraven submit`, or set trainer.num_nodes to 1.")  # fmt: skip


def check_size(world_size: int) -> None:
    """Raises InputError unless as many processes were started as the trainer has devices."""
    started = os.environ.get("SLURM_STEP_NUM_TASKS" if by_srun() else "WORLD_SIZE")
    if not is_alone() and started not in (None, str(world_size)):
        names = "SLURM_STEP_NUM_TASKS by srun" if by_srun() else "WORLD_SIZE"
        raise InputError(f"expected as many processes as trainer.num_nodes x trainer.devices, {world_size}, got "
                         f"{started} ({names}): start as many, with srun or `genraven launch`.")  # fmt: skip
