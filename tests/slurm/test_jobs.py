"""Jobs on a real SLURM: they train, they are refused, they survive. Tiny networks on CPUs, gloo between processes."""

import json
import re
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from launch.cli import main

pytestmark = [pytest.mark.slurm, pytest.mark.usefixtures("slurm", "one_thread")]

TINY = [
    *("-c", "model/gpt2_tiny.yaml", "-c", "data/demo.yaml", "-c", "trainer/cpu.yaml"),
    *("--model.network.width", "24", "--model.network.depth", "1", "--model.network.num_heads", "2"),
    *("--data.samples_per_rule", "40", "--data.global_batch_size", "8", "--data.eval_puzzles_per_rule", "2"),
    *("--trainer.enable_progress_bar", "false", "--trainer.enable_model_summary", "false"),
]
CPUS = ["--gpus-per-node", "0", "--cpus-per-task", "1"]
TIMEOUT_S = 240


@pytest.fixture
def one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")


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


def submit(run: Path, cluster: list[str], steps: int, *options: str) -> str:
    """Submits a run that validates once, when all is done; its job."""
    fit = ["fit", *TINY, "--trainer.max_steps", str(steps), "--trainer.val_check_interval", str(steps), *options]
    assert main(["submit", *CPUS, *cluster, "--", *fit, "--run_dir", str(run)]) == 0
    return job_of(run)


def ended(run: Path, job: str) -> str:
    """What the run said until it was over."""
    wait_for(lambda: not in_queue(job), lambda: log_of(run))
    return log_of(run)


def steps_saved(run: Path) -> int:
    names = [path.stem for path in (run / "checkpoints").glob("step-*.ckpt")]
    return max((int(re.sub(r"\D", "", name)) for name in names), default=0)


def newest(run: Path) -> Path:
    return max((run / "checkpoints").glob("step-*.ckpt"))


def test_two_nodes_and_four_processes(tmp_path: Path) -> None:
    run = tmp_path / "run"
    said = ended(run, submit(run, ["--nodes", "2", "--tasks-per-node", "2"], 20))
    assert said.rstrip().endswith("genraven: finished"), said
    assert "nodes n[1-2]" in said
    summary = summary_of(run)
    assert (summary["state"], summary["step"], summary["devices"]) == ("finished", 20, 4)
    assert summary["metrics"]["val_count/c3"] == 6


def test_a_sweep_completes_only_what_failed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One of four runs cannot write its data: it is refused, not requeued, and done when submitted again."""
    grid, out, blocked = tmp_path / "grid.yaml", tmp_path / "out", tmp_path / "blocked"
    blocked.touch()
    caches = [str(tmp_path / name) for name in ("a", "b", "c", "blocked")]
    base = " ".join([*TINY, "--trainer.max_steps", "10", "--trainer.val_check_interval", "10"])
    grid.write_text(json.dumps({"base": base, "axes": {"data.cache_dir": caches}}))
    sweep = ["sweep", str(grid), "--out", str(out), "--max-parallel", "2", *CPUS]
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


def test_a_signal_saves_and_requeues(tmp_path: Path) -> None:
    """Mid-epoch, on two nodes; it ends with the weights of a run that nothing disturbed, to the last bit."""
    steps, run, calm = 200, tmp_path / "run", tmp_path / "calm"
    job = submit(run, ["--nodes", "2"], steps, "--checkpoint_every_n_steps", "20")
    wait_for(lambda: steps_saved(run) >= 20, lambda: log_of(run))
    subprocess.run(["scancel", "--signal=USR1", job], check=True)
    said = ended(run, job)
    assert "requeued: 1 of at most" in said
    assert "exit code 75" in said or "exit code 143" in said  # of a process, or of one that srun ended after it
    assert said.rstrip().endswith("genraven: finished"), said
    summary = summary_of(run)
    assert (summary["state"], summary["step"], len(summary["restarts"])) == ("finished", steps, 1)
    assert 20 <= summary["restarts"][0]["step"] < steps
    assert ended(calm, submit(calm, ["--nodes", "2"], steps)).rstrip().endswith("genraven: finished")
    weights = [torch.load(newest(folder), weights_only=True)["state_dict"] for folder in (run, calm)]
    assert all(torch.equal(tensor, weights[1][name]) for name, tensor in weights[0].items())


def test_the_loss_of_a_node(tmp_path: Path) -> None:
    """SLURM itself requeues the job, and the run goes on from its newest checkpoint."""
    steps, run = 1500, tmp_path / "run"
    job = submit(run, ["--nodes", "2"], steps, "--checkpoint_every_n_steps", "50")
    wait_for(lambda: steps_saved(run) >= 50, lambda: log_of(run))
    # It is back after a second, as after a reboot, by ReturnToService.
    subprocess.run(["scontrol", "update", "nodename=n2", "state=down", "reason=test"], check=True)
    wait_for(lambda: "state=pending" in _state(job), lambda: _state(job) + log_of(run))
    saved = steps_saved(run)
    assert saved < steps
    said = ended(run, job)
    assert said.rstrip().endswith("genraven: finished"), said
    assert f"start 2, nodes n[1-2], newest checkpoint step-{saved:08}.ckpt" in said
    assert summary_of(run)["restarts"][0]["step"] == saved


def _state(job: str) -> str:
    shown = subprocess.run(["squeue", "-h", "-o", "state=%T reason=%r", "-j", job], capture_output=True, text=True)
    return shown.stdout.lower()
