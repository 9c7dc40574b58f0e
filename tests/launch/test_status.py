"""The table of runs."""

import errno
import json
import os
import pathlib
import platform
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import rich

from genraven.locks import locked
from genraven.process import process_note
from genraven.run_folder import RunFiles
from launch.cli import main
from launch.runs.folder import RunFolder
from launch.runs.status import STARTING_S, columns, named_runs, read_status
from launch.schedulers.scheduler import QueuedJob

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
    jobs = {"2": QueuedJob("running"), "3_1": QueuedJob("pending", "Priority")}
    status = read_status(make_run(tmp_path / "run", summary, note), jobs)
    assert status.state == state
    assert status.message.startswith(message)
    assert message or not status.message


def test_a_job_of_a_slurm_that_does_not_answer_may_be_at_work(tmp_path: Path) -> None:
    assert read_status(make_run(tmp_path / "a", {"state": "running"}, {"job": "1"}), None).state == "unknown"
    assert read_status(make_run(tmp_path / "b", None, {"job": "1"}), None).state == "unknown"
    assert read_status(make_run(tmp_path / "d", {"state": "preempted"}, {"job": "1"}), None).state == "unknown"
    assert read_status(tmp_path / "a", None).message == "job 1: cannot see the queue"
    assert not read_status(make_run(tmp_path / "c", {"state": "failed"}, {"job": "1"}), None).is_busy


@pytest.mark.parametrize("content", ["", "{", "[1]"])
def test_a_run_whose_summary_is_broken_says_so(content: str, tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", {"state": "finished"})
    RunFiles(run).summary.write_text(content)
    found = read_status(run, None)
    assert (found.state, found.message) == ("gone", "summary.json is broken: the command that trained the run goes on")


def test_a_refusal_counts_until_the_run_goes_on(tmp_path: Path) -> None:
    """Whatever the times of the files, which a copy does not keep."""
    run = make_run(tmp_path / "run", {"state": "preempted"}, {"job": "1"})
    (run / "job" / "refused.txt").write_text("expected this,\ngot that\n")
    for seconds in (1, time.time() + 9):
        os.utime(run / "summary.json", (seconds, seconds))
        assert (read_status(run, {}).state, read_status(run, {}).message) == ("failed", "expected this, got that")
    RunFolder(run).claim({})
    assert read_status(run, {}).state == "preempted"
    shutil.copytree(run, tmp_path / "copy")
    assert read_status(tmp_path / "copy", {}).state == "preempted"


def test_a_finished_run_whose_next_start_was_refused_is_finished(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", {"state": "finished"}, {"job": "1"})
    (run / "job" / "refused.txt").write_text("expected this, got that")
    assert (read_status(run, {}).state, read_status(run, {}).message) == ("finished", "expected this, got that")


def test_a_number_of_a_process_that_was_given_again_is_no_run(tmp_path: Path) -> None:
    other = process_note(os.getpid()) | {"began": "1 before"}
    for name, summary, note in (("a", {"state": "running", "process": other}, None), ("b", None, other)):
        status = read_status(make_run(tmp_path / name, summary, note), {})
        assert (status.state, status.is_busy) == ("gone", False)


def test_a_run_whose_process_has_not_come_to_its_folder_yet_is_starting(tmp_path: Path) -> None:
    """Also where an earlier start left its word; but not once this one has had its say."""
    mine = process_note(os.getpid())
    for name, summary in (
        ("a", None),
        ("b", {"state": "preempted"}),
        ("c", {"state": "failed", "process": {"pid": 1}}),
    ):
        status = read_status(make_run(tmp_path / name, summary, mine), {})
        assert (status.state, status.is_busy) == ("starting", True)
    ended = make_run(tmp_path / "d", {"state": "finished", "process": mine}, {"job": None, **mine})
    assert read_status(ended, {}).state == "finished"


def test_a_copy_of_a_run_at_work_is_not_at_work(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", {"state": "running", "process": process_note(os.getpid())})
    with locked(RunFiles(run).lock, lambda note: 0):
        shutil.copytree(run, tmp_path / "copy")
        assert read_status(run, {}).state == "running"
        assert read_status(tmp_path / "copy", {}).state == "gone"


def test_a_copy_of_a_run_of_another_machine_is_as_old_as_it_says(tmp_path: Path) -> None:
    now = datetime.now(UTC)
    for name, minutes, state in (("a", 1, "running"), ("b", 125, "gone")):
        updated = (now - timedelta(minutes=minutes)).isoformat(timespec="seconds")
        elsewhere = {"host": "elsewhere", "pid": 7, "began": "1 x"}
        run = make_run(tmp_path / name, {"state": "running", "process": elsewhere, "updated": updated})
        assert read_status(run, {}).state == state
    assert read_status(run, {}).message.startswith("silent for 2h 05m")


def test_a_run_that_another_machine_was_just_told_to_train_is_starting(tmp_path: Path) -> None:
    note = RunFiles(tmp_path).job.note
    note.parent.mkdir()
    RunFiles(tmp_path).job.config.write_text("{}")
    note.write_text(json.dumps({"host": "node7", "pid": 12, "began": "3 boot"}))
    assert (read_status(tmp_path, {}).state, read_status(tmp_path, {}).is_busy) == ("starting", True)
    os.utime(note, (0, time.time() - STARTING_S))
    assert read_status(tmp_path, {}).state == "gone"


def test_a_run_that_is_silent_for_long_is_gone(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", {"state": "running"})
    os.utime(run / "summary.json", (time.time() - 7500,) * 2)
    assert (read_status(run, {}).state, read_status(run, {}).message) == ("gone", "silent for 2h 05m")


def test_table(tmp_path: Path, fake_slurm: Callable[..., Path], capsys: pytest.CaptureFixture[str]) -> None:
    fake_slurm(squeue="4|RUNNING|None")
    metrics = {"val/c3": 0.12345, "val/completion_trained": 0.5}
    make_run(tmp_path / "b", {"state": "running", "step": 50, "max_steps": 200, "metrics": metrics,
                              "puzzles_per_s": 123.4, "time_left_s": 95000}, {"job": "4"})  # fmt: skip
    make_run(tmp_path / "grid" / "a", {"state": "failed", "reason": "disk full", "step": 3, "max_steps": -1,
                                       "prior": "general", "network": "relationalar"})  # fmt: skip
    make_run(tmp_path / "grid" / "old", {"state": "finished", "step": 3, "network": "relationalar"})
    (tmp_path / "grid" / "jobs" / "1" / "code").mkdir(parents=True)
    assert main(["status", str(tmp_path)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == " ".join(columns()).split()
    assert lines[1].split() == ["b", "running", "50/200", "0.500", "0.123", "123", "1d", "2h", "job", "4"]
    assert lines[2].split() == ["grid/a", "failed", "general", "3", "disk", "full"]
    assert lines[3].split() == ["grid/old", "finished", "structured", "3"]
    assert len(lines) == 4


@pytest.mark.usefixtures("no_slurm")
def test_the_table_is_renewed_with_what_runs_have_reached(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Until Ctrl-C; a run's scores grow, another appears, and text of a user's is no markup."""
    rich.reconfigure()  # what others print to was made before this terminal was known
    slept: list[float] = []

    def reach(seconds: float) -> None:
        slept.append(seconds)
        if len(slept) == 3:
            raise KeyboardInterrupt
        metrics = {"val/c3": 0.1 * len(slept), "val/completion": 0.25}
        make_run(tmp_path / "[red]b", {"state": "running", "step": 7, "metrics": metrics}) if len(slept) == 2 else None
        (tmp_path / "a" / "summary.json").write_text(json.dumps({"state": "running", "step": 5, "metrics": metrics}))

    make_run(tmp_path / "a", {"state": "running", "step": 1})
    monkeypatch.setattr("launch.runs.live.time.sleep", reach)
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
def test_where_nothing_can_be_drawn_anew_the_table_is_printed_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    slept: list[float] = []

    def reach(seconds: float) -> None:
        slept.append(seconds)
        if len(slept) == 2:
            raise KeyboardInterrupt
        (tmp_path / "a" / "summary.json").write_text(json.dumps({"state": "running", "step": 5}))

    make_run(tmp_path / "a", {"state": "running", "step": 1})
    monkeypatch.setattr("launch.runs.live.time.sleep", reach)
    monkeypatch.delenv("FORCE_COLOR", raising=False)
    assert main(["status", str(tmp_path), "--watch", "2"]) == 0
    shown = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert shown == [shown[0], ["a", "running", "1"], shown[0], ["a", "running", "5"]]


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


def test_a_run_that_was_copied_without_its_summary_is_not_new(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """One that lacks its checkpoints as well is no run, and is named."""
    run = make_run(tmp_path / "a", None)
    assert read_status(run, {}).state == "new"
    (run / "curve.csv").touch()
    status = read_status(run, {})
    assert (status.state, status.message) == (
        "gone", "summary.json is missing: the command that trained the run writes it anew"
    )  # fmt: skip
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "evaluation.json").touch()
    assert list(named_runs(tmp_path)) == ["a"]
    said = capsys.readouterr().err
    assert f"{tmp_path / 'b'} passed over: it has files of a run, but no summary.json and no checkpoints" in said


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


def test_a_link_to_a_run_does_not_count_it_twice(tmp_path: Path) -> None:
    """Whatever the name of the link; one that leads out of the folder counts."""
    make_run(tmp_path / "runs" / "b", {"state": "finished"})
    elsewhere = make_run(tmp_path / "scratch" / "c", {"state": "finished"})
    for link, target in {"a": "b", "latest": "b", "c": elsewhere, "c2": elsewhere, "again": "."}.items():
        (tmp_path / "runs" / link).symlink_to(target)
    (tmp_path / "runs" / "nowhere").symlink_to("missing")
    assert list(named_runs(tmp_path / "runs")) == ["b", "c"]
    assert list(named_runs(tmp_path / "runs" / "latest")) == ["b"]


def test_a_folder_that_cannot_be_read_is_passed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    make_run(tmp_path / "good", {"state": "finished", "step": 3})
    make_run(tmp_path / "secret", {"state": "finished"})
    (tmp_path / "private").mkdir()
    scan, look = os.scandir, os.stat

    def guarded(call: Callable[..., Any], name: str) -> Callable[..., Any]:
        def guard(path: Any, *more: Any, **named: Any) -> Any:
            if f"/{name}" in str(path) and str(path) != str(tmp_path / "secret"):
                raise PermissionError(errno.EACCES, "Permission denied", str(path))
            return call(path, *more, **named)

        return guard

    for module in (os, pathlib.os):  # type: ignore[attr-defined]
        monkeypatch.setattr(module, "scandir", guarded(scan, "private"))
        monkeypatch.setattr(module, "stat", guarded(look, "secret"))
    monkeypatch.setattr(os, "listdir", guarded(os.listdir, "private"))
    assert main(["status", str(tmp_path)]) == 0
    shown = capsys.readouterr()
    assert [line.split()[:3] for line in shown.out.splitlines()[1:]] == [["good", "finished", "3"]]
    for name in ("private", "secret"):
        assert f"genraven: {tmp_path / name} passed over: Permission denied" in shown.err


def test_a_run_whose_files_cannot_be_read_is_unknown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*arguments: Any) -> Any:
        raise OSError(errno.ESTALE, os.strerror(errno.ESTALE))

    monkeypatch.setattr("launch.runs.status._refusal", fail)
    status = read_status(make_run(tmp_path / "run", {"state": "finished"}), {})
    assert (status.state, status.message) == ("unknown", "cannot be read: Stale file handle")


def test_a_run_that_holds_its_lock_is_running(tmp_path: Path) -> None:
    """Whatever its summary says, which an earlier start may have written."""
    run = make_run(tmp_path / "run", {"state": "preempted", "reason": "signal SIGTERM"})
    with locked(run / "run.lock", lambda note: 0, "a process"):
        status = read_status(run, {})
    assert (status.state, status.message) == ("running", f"started by a process on {os.uname().nodename}")
    assert read_status(run, {}).state == "preempted"


def test_what_stopped_by_its_own_options_is_not_at_work(tmp_path: Path) -> None:
    cut = make_run(tmp_path / "a", {"state": "stopped", "reason": "trainer.max_time is over: step 3 of 9"})
    status = read_status(cut, {})
    assert (status.message, status.is_busy, status.is_done) == ("trainer.max_time is over: step 3 of 9", False, False)
    collapsed = read_status(make_run(tmp_path / "b", {"state": "stopped", "stopped": "collapse: x"}), {})
    assert collapsed.is_done
