"""The layout of a run folder: what stands where, and which names in it are ours. Imports nothing heavy."""

import json
import re
from pathlib import Path
from typing import Any

SUMMARY, CONFIG, EVALUATION, PROBE = "summary.json", "config.yaml", "evaluation.json", "probe.json"
CALIBRATION = "calibration.json"
CURVE = "curve.csv"
LOCK = "run.lock"
CHECKPOINTS, BEST = "checkpoints", "best.ckpt"
TENSORBOARD, EXPORT = "tensorboard", "export"
JOB = "job"
"""Of a run that was submitted, or is of a sweep: its frozen config, script, note and logs."""
SCRIPT, SPEC = "job.sbatch", "spec.json"  # within it
COMMIT, DIFF, CODE = "commit.txt", "diff.patch", "code"  # what was frozen there, or once for a sweep
LOGS, LOCAL_LOG = "*.out", "local.out"
FROZEN, NOTE = f"{JOB}/{CONFIG}", f"{JOB}/{SPEC}"
REFUSAL = f"{JOB}/refused.txt"
"""Where a process that is refused leaves its reason."""
SWEEP_STARTS, RUN_LIST = "jobs", "runs.txt"
"""In the folder of a sweep, where a folder stands for each start of it; and there, the runs that it started."""
STEP = re.compile(r"step-(\d{8,})\.ckpt")
STEP_NAMES = "step-########.ckpt"  # for a reader


def slurm_log(job: str) -> str:
    """The file name of the log of a SLURM job."""
    return f"slurm-{job}.out"


def step_name(step: int) -> str:
    """The file name of the checkpoint of ``step``."""
    return f"step-{step:08d}.ckpt"


def step_of(path: Path) -> int | None:
    """The step of a checkpoint by its name; None for any other file, such as a copy that somebody keeps."""
    match = STEP.fullmatch(path.name)
    return int(match[1]) if match and step_name(int(match[1])) == path.name else None


def step_checkpoints(folder: Path) -> dict[int, Path]:
    """The checkpoints in ``folder`` that a run wrote as it went, by step, the newest first."""
    found = {step: path for path in folder.glob("step-*.ckpt") if (step := step_of(path)) is not None}
    return dict(sorted(found.items(), reverse=True))


def is_run(folder: Path) -> bool:
    """Is ``folder`` that of a run, started or not?"""
    return (folder / SUMMARY).exists() or (folder / FROZEN).exists() or (folder / CHECKPOINTS).is_dir()


def home(checkpoint: Path) -> Path:
    """The run folder of a checkpoint; where it stands in none, as exported weights do, its own folder."""
    folder = checkpoint.absolute().parent
    return folder.parent if folder.name == CHECKPOINTS else folder


def read_json(path: Path) -> dict[str, Any]:
    """The object in ``path``; empty where there is none that can be read."""
    try:
        found = json.loads(path.read_text())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
