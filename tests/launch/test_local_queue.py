"""Runs of a sweep on this machine: what happens to one of them is no matter of the others'."""

import shutil
import sys
from pathlib import Path

import pytest

from genraven.locks import locked
from genraven.run_folder import RunFiles
from launch.jobs.local_queue import run_queue
from launch.runs.status import RunStatus, read_status

RUN = """
import json, shutil, sys
from pathlib import Path
run = Path(sys.argv[-1])
if run.name == "removes":
    shutil.rmtree(run.with_name("removed"))
if run.name == "late":
    (run / "job" / "refused.txt").write_text("expected a run that nobody trains")
    sys.exit(2)
(run / "summary.json").write_text(json.dumps({"state": "finished"}))
"""


def make(out: Path, *names: str) -> list[Path]:
    folders = [out / name for name in names]
    for folder in folders:
        RunFiles(folder).job.config.parent.mkdir(parents=True)
        RunFiles(folder).job.config.touch()
    return folders


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs that train nothing."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    monkeypatch.setattr("launch.jobs.local_queue.command", lambda code: [sys.executable, "-c", RUN])


def test_a_folder_that_is_removed_while_it_waits_fails_alone(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folders = make(tmp_path, "removes", "removed", "last")
    assert run_queue(folders, tmp_path, 1) == 1
    assert capsys.readouterr().out.splitlines() == [
        "1/3 removes: finished",
        f"2/3 removed: not started: {tmp_path / 'removed/job/local.out'} (No such file or directory)",
        "3/3 last: finished",
    ]


def test_what_another_sweep_trains_is_left_to_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that was begun before its turn came, and one whose folder is taken while our process starts."""
    folders = make(tmp_path, "busy", "late", "last")
    looks: list[Path] = []

    def look(folder: Path, jobs: dict[str, tuple[str, str]]) -> RunStatus:
        looks.append(folder)
        if folder.name == "late" and looks.count(folder) == 1:
            return RunStatus("new", {})
        return read_status(folder, jobs)

    monkeypatch.setattr("launch.jobs.local_queue.read_status", look)
    with locked(RunFiles(folders[0]).lock, lambda note: 0), locked(RunFiles(folders[1]).lock, lambda note: 0):
        assert run_queue(folders, tmp_path, 1) == 0
    said = capsys.readouterr().out.splitlines()
    assert said == ["1/3 busy: at work elsewhere", "2/3 late: at work elsewhere", "3/3 last: finished"]
    assert not RunFiles(folders[1]).job.refusal.exists()


def test_a_folder_that_cannot_be_read_is_not_at_work_elsewhere(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder,) = make(tmp_path, "one")
    shutil.rmtree(folder)
    monkeypatch.setattr("launch.jobs.local_queue.read_status", lambda folder, jobs: RunStatus("unknown", {}))
    assert run_queue([folder], tmp_path, 1) == 1
    assert "1/1 one: not started: " in capsys.readouterr().out


def test_a_folder_without_room_for_a_note_trains_all_the_same(tmp_path: Path) -> None:
    (folder,) = make(tmp_path, "one")
    (folder / "job" / "spec.json").mkdir()
    assert run_queue([folder], tmp_path, 1) == 0
    assert (folder / "summary.json").exists()
    shutil.rmtree(folder)
