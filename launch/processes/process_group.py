"""The processes of one evaluation: started by ``genraven launch``, torchrun or a scheduler, and joined here."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from lightning.fabric.plugins.environments.cluster_environment import ClusterEnvironment

from genraven.console import say
from genraven.errors import InputError
from launch.errors import unwrapped_errors
from launch.processes.started_by import by_scheduler, check_nodes, has

T = TypeVar("T")


@dataclass(frozen=True)
class ProcessGroup:
    """This process among the others."""

    rank: int = 0
    size: int = 1
    local_rank: int = 0

    @classmethod
    def of_environment(cls) -> "ProcessGroup":
        """As torchrun and ``genraven launch`` say it, else as a scheduler does; alone where nobody started others."""
        names, by = ("RANK", "WORLD_SIZE", "LOCAL_RANK"), by_scheduler()
        if by:
            names = (by.place.rank, by.place.size, by.place.local_rank)
        return cls(*(int(os.environ[name]) for name in names)) if has(*names) else cls()

    def device(self, name: str) -> str:
        """``name``, or the GPU of this process where ``auto`` or ``cuda`` leaves the choice."""
        if self.size > 1 and name in ("auto", "cuda") and torch.cuda.is_available():
            return f"cuda:{self.local_rank % torch.cuda.device_count()}"
        return name

    def agreed(self, decide: Callable[[], T]) -> T:
        """What ``decide`` gives in the first process; the others only hear of it. A collective.

        Raises:
            Exception: see ``together``.
        """
        with self.together() as shared:
            if self.rank == 0:
                shared.append(decide())
        return shared[0]  # type: ignore[no-any-return]

    def gathered(self, mine: list[T]) -> list[T]:
        """The items of all processes, those of the first before those of the next. A collective."""
        with self.together() as shared:
            shared += mine
        return shared

    @contextmanager
    def together(self) -> Iterator[list[Any]]:
        """What one process raises within the block, all do at its end. A collective; in the block there is none.

        Yields:
            A list: of what this process puts into it, and after the block of what all have put, the first's first.

        Raises:
            Exception: this process's own; else an InputError where another's is one, and a RuntimeError of all else.
        """
        error: Exception | None = None
        shared: list[Any] = []
        try:
            yield shared
        except Exception as raised:
            error = raised
        mine = None if error is None else (isinstance(error, InputError), f"{type(error).__name__}: {error}")
        of_all: list[Any] = [(mine, [*shared])] * self.size
        try:
            if self.size > 1:
                dist.all_gather_object(of_all, of_all[0])
        finally:  # also where the others are lost, or not done in time
            if error is not None:
                raise error
        for rank, (failure, _) in enumerate(of_all):
            if failure is not None:
                is_input, text = failure
                message = text.removeprefix(f"{InputError.__name__}: ")
                raise InputError(message) if is_input else RuntimeError(f"process {rank} failed: {text}")
        shared[:] = [item for _, items in of_all for item in items]

    def say(self, text: str) -> None:
        """Prints, once for all processes."""
        if self.rank == 0:
            say(text)


def cluster_plugins(num_nodes: int) -> list[ClusterEnvironment]:
    """What the trainer of a run must know of what started its processes.

    Raises:
        InputError: they are not enough for ``num_nodes``, or not divided among them.
    """
    check_nodes(num_nodes)
    by = by_scheduler()
    with unwrapped_errors(RuntimeError):  # of a starter that knew too little
        return [by.environment()] if by else []


@contextmanager
def joined_processes() -> Iterator[ProcessGroup]:
    """All processes of this command, able to talk to each other.

    Raises:
        InputError: they do not find each other.
    """
    group = ProcessGroup.of_environment()
    if group.size == 1:
        yield group
        return
    if "MASTER_ADDR" not in os.environ and (by := by_scheduler()):  # which leaves it to its processes to agree
        environment = by.environment()
        os.environ |= {"MASTER_ADDR": environment.main_address, "MASTER_PORT": str(environment.main_port)}
    backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
    try:
        dist.init_process_group(backend, rank=group.rank, world_size=group.size)
    except (RuntimeError, ValueError) as error:  # torch.distributed's own errors are RuntimeErrors
        raise InputError(f"expected {group.size} processes that find each other, got none at "
                         f"{os.environ.get('MASTER_ADDR')}:{os.environ.get('MASTER_PORT')} "
                         f"({str(error).splitlines()[0]}): start all of them.") from None  # fmt: skip
    try:
        yield group
    finally:
        dist.destroy_process_group()
