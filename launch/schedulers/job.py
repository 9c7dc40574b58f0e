"""What a job asks of a cluster, and what its script holds, whatever the scheduler. Pure: nothing is run or written."""

import re
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from genraven.errors import InputError, flag

SECONDS = {"d": 86400, "h": 3600, "m": 60, "s": 1}
OWNED = {  # sbatch options that the script's own logic depends on, or that have a setting
    *("account", "array", "constraint", "cpus-per-task", "error", "export", "gpus", "gpus-per-node", "gpus-per-task"),
    *("gres", "job-name", "mail-type", "mail-user", "mem", "no-requeue", "nodes", "ntasks", "ntasks-per-node"),
    *("open-mode", "output", "partition", "qos", "requeue", "signal", "time"),
}


def _setting(default: Any, text: str, *, of: str | None = None) -> Any:
    """A field with its help; one ``of`` a single scheduler is refused with the others."""
    return field(default=default, metadata={"help": text, "of": of})


@dataclass(frozen=True)
class Cluster:
    """What a job asks of a cluster. The help of each field is that of its flag."""

    nodes: int = _setting(1, "nodes of a run")
    gpus_per_node: int = _setting(1, "GPUs of each node, one process each; 0: a job without GPUs")
    tasks_per_node: int = _setting(1, "processes on each node of a job without GPUs")
    cpus_per_task: int = _setting(8, "CPU cores of each process")
    memory: str | None = _setting(None, "memory of each node, such as 64G")
    time: str | None = _setting(None, "time limit of one start, as SLURM writes it: 30, 12:00:00, 2-00:00:00")
    partition: str | None = _setting(None, "partition, or several: a,b; without it the cluster's default")
    account: str | None = _setting(None, "account to charge")
    qos: str | None = _setting(None, "quality of service")
    constraint: str | None = _setting(None, "features that a node must have, such as h100")
    mail: str | None = _setting(None, "address that hears of end, failure and requeue")
    setup: tuple[str, ...] = _setting((), "shell line before training, such as 'module load cuda'; may be repeated")
    venv: str | None = _setting(None, "virtual environment to activate; without it and --container: the current Python")
    container: str | None = _setting(None, "words before python that enter a container: 'apptainer exec --nv x.sif'")
    python: str | None = _setting(None, "Python to start; default: python of --venv or --container")
    sbatch: tuple[str, ...] = _setting((), "further #SBATCH option, such as --exclusive; may be repeated",
                                       of="slurm")  # fmt: skip
    srun: tuple[str, ...] = _setting((), "further option of srun; may be repeated", of="slurm")
    signal_lead_s: int = _setting(120, "seconds before the time limit at which a run saves and asks to be requeued")
    max_requeues: int = _setting(20, "requeues of a job at most")

    def __post_init__(self) -> None:
        """Refuses what no cluster can do."""
        least = {"gpus_per_node": 0, "max_requeues": 0}
        for item in fields(self):
            value = getattr(self, item.name)
            if isinstance(item.default, int) and value < least.get(item.name, 1):
                raise InputError(f"expected {flag(item.name)} to be {least.get(item.name, 1)} or more, got {value}.")
            for text in value if isinstance(value, tuple) else (value,):
                if isinstance(text, str) and not text.replace("\t", " ").isprintable():
                    raise InputError(f"expected one line for {flag(item.name)}, got {text!r}: give one value a line.")
        if self.gpus_per_node and self.tasks_per_node > 1:
            raise InputError("expected --tasks-per-node with --gpus-per-node 0, since each GPU has one process, got "
                             f"{self.tasks_per_node} beside {self.gpus_per_node} GPUs: leave it out, or set that "
                             "to 0.")  # fmt: skip
        if self.time_s is not None and self.time_s <= self.signal_lead_s:
            raise InputError(
                f"expected a time limit longer than the {self.signal_lead_s} s in which a run saves before its end, "
                f"got --time {self.time}: set a longer --time or a smaller --signal-lead-s."
            )
        for line in self.sbatch:
            named = re.match(r"--\w", line) is not None
            if not named or OWNED & set(re.findall(r"(?<!\S)--([\w-]+)", line)):
                reason = (
                    "has a setting of its own, or is the script's" if named else "does not begin with -- and a name"
                )
                raise InputError(f"expected further #SBATCH options, got {line!r}, which {reason}: leave it out.")

    def check_known_to(self, scheduler: str) -> None:
        """Raises InputError on a setting that has no effect with the ``scheduler`` of that name."""
        for item in fields(self):
            if item.metadata["of"] not in (None, scheduler) and getattr(self, item.name) != item.default:
                raise InputError(f"expected settings of {scheduler}, got {flag(item.name)}, which is of "
                                 f"{item.metadata['of']} alone: leave it out.")  # fmt: skip

    @property
    def processes_per_node(self) -> int:
        """One for each GPU, or as many as were asked for without GPUs."""
        return self.gpus_per_node or self.tasks_per_node

    @property
    def world_size(self) -> int:
        """Processes of a run."""
        return self.nodes * self.processes_per_node

    @property
    def time_s(self) -> int | None:
        """The time limit, where there is one."""
        return None if self.time is None else seconds(self.time)

    def trainer_options(self) -> dict[str, Any]:
        """Options of the trainer, which does not choose nodes and devices itself."""
        accelerator = "gpu" if self.gpus_per_node else "cpu"
        return {"num_nodes": self.nodes, "devices": self.processes_per_node, "accelerator": accelerator}


@dataclass(frozen=True)
class JobSpec:
    """All that stands in a job script."""

    cluster: Cluster
    name: str
    """Of the job, as the queue shows it."""
    folder: Path
    """Of the script and the frozen code."""
    python: str
    """What starts Python where neither ``venv`` nor ``container`` does."""
    run_dir: Path | None = None
    """The run; None for an array, whose runs stand in a list in ``folder``."""
    num_runs: int = 1
    max_parallel: int | None = None
    """Runs of an array at the same time."""
    plugins: tuple[str, ...] = ()
    """Modules that each process imports first."""

    def __post_init__(self) -> None:
        """Refuses a path that is more than one line, or no text: a script holds it, and a list of runs."""
        for path in filter(None, (self.folder, self.run_dir, self.python)):
            if not str(path).isprintable():
                raise InputError(f"expected a path of letters for a job, got {str(path)!r}: rename the folder.")
        if ":" in str(self.folder):  # else Python would import other code than the job's
            raise InputError(f"expected a folder without a colon for a job, got {self.folder}: PYTHONPATH ends there. "
                             "Choose another.")  # fmt: skip


def seconds(limit: str) -> int:
    """Of a time limit in one of SLURM's six forms: ``M``, ``M:S``, ``H:M:S``, ``D-H``, ``D-H:M``, ``D-H:M:S``."""
    match = re.fullmatch(r"(?:(\d+)-)?(\d+)(?::(\d+))?(?::(\d+))?", limit.strip())
    if match is None:
        raise InputError(f"expected a time limit such as 90 (minutes), 12:00:00 or 2-00:00:00, got {limit!r}.")
    days, parts = match[1], [int(part) for part in match.groups()[1:] if part is not None]
    units = "ms" if days is None and len(parts) < 3 else "hms"
    return int(days or 0) * SECONDS["d"] + sum(n * SECONDS[unit] for n, unit in zip(parts, units, strict=False))
