"""What the job script decides on a real SLURM, with a few lines of bash in the place of Python and training."""

import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from launch.schedulers.job import Cluster, JobSpec
from launch.schedulers.slurm import Slurm
from launch.schedulers.slurm_script import render_sbatch

pytestmark = [pytest.mark.slurm, pytest.mark.usefixtures("slurm")]
TIMEOUT_S = 240


class Job:
    """Two nodes, one process each, which run ``body``."""

    def __init__(self, folder: Path, body: str, **settings: Any) -> None:
        (folder / "job").mkdir(parents=True)
        python = folder / "python"
        python.write_text(f"#!/bin/bash\n{body}\n")
        python.chmod(0o755)
        cluster = Cluster(**{"nodes": 2, "gpus_per_node": 0, "cpus_per_task": 1} | settings)
        script = folder / "job.sbatch"
        script.write_text(render_sbatch(JobSpec(cluster, "test", folder / "job", str(python), folder)))
        self.id = Slurm().submit(script)
        self.path = folder / "job" / f"slurm-{self.id}.out"

    def wait_for(self, text: str) -> None:
        deadline = time.monotonic() + TIMEOUT_S
        while text not in (self.path.read_text() if self.path.exists() else ""):
            assert time.monotonic() < deadline
            time.sleep(0.2)

    def ended(self) -> str:
        """What it said until it was over."""
        deadline = time.monotonic() + TIMEOUT_S
        while self.id in (Slurm().queue([self.id]) or {}):
            assert time.monotonic() < deadline, self.path.read_text()
            time.sleep(0.2)
        return self.path.read_text()


def test_a_cancelled_job_stays_cancelled(tmp_path: Path) -> None:
    """Although its processes save and ask to be started again."""
    job = Job(tmp_path, "trap 'exit 75' TERM; echo at work; sleep 100 & wait")
    job.wait_for("at work")
    subprocess.run(["scancel", job.id], check=True)
    said = job.ended()
    assert "requeued:" not in said
    time.sleep(2)
    assert job.id not in (Slurm().queue([job.id]) or {})


def test_a_refusal_of_one_process_ends_the_job(tmp_path: Path) -> None:
    """The other hangs until srun kills it, and its exit code hides the 2 of the first."""
    refuse = 'if [ "$SLURM_PROCID" = 0 ]; then echo full >"$GENRAVEN_REFUSAL"; exit 2; fi; sleep 100'
    said = Job(tmp_path, refuse).ended()
    assert "stopped: not requeued" in said
    assert "start 2" not in said


def test_a_job_without_progress_is_requeued_once(tmp_path: Path) -> None:
    said = Job(tmp_path, "exit 75").ended()
    assert said.count("requeued: 1 of at most 20") == 1
    assert said.count("start 2,") == 1
    assert said.rstrip().endswith("stopped: no new checkpoint since the last requeue")


def test_a_signal_reaches_all_processes_and_no_shell(tmp_path: Path) -> None:
    """A new checkpoint each time: requeued, and done the second time."""
    body = """
        folder=${0%/*}/checkpoints
        mkdir -p "$folder"
        [ ! -e "$folder/step-00000010.ckpt" ] || exit 0
        trap 'echo process $SLURM_PROCID saves; touch "$folder/step-00000010.ckpt"; exit 75' USR2
        echo process $SLURM_PROCID at work
        for i in $(seq 100); do sleep 0.2; done"""
    job = Job(tmp_path, body)
    for rank in (0, 1):
        job.wait_for(f"process {rank} at work")
    subprocess.run(["scancel", "--signal=USR2", job.id], check=True)
    said = job.ended()
    assert "requeued: 1 of at most 20" in said
    assert "start 2, nodes n[1-2], newest checkpoint step-00000010.ckpt" in said
    assert said.rstrip().endswith("genraven: finished")


def test_a_preempted_job_goes_on_by_itself(tmp_path: Path) -> None:
    """Given time to leave, its processes save and the script has it requeued; given none, SLURM requeues it."""
    body = """
        folder=${0%/*}/checkpoints
        mkdir -p "$folder"
        [ "${SLURM_RESTART_COUNT:-0}" = 0 ] || exit 0
        trap 'touch "$folder/step-00000010.ckpt"; exit 75' TERM
        echo at work
        for i in $(seq 200); do sleep 0.2; done"""
    jobs = {name: Job(tmp_path / name, body, partition=name, cpus_per_task=3) for name in ("grace", "nograce")}
    for job in jobs.values():
        job.wait_for("at work")
    # Of the 8 cores of a node 7, so that both must go; the eighth may be that of warm.py, which stays.
    urgent = ["--wait", "--nodes=2", "--ntasks-per-node=7", "--output=/dev/null", "--wrap=true"]
    subprocess.run(["sbatch", *urgent], check=True, timeout=120)
    said = {name: job.ended() for name, job in jobs.items()}
    assert "exit code 75" in said["grace"]
    assert "requeued: 1 of at most 20" in said["grace"]
    assert "stopped by SLURM, which requeues after a preemption" in said["nograce"]
    for text in said.values():
        assert "start 2, nodes n[1-2], newest checkpoint step-00000010.ckpt" in text
        assert text.rstrip().endswith("genraven: finished")
