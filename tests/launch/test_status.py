"""The table of runs."""

import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from launch.cli import main
from launch.status import COLUMNS, read_status

ROOT = Path(__file__).parents[2]


def make_run(folder: Path, summary: dict[str, Any] | None, note: dict[str, Any] | None = None) -> Path:
    (folder / "job").mkdir(parents=True)
    (folder / "job" / "config.yaml").touch()
    if summary is not None:
        (folder / "summary.json").write_text(json.dumps(summary))
    if note is not None:
        (folder / "job" / "spec.json").write_text(json.dumps(note))
    return folder


@pytest.mark.parametrize(
    ("summary", "note", "state", "message"),
    [
        ({"state": "finished"}, {"job": "1"}, "finished", ""),
        ({"state": "failed", "reason": "disk full"}, None, "failed", "disk full"),
        ({"state": "failed: OSError: no space"}, None, "failed", "OSError: no space"),
        ({"state": "preempted", "reason": "SIGUSR2"}, {"job": "1"}, "preempted", "SIGUSR2"),
        ({"state": "finished"}, {"job": "2"}, "running", "job 2"),
        ({"state": "preempted"}, {"job": "3_1"}, "queued", "job 3_1: Priority"),
        ({"state": "running"}, {"job": "1"}, "gone", "job 1 is not in the queue"),
        ({"state": "running"}, {"pid": 2**30, "host": platform.node()}, "gone", f"process {2**30} has ended"),
        ({"state": "running"}, {"pid": os.getpid(), "host": platform.node()}, "running", ""),
        ({"state": "running", "hosts": ["elsewhere"], "pid": 2**30}, None, "running", ""),
        (None, {"job": "1"}, "gone", "see "),
        (None, None, "new", ""),
    ],
)
def test_states(
    summary: dict[str, Any] | None, note: dict[str, Any] | None, state: str, message: str, tmp_path: Path
) -> None:
    jobs = {"2": ("RUNNING", "None"), "3_1": ("PENDING", "Priority")}
    status = read_status(make_run(tmp_path / "run", summary, note), jobs)
    assert status.state == state
    assert status.message.startswith(message)
    assert message or not status.message


def test_a_job_of_a_slurm_that_does_not_answer_may_be_at_work(tmp_path: Path) -> None:
    assert read_status(make_run(tmp_path / "a", {"state": "running"}, {"job": "1"}), None).is_busy
    assert read_status(make_run(tmp_path / "b", None, {"job": "1"}), None).is_busy
    assert read_status(make_run(tmp_path / "d", {"state": "preempted"}, {"job": "1"}), None).is_busy
    assert read_status(tmp_path / "a", None).message == "job 1: cannot see the queue"
    assert not read_status(make_run(tmp_path / "c", {"state": "failed"}, {"job": "1"}), None).is_busy


def test_a_refusal_counts_until_the_run_goes_on(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", {"state": "preempted"}, {"job": "1"})
    (run / "job" / "refused.txt").write_text("expected this,\ngot that\n")
    os.utime(run / "summary.json", (1, 1))
    assert read_status(run, {}).message == "expected this, got that"
    os.utime(run / "summary.json", (time.time() + 9,) * 2)
    assert read_status(run, {}).state == "preempted"


def test_a_run_that_is_silent_for_long_is_gone(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", {"state": "running"})
    os.utime(run / "summary.json", (time.time() - 7500,) * 2)
    assert (read_status(run, {}).state, read_status(run, {}).message) == ("gone", "silent for 2h 05m")


def test_table(tmp_path: Path, fake_slurm: Callable[..., Path], capsys: pytest.CaptureFixture[str]) -> None:
    fake_slurm(squeue="4|RUNNING|None")
    metrics = {"val/c3": 0.12345, "val/completion_trained": 0.5}
    make_run(tmp_path / "b", {"state": "running", "step": 50, "max_steps": 200, "metrics": metrics,
                              "puzzles_per_s": 123.4, "time_left_s": 95000}, {"job": "4"})  # fmt: skip
    make_run(tmp_path / "grid" / "a", {"state": "failed", "reason": "disk full", "step": 3, "max_steps": -1})
    (tmp_path / "grid" / "jobs" / "1" / "code").mkdir(parents=True)
    assert main(["status", str(tmp_path)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == list(COLUMNS)
    assert lines[1].split() == ["b", "running", "50/200", "0.123", "0.500", "123", "1d", "2h", "job", "4"]
    assert lines[2].split() == ["grid/a", "failed", "3", "disk", "full"]
    assert len(lines) == 3


@pytest.mark.usefixtures("no_slurm")
def test_the_table_is_renewed_with_what_runs_have_reached(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Until Ctrl-C; a run's scores grow, another appears, and text of a user's is no markup."""
    slept: list[float] = []

    def reach(seconds: float) -> None:
        slept.append(seconds)
        if len(slept) == 3:
            raise KeyboardInterrupt
        metrics = {"val/c3": 0.1 * len(slept), "val/completion": 0.25}
        make_run(tmp_path / "[red]b", {"state": "running", "step": 7, "metrics": metrics}) if len(slept) == 2 else None
        (tmp_path / "a" / "summary.json").write_text(json.dumps({"state": "running", "step": 5, "metrics": metrics}))

    make_run(tmp_path / "a", {"state": "running", "step": 1})
    monkeypatch.setattr("launch.live.time.sleep", reach)
    monkeypatch.setenv("COLUMNS", "120")
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm")
    assert main(["status", str(tmp_path), "--watch", "2"]) == 0
    shown = capsys.readouterr().out
    assert slept == [2.0, 2.0, 2.0]
    assert [score for score in ("0.100", "0.200", "0.250") if score in shown] == ["0.100", "0.200", "0.250"]
    assert "[red]b" in shown
    assert "2 running" in shown
    assert "\x1b[1A" in shown  # in place of what stood there


@pytest.mark.usefixtures("no_slurm")
def test_watching_what_is_not_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["status", str(tmp_path), "--watch"]) == 2
    make_run(tmp_path / "a", {"state": "running"})
    assert main(["status", str(tmp_path), "--watch", "0"]) == 2
    assert "expected --watch of 1 second or more, got 0." in capsys.readouterr().err


@pytest.mark.usefixtures("no_slurm")
def test_folders_without_runs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["status", str(tmp_path)]) == 2
    assert main(["status", str(tmp_path / "nowhere")]) == 2
    assert capsys.readouterr().err.count("genraven: error: expected") == 2


def test_a_hundred_runs_without_a_heavy_import(tmp_path: Path) -> None:
    for i in range(100):
        make_run(tmp_path / f"run{i}", {"state": "finished", "step": i, "max_steps": 100}, {"job": str(i)})
    code = (
        "import sys; from launch.cli import main; main(['status', sys.argv[1]])\n"
        "assert not {'torch', 'lightning', 'numpy'} & sys.modules.keys()"
    )
    command = [sys.executable, "-c", code, str(tmp_path)]
    shown = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    assert len(shown.splitlines()) == 101
