"""The schedulers that there are, and which of them is meant."""

from collections.abc import Iterable

from genraven.console import say
from genraven.errors import InputError
from launch.schedulers.job import Cluster
from launch.schedulers.scheduler import Jobs, Scheduler
from launch.schedulers.slurm import Slurm

SCHEDULERS: list[Scheduler] = [Slurm()]
"""Another is added by an entry here."""


def here() -> Scheduler:
    """That of this machine; where there is none, the first, which says what it lacks."""
    return next((known for known in SCHEDULERS if known.is_here()), SCHEDULERS[0])


def checked(cluster: Cluster, *, dry_run: bool) -> Scheduler:
    """That of this machine, which can run a job that asks for ``cluster``; a dry run needs no queue.

    Raises:
        InputError: it cannot, or has no such setting.
    """
    scheduler = here()
    cluster.check_known_to(scheduler.name)
    scheduler.check(cluster, dry_run=dry_run)
    return scheduler


def own_job() -> str | None:
    """The id of the job that this process is in, with the task's within an array."""
    return next((job for known in SCHEDULERS if (job := known.own_job())), None)


def own_start() -> int:
    """How many times that job was started before."""
    return next((known.own_start() for known in SCHEDULERS if known.own_job()), 0)


def queue_if_up(ids: Iterable[str]) -> Jobs | None:
    """Which of these jobs are in the queue; None, after saying so, when the scheduler does not answer."""
    try:
        return here().queue(ids)
    except InputError as error:
        say(f"genraven: jobs not checked: {error}", error=True)
        return None
