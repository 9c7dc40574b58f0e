"""From a job's settings to the script that sbatch takes. Pure: nothing here talks to a scheduler or a disk."""

import re
import shlex
from pathlib import Path
from typing import Any

from genraven.escaping import visible
from genraven.run_folder import STEP_PATTERN, JobFiles, RunFiles
from launch.configs.plugins import plugin_options
from launch.schedulers.job import JobSpec
from launch.schedulers.scheduler import RANKS

NAME = "slurm"
"""Of this scheduler, in the names of logs."""


def _header(spec: JobSpec) -> dict[str, Any]:
    cluster, array = spec.cluster, spec.run_dir is None
    log = JobFiles(Path(str(spec.folder).replace("%", "%%"))).log(NAME, "%A_%a" if array else "%j")
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


def _escaped(value: Any) -> str:
    """As sbatch reads it whole: it splits lines at spaces, and heeds quotes, backslashes and comments."""
    return re.sub(r"([\\\s\"'#])", r"\\\1", str(value))


def _environment(spec: JobSpec) -> list[str]:
    lines = [*spec.cluster.setup]
    if spec.cluster.venv:
        lines.append(f"source {shlex.quote(spec.cluster.venv + '/bin/activate')}")
    return [*lines, f"export PYTHONPATH={shlex.quote(str(JobFiles(spec.folder).code))}${{PYTHONPATH:+:$PYTHONPATH}}"]


def _of_run() -> RunFiles:
    """The files of the run folder that the script calls ``$run_dir``."""
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
    lines = [f"#SBATCH --{name}={_escaped(value)}" for name, value in _header(spec).items() if value is not None]
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
    return MANY_RUNS.format(runs=shlex.quote(str(runs)), log=_of_run().job.log(NAME, "$job"))


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

# Environment. srun does not take --cpus-per-task from the job, so it is set; the port differs for each job and start.
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
