"""From a job's settings to the script that sbatch takes. Pure: nothing here talks to a scheduler or a disk."""

import re
import shlex
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from genraven.errors import InputError
from genraven.escaping import visible
from genraven.run_folder import STEP_PATTERN, JobFiles, RunFiles
from launch.configs.plugins import plugin_options
from launch.processes.started_by import RANKS

SECONDS = {"d": 86400, "h": 3600, "m": 60, "s": 1}
OWNED = {  # sbatch options that the script's own logic depends on, or that have a setting
    *("account", "array", "constraint", "cpus-per-task", "error", "export", "gpus", "gpus-per-node", "gpus-per-task"),
    *("gres", "job-name", "mail-type", "mail-user", "mem", "no-requeue", "nodes", "ntasks", "ntasks-per-node"),
    *("open-mode", "output", "partition", "qos", "requeue", "signal", "time"),
}


LOG = "slurm"  # how the files that jobs print to are called


def _setting(default: Any, text: str) -> Any:
    return field(default=default, metadata={"help": text})


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
    sbatch: tuple[str, ...] = _setting((), "further #SBATCH option, such as --exclusive; may be repeated")
    srun: tuple[str, ...] = _setting((), "further option of srun; may be repeated")
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
        """What the trainer must be told: it has no say of its own in nodes and devices."""
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


def flag(name: str) -> str:
    """The command-line flag of a setting."""
    return "--" + name.replace("_", "-")


def seconds(limit: str) -> int:
    """Of a time limit in one of SLURM's six forms: ``M``, ``M:S``, ``H:M:S``, ``D-H``, ``D-H:M``, ``D-H:M:S``."""
    match = re.fullmatch(r"(?:(\d+)-)?(\d+)(?::(\d+))?(?::(\d+))?", limit.strip())
    if match is None:
        raise InputError(f"expected a time limit such as 90 (minutes), 12:00:00 or 2-00:00:00, got {limit!r}.")
    days, parts = match[1], [int(part) for part in match.groups()[1:] if part is not None]
    units = "ms" if days is None and len(parts) < 3 else "hms"
    return int(days or 0) * SECONDS["d"] + sum(n * SECONDS[unit] for n, unit in zip(parts, units, strict=False))


def _header(spec: JobSpec) -> dict[str, Any]:
    cluster, array = spec.cluster, spec.run_dir is None
    escaped = re.sub(r"([\\\s\"'#])", r"\\\1", str(spec.folder).replace("%", "%%"))
    log = JobFiles(Path(escaped)).log(LOG, "%A_%a" if array else "%j")
    return {
        "job-name": re.sub(r"[^\w.+-]", "_", f"genraven-{spec.name}"),
        "output": log,
        "open-mode": "append",
        "array": f"0-{spec.num_runs - 1}" + (f"%{spec.max_parallel}" if spec.max_parallel else "") if array else None,
        "nodes": cluster.nodes,
        "ntasks-per-node": cluster.processes_per_node,
        "gpus-per-node": cluster.gpus_per_node or None,
        "cpus-per-task": cluster.cpus_per_task,
        "mem": cluster.memory,
        "time": cluster.time,
        "partition": cluster.partition,
        "account": cluster.account,
        "qos": cluster.qos,
        "constraint": cluster.constraint,
        "mail-user": cluster.mail,
        "mail-type": cluster.mail and "END,FAIL,REQUEUE",
        "signal": f"USR2@{cluster.signal_lead_s}",
    }


def _environment(spec: JobSpec) -> list[str]:
    lines = [*spec.cluster.setup]
    if spec.cluster.venv:
        lines.append(f"source {shlex.quote(spec.cluster.venv + '/bin/activate')}")
    return [*lines, f"export PYTHONPATH={shlex.quote(str(JobFiles(spec.folder).code))}${{PYTHONPATH:+:$PYTHONPATH}}"]


def _of_run() -> RunFiles:
    """As the script says it."""
    return RunFiles(Path("$run_dir"))


def _step(spec: JobSpec) -> str:
    """The srun command. -P keeps the working directory, which may hold newer code, off Python's path."""
    cluster = spec.cluster
    inside = cluster.venv or cluster.container
    python = cluster.python or ("python" if inside else spec.python)
    words = ["srun --kill-on-bad-exit=1", *(shlex.quote(word) for word in cluster.srun)]
    words += [cluster.container] if cluster.container else []
    words += [shlex.quote(python), "-P -m genraven fit", *map(shlex.quote, plugin_options(spec.plugins))]
    return f'{" ".join(words)} \\\n    -c "{_of_run().job.config}" --run_dir "$run_dir" || code=$?'


def render_sbatch(spec: JobSpec) -> str:
    """The job script, plain bash."""
    cluster, of_run = spec.cluster, _of_run()
    what = f"{cluster.nodes} node(s) with {cluster.processes_per_node} process(es) each"
    lines = [f"#SBATCH --{name}={value}" for name, value in _header(spec).items() if value is not None]
    lines += ["#SBATCH --requeue", *(f"#SBATCH {line}" for line in cluster.sbatch)]
    return TEMPLATE.format(
        title=visible(f"{spec.name}: {what}"),
        header="\n".join(lines),
        run=_run(spec),
        max_requeues=cluster.max_requeues,
        checkpoints=of_run.checkpoints,
        steps=STEP_PATTERN,
        refusal=of_run.job.refusal,
        leftovers=" ".join(("MASTER_ADDR", *RANKS)),
        environment="\n".join(_environment(spec)),
        step=_step(spec),
    )


def _run(spec: JobSpec) -> str:
    if spec.run_dir:
        return ONE_RUN.format(run_dir=shlex.quote(str(spec.run_dir)))
    runs = JobFiles(spec.folder).run_list
    return MANY_RUNS.format(runs=shlex.quote(str(runs)), log=_of_run().job.log(LOG, "$job"))


ONE_RUN = """run_dir={run_dir}
job=$SLURM_JOB_ID"""

MANY_RUNS = """# Task n of the array is line n + 1 of this list of run folders; each run keeps its own output.
mapfile -t runs <{runs}
run_dir=${{runs[SLURM_ARRAY_TASK_ID]}}
job=${{SLURM_ARRAY_JOB_ID}}_$SLURM_ARRAY_TASK_ID
exec >>"{log}" 2>&1"""

TEMPLATE = """#!/bin/bash
# {title}. Written by genraven: to change it, submit again.
{header}

{run}
max_requeues={max_requeues}
restarts=${{SLURM_RESTART_COUNT:-0}}

say() {{ echo "$(date '+%F %T') genraven: $*"; }}
newest() {{
    find "{checkpoints}" -regex '.*/{steps}' -printf '%f\\n' 2>/dev/null | sort | tail -n 1
}}
trap 'say "stopped: this line failed: $BASH_COMMAND"' ERR
set -e

before=$(newest)
say "job $job, start $((restarts + 1)), nodes $SLURM_JOB_NODELIST, newest checkpoint ${{before:-none}}"
# SLURM requeues by itself when a node is lost, and this script has no say then: it can only not go on.
if ((restarts > max_requeues)); then
    say "stopped: requeued $restarts times, of $max_requeues allowed"
    exit 1
fi

# Environment. srun does not take --cpus-per-task from the job, so it is told; the port differs for each job and start.
# What is left of another start in the shell that submitted would win over what this job's srun says.
unset {leftovers}
{environment}
export SRUN_CPUS_PER_TASK=$SLURM_CPUS_PER_TASK
export OMP_NUM_THREADS=${{OMP_NUM_THREADS:-$SLURM_CPUS_PER_TASK}}
export MASTER_PORT=$((15000 + (SLURM_JOB_ID * 10 + restarts) % 10000))
# A process that is refused leaves its reason here: its exit code 2 is lost when srun then kills the others.
export GENRAVEN_REFUSAL={refusal}
rm -f "$GENRAVEN_REFUSAL"

# This shell gets TERM, too, when SLURM ends the job by itself, and heeds it when srun has ended. A preemption with time
# to leave sends it to the processes only: they save, and the job is requeued below, since SLURM then does not.
trap 'say "stopped by SLURM, which requeues after a preemption, not after scancel or the time limit"; exit 143' TERM

code=0
{step}

after=$(newest)
if ((code == 0)); then
    say "finished"
    exit 0
fi
if ((code == 2)) || [ -e "$GENRAVEN_REFUSAL" ]; then
    say "stopped: not requeued, for a restart would end the same way"
    exit 2
fi
say "exit code $code (75 means saved, start again), newest checkpoint ${{after:-none}}"
if ((restarts >= max_requeues)); then
    say "stopped: requeued $restarts times, of $max_requeues allowed"
    exit "$code"
fi
if ((restarts > 0)) && [ "$after" = "$before" ]; then
    say "stopped: no new checkpoint since the last requeue"
    exit "$code"
fi
say "requeued: $((restarts + 1)) of at most $max_requeues"
scontrol requeue "$job"
exit "$code"
"""
