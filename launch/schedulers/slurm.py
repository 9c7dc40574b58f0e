"""SLURM: its environment variables, and what is asked of its commands."""

import os
import re
import shutil
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from genraven.console import say
from genraven.errors import InputError
from launch.schedulers.job import Cluster, JobSpec, seconds
from launch.schedulers.scheduler import Jobs, Place, QueuedJob, own_environment
from launch.schedulers.slurm_script import NAME, render_sbatch

if TYPE_CHECKING:
    from lightning.fabric.plugins.environments.cluster_environment import ClusterEnvironment

TIMEOUT_S = 30
OF_A_JOB = r"SLURM_(?!(CONF|CONF_SERVER|CLUSTERS|JWT)$)|(SBATCH|SRUN|SALLOC|SQUEUE|SINFO|PMIX?)_"
"""Variables from which SLURM's commands take options that beat those in a job script; not those of the cluster."""
JOB_ID = re.compile(r"(\d+)(_\d+)?")
NO_REASON = "None"  # as squeue writes it


class Slurm:
    """The scheduler SLURM."""

    name = NAME
    starter = "srun"
    place = Place(
        "SLURM_PROCID", "SLURM_STEP_NUM_TASKS", "SLURM_LOCALID", others=("SLURM_STEP_ID",),
        leftovers=("SLURM_NTASKS", "SLURM_NTASKS_PER_NODE"),
    )  # fmt: skip

    def is_here(self) -> bool:
        """Is sbatch on the PATH?"""
        return shutil.which("sbatch") is not None

    def own_job(self) -> str | None:
        """Its number, with the task's within an array."""
        array, task = os.environ.get("SLURM_ARRAY_JOB_ID"), os.environ.get("SLURM_ARRAY_TASK_ID")
        return f"{array}_{task}" if array and task else os.environ.get("SLURM_JOB_ID")

    def own_start(self) -> int:
        """Each requeue is one more."""
        return int(os.environ.get("SLURM_RESTART_COUNT") or 0)

    def environment(self) -> "ClusterEnvironment":
        """Lightning's, whose own requeueing hangs: see RunGuard."""
        from lightning.fabric.plugins.environments.slurm import SLURMEnvironment

        return SLURMEnvironment(auto_requeue=False)

    def check(self, cluster: Cluster, *, dry_run: bool) -> None:
        """Holds ``cluster`` against the partitions that sinfo shows, where there is one."""
        if not dry_run:
            require_sbatch()
        elif shutil.which("sinfo") is None:
            return
        try:
            groups = node_groups()
        except InputError as error:
            if not dry_run:
                raise
            say(f"genraven: cluster not checked: {error}", error=True)
            return
        check_cluster(cluster, groups)

    def script(self, spec: JobSpec) -> str:
        """What sbatch takes."""
        return render_sbatch(spec)

    def submit(self, script: Path) -> str:
        """Submits ``script``, which says all that the job asks for."""
        if options := sorted(name for name in os.environ if name.startswith("SBATCH_")):
            say(f"genraven: did not pass {', '.join(options)} of the environment to the job: `genraven submit --help` "
                "lists the options for them", error=True)  # fmt: skip
        return _run("sbatch", "--parsable", str(script)).strip().split(";")[0]

    def queue(self, ids: Iterable[str]) -> Jobs | None:
        """As squeue shows them; tasks of arrays as 12_3."""
        asked = sorted({match[1] for job in ids if (match := JOB_ID.fullmatch(job))})
        if not asked:
            return {}
        if shutil.which("squeue") is None:
            return None
        try:
            shown = _run("squeue", "--noheader", "--array", f"--jobs={','.join(asked)}", "--format=%i|%T|%r")
        except InputError as error:
            if "Invalid job id" in str(error):  # what squeue says of a single job that is long over
                return {}
            raise
        rows = (line.strip().split("|", 2) for line in shown.splitlines() if line.strip())
        return {job: QueuedJob(state.lower(), "" if why == NO_REASON else why) for job, state, why in rows}

    def cancel(self, job: str) -> str:
        """Cancels the job with scancel."""
        return f"scancel {job}"


@dataclass(frozen=True)
class NodeGroup:
    """Nodes of one partition that are alike."""

    partition: str
    is_default: bool
    time_limit: str
    gpus: int
    nodes: int


def _run(*command: str) -> str:
    """What a command of SLURM prints; InputError with its complaint when it fails."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_S, env=own_environment(OF_A_JOB))
    except subprocess.TimeoutExpired:
        raise InputError(f"expected {command[0]} to answer within {TIMEOUT_S} s, got nothing: is SLURM up?") from None
    if done.returncode:
        complaint = " ".join((done.stderr or done.stdout).split()) or f"exit status {done.returncode}"
        raise InputError(f"expected {command[0]} to accept the request, got: {complaint}")
    return done.stdout


def require_sbatch() -> None:
    """Raises InputError on a machine that cannot submit."""
    if shutil.which("sbatch") is None:
        raise InputError(
            "expected sbatch on the PATH, got none: run this on a login node of a SLURM cluster, or train here with "
            "`genraven fit`, `genraven launch` or `genraven sweep --local 1`."
        )


def node_groups() -> list[NodeGroup]:
    """All partitions, as sinfo shows them."""
    groups = []
    for line in _run("sinfo", "--noheader", "--format=%P|%l|%G|%D").splitlines():
        name, limit, resources, nodes = line.strip().split("|")
        gpus = sum(int(n) for n in re.findall(r"\bgpu(?::[^:(),]+)*?:(\d+)(?=[(,]|$)", resources))
        groups.append(NodeGroup(name.rstrip("*"), name.endswith("*"), limit, gpus, int(nodes)))
    return groups


def check_cluster(cluster: Cluster, groups: list[NodeGroup]) -> None:
    """Raises InputError when the nodes of a partition that was asked for cannot hold the job."""
    for name in cluster.partition.split(",") if cluster.partition else [None]:
        _check_partition(cluster, name, groups)


def _check_partition(cluster: Cluster, name: str | None, groups: list[NodeGroup]) -> None:
    mine = [group for group in groups if (group.partition == name if name is not None else group.is_default)]
    if not mine:
        known = ", ".join(sorted({group.partition for group in groups})) or "none"
        got = "none, and this cluster has no default" if name is None else name or "an empty name"
        raise InputError(f"expected --partition to be one of {known}; got {got}.")
    most = max(group.gpus for group in mine)
    if cluster.gpus_per_node > most:
        raise InputError(
            f"expected at most {most} GPUs per node in partition {mine[0].partition}, got --gpus-per-node "
            f"{cluster.gpus_per_node}: ask for fewer, or for more --nodes."
        )
    able = sum(group.nodes for group in mine if group.gpus >= cluster.gpus_per_node)
    if cluster.nodes > able:
        raise InputError(
            f"expected at most {able} nodes with {cluster.gpus_per_node} GPUs in partition {mine[0].partition}, got "
            f"--nodes {cluster.nodes}: ask for fewer."
        )
    limit = mine[0].time_limit
    if cluster.time and re.fullmatch(r"[\d:-]+", limit) and seconds(cluster.time) > seconds(limit):
        raise InputError(
            f"expected a time within the limit {limit} of partition {mine[0].partition}, got --time {cluster.time}: "
            "ask for less; a run that is not done by then is requeued and goes on."
        )
