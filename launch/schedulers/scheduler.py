"""What genraven asks of the scheduler of a cluster, for which a class with these parts is all that is needed.

Nothing else knows one. To add a scheduler, write the class and enter it in ``launch/schedulers/known.py``.

A job's script starts the processes of ``genraven fit``, which by this contract ask for what they need: some time before
the job's end they get one of ``genraven.signals.SIGNALS``, save, and end with the status ``REQUEUE``; then the script
has the job started again, unless the run gets no further. ``GENRAVEN_REFUSAL`` names the file where a process that is
refused leaves its reason: such a job is not started again.
"""

import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from launch.schedulers.job import Cluster, JobSpec

if TYPE_CHECKING:
    from lightning.fabric.plugins.environments.cluster_environment import ClusterEnvironment

MASTER = ("MASTER_ADDR", "MASTER_PORT")
RANKS = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "GROUP_RANK", "ROLE_RANK", "NODE_RANK")
"""What torchrun, and `genraven launch`, say of a process in its environment: no job may take it over."""
BY_HAND = (*MASTER, "NODE_RANK")  # one process on each of several nodes, which starts the others there
OF_ANY_JOB = re.compile(
    "TORCHELASTIC_|"
    "(CUDA_VISIBLE_DEVICES|ROCR_VISIBLE_DEVICES|ZE_AFFINITY_MASK|GPU_DEVICE_ORDINAL|GENRAVEN_STARTED|GENRAVEN_REFUSAL)$"
)
Jobs = dict[str, "QueuedJob"]
"""Jobs that are not over, by id; tasks of arrays one by one."""


def own_environment(of_scheduler: str) -> dict[str, str]:
    """The environment for a scheduler's commands, which hand it on to the job: without what an allocation, a step or a
    start of processes that this one is in says of itself.

    Args:
        of_scheduler: a regular expression of the beginning of the scheduler's own variables.
    """
    gone = {name for name in os.environ if OF_ANY_JOB.match(name) or re.match(of_scheduler, name)}
    return {name: value for name, value in os.environ.items() if name not in gone | {*BY_HAND, *RANKS}}


@dataclass(frozen=True)
class QueuedJob:
    """A job that is not over."""

    state: str
    """``pending`` before it starts, ``running``, ``completing`` at its end; any other word is shown as it is."""
    reason: str = ""
    """Why it is so, where the scheduler says it."""


@dataclass(frozen=True)
class Place:
    """The environment variables in which a scheduler's starter tells each process its place among the others."""

    rank: str
    size: str
    local_rank: str
    others: tuple[str, ...] = ()
    """Further ones that all such processes have."""
    leftovers: tuple[str, ...] = ()
    """Of a job, also without its starter: Lightning takes a process that has them for one of many."""

    @property
    def step(self) -> tuple[str, ...]:
        """All that a process has which was started with others."""
        return (*self.others, self.rank, self.local_rank, self.size)


class Scheduler(Protocol):
    """What a scheduler has to say of its jobs and processes."""

    name: str
    """The job's part of the names of logs."""
    starter: str
    """The command that starts the processes of a job."""
    place: Place

    def is_here(self) -> bool:
        """Can this machine submit to it?"""

    def own_job(self) -> str | None:
        """The id of the job that this process is in, as ``queue`` names it."""

    def own_start(self) -> int:
        """How many times that job was started before, such as on a machine that was lost."""

    def environment(self) -> "ClusterEnvironment":
        """For Lightning, in a process that the starter has started. It leaves signals and requeueing to us."""

    def check(self, cluster: Cluster, *, dry_run: bool) -> None:
        """Raises InputError where a job cannot be submitted from here, or can never start; a dry run needs no queue."""

    def script(self, spec: JobSpec) -> str:
        """The job's script. Pure."""

    def submit(self, script: Path) -> str:
        """Submits ``script``, in ``own_environment``; the job's id, to which ``_0``, ``_1`` and so on is added for the
        tasks of an array. An id is of ASCII letters, digits and ``_ . @ [ ] -``, 99 at most.
        """

    def queue(self, ids: Iterable[str]) -> Jobs | None:
        """Which of these jobs are not over; None on a machine that cannot see. Raises InputError without an answer."""

    def cancel(self, job: str) -> str:
        """The command that cancels ``job``, for a reader."""
