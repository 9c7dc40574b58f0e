"""Jobs on a real SLURM: they train, they are refused, they survive. Tiny networks on CPUs, gloo between processes."""

import json
import subprocess
from pathlib import Path

import pytest
from jobs import CPUS, ended, in_queue, job_of, log_of, summary_of, wait_for
from tiny import steps

from launch.cli import main

pytestmark = [pytest.mark.slurm, pytest.mark.usefixtures("slurm")]

TINY = [
    *("-c", "model/gpt2_tiny.yaml", "-c", "data/demo.yaml", "-c", "trainer/cpu.yaml"),
    *("--model.network.width", "24", "--model.network.depth", "1", "--model.network.num_heads", "2"),
    *("--data.samples_per_rule", "40", "--data.global_batch_size", "8", "--data.eval_puzzles_per_rule", "2"),
    *("--trainer.enable_progress_bar", "false", "--trainer.enable_model_summary", "false"),
]


def submit(run: Path, cluster: list[str], max_steps: int, *options: str) -> str:
    """Submits a run that validates once, when all is done; its job."""
    length = ["--trainer.max_steps", str(max_steps), "--trainer.val_check_interval", str(max_steps)]
    fit = ["fit", *TINY, *length, *options, "--run_dir", str(run)]
    assert main(["submit", *CPUS, *cluster, "--", *fit]) == 0
    return job_of(run)


def newest_step(run: Path) -> int:
    return max(steps(run), default=0)


def test_two_nodes_and_four_processes(tmp_path: Path) -> None:
    run = tmp_path / "run"
    said = ended(run, submit(run, ["--nodes", "2", "--tasks-per-node", "2"], 20))
    assert said.rstrip().endswith("genraven: finished"), said
    assert "nodes n[1-2]" in said
    summary = summary_of(run)
    assert (summary["state"], summary["step"], summary["devices"]) == ("finished", 20, 4)
    assert summary["metrics"]["val_count/c3"] == 6


def test_a_sweep_completes_only_what_failed(
    warm_python: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """One of four runs cannot write its data: it is refused, not requeued, and done when submitted again."""
    grid, out, blocked = tmp_path / "grid.yaml", tmp_path / "out", tmp_path / "blocked"
    blocked.touch()
    caches = [str(tmp_path / name) for name in ("a", "b", "c", "blocked")]
    base = " ".join([*TINY, "--trainer.max_steps", "10", "--trainer.val_check_interval", "10"])
    grid.write_text(json.dumps({"base": base, "axes": {"data.cache_dir": caches}}))
    sweep = ["sweep", str(grid), "--out", str(out), "--max-parallel", "2", "--python", warm_python, *CPUS]
    assert main(sweep) == 0
    runs = sorted(path.parents[1] for path in out.glob("*/job/config.yaml"))
    array = job_of(runs[0]).split("_")[0]
    wait_for(lambda: not in_queue(array), lambda: "".join(map(log_of, runs)))
    failed = next(run for run in runs if run.name.endswith("blocked"))
    assert [run for run in runs if not log_of(run).rstrip().endswith("genraven: finished")] == [failed]
    assert "not requeued" in log_of(failed)
    before = {run: summary_of(run) for run in runs if run != failed}
    blocked.unlink()
    capsys.readouterr()
    assert main(sweep) == 0
    assert "3 done or at work, 1 to start" in capsys.readouterr().out
    ended(failed, job_of(failed).split("_")[0])
    assert summary_of(failed)["state"] == "finished"
    assert {run: summary_of(run) for run in before} == before


def test_the_loss_of_a_node(tmp_path: Path) -> None:
    """SLURM itself requeues the job, and the run goes on from its newest checkpoint."""
    max_steps, run = 1500, tmp_path / "run"
    job = submit(run, ["--nodes", "2"], max_steps, "--checkpoint_every_n_steps", "50")
    wait_for(lambda: newest_step(run) >= 50, lambda: log_of(run))
    # It is back after a second, as after a reboot, by ReturnToService.
    subprocess.run(["scontrol", "update", "nodename=n2", "state=down", "reason=test"], check=True)
    wait_for(lambda: "state=pending" in _state(job), lambda: _state(job) + log_of(run))
    saved = newest_step(run)
    assert saved < max_steps
    said = ended(run, job)
    assert said.rstrip().endswith("genraven: finished"), said
    assert f"start 2, nodes n[1-2], newest checkpoint step-{saved:08}.ckpt" in said
    assert summary_of(run)["restarts"][0]["step"] == saved


def _state(job: str) -> str:
    shown = subprocess.run(["squeue", "-h", "-o", "state=%T reason=%r", "-j", job], capture_output=True, text=True)
    return shown.stdout.lower()
