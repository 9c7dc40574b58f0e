"""What is asked of the jobs of tests."""

import json
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

CPUS = ["--gpus-per-node", "0", "--cpus-per-task", "1"]
TIMEOUT_S = 480


def wait_for(condition: Callable[[], bool], what: Callable[[], str]) -> None:
    deadline = time.monotonic() + TIMEOUT_S
    while not condition():
        assert time.monotonic() < deadline, what()
        time.sleep(0.5)


def log_of(run: Path) -> str:
    return "".join(path.read_text() for path in sorted((run / "job").glob("slurm-*.out")))


def job_of(run: Path) -> str:
    return str(json.loads((run / "job" / "spec.json").read_text())["job"])


def in_queue(job: str) -> bool:
    shown = subprocess.run(["squeue", "-h", "-r", "-o", "%i", "-j", job], capture_output=True, text=True).stdout
    return bool(shown.strip())


def summary_of(run: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((run / "summary.json").read_text())
    return found


def ended(run: Path, job: str) -> str:
    """What the run said until it was over."""
    wait_for(lambda: not in_queue(job), lambda: log_of(run))
    return log_of(run)
