"""The start of a run: a folder of its own, and one process that trains there."""

import errno
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from tiny import fit, steps

from genraven.errors import InputError
from genraven.locks import holder, locked
from genraven.run_folder import RunFiles
from launch.cli import main
from launch.runs.folder import STARTED, RunFolder, default_run_folder
from launch.runs.starting import LOST_MACHINE_S, PATIENCE_S, _patience_s, occupied

CONFIG: dict[str, Any] = {"model": {"init_args": {"network": {"class_path": "genraven.networks.dit.DiT"}}}}


def test_starts_of_one_second_have_folders_of_their_own(in_tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(STARTED, "20260101-000000")
    wanted = default_run_folder(CONFIG)
    with occupied(wanted, is_new=True) as first, occupied(wanted, is_new=True) as second:
        (first.path / "config.yaml").touch()
        (second.path / "config.yaml").touch()
    assert sorted(path.name for path in Path("runs").iterdir()) == ["dit-20260101-000000", "dit-20260101-000000-2"]


def test_an_empty_name_of_a_start_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(STARTED, "")
    assert default_run_folder(CONFIG).name != "dit-"


@pytest.mark.parametrize("is_new", [True, False])
def test_a_folder_that_was_made_in_vain_is_removed(is_new: bool, in_tmp_path: Path) -> None:
    def fail() -> None:
        with occupied(Path("deep/runs/a"), is_new=is_new):
            assert RunFiles(in_tmp_path / "deep" / "runs" / "a").lock.exists()
            raise InputError("no")

    with pytest.raises(InputError, match="no"):
        fail()
    assert list(in_tmp_path.iterdir()) == []


def test_a_folder_that_was_there_stays(in_tmp_path: Path) -> None:
    Path("a").mkdir()
    with pytest.raises(InputError), occupied(Path("a"), is_new=False):
        raise InputError("no")
    assert Path("a").is_dir()


def test_a_run_that_another_process_trains_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = tmp_path / "run"
    run.mkdir()
    with locked(RunFiles(run).lock, lambda note: 0, "job 7"):
        assert main(fit(run)) == 2
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("genraven: error:")]
    assert f"expected a run that nobody trains, got {run}, which job 7 on {os.uname().nodename} is training" in line
    assert sorted(path.name for path in run.iterdir()) == ["run.lock"]
    assert steps(run) == []


def test_a_requeued_job_does_not_wait_for_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its machine was lost with the lock, which a file server may keep for ever."""
    monkeypatch.setattr("launch.runs.starting.LOST_MACHINE_S", 0.0)
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    for start, before in (("1", "job 7"), ("2", "job 7"), ("2", "job 7, start 2")):
        monkeypatch.setenv("SLURM_RESTART_COUNT", start)
        with _locked_elsewhere(tmp_path, before), occupied(tmp_path, is_new=False) as run:
            assert run.path == tmp_path
            assert str(holder(RunFiles(tmp_path).lock)).endswith(f" job 7, start {int(start) + 1}")
    monkeypatch.setenv("SLURM_JOB_ID", "77")
    with (
        _locked_elsewhere(tmp_path, "job 7"),
        pytest.raises(InputError, match="job 7 on .* is training"),
        occupied(tmp_path, is_new=False),
    ):
        pass


@pytest.mark.parametrize(("start", "other"), [(None, "job 7"), ("1", "job 7, start 2"), ("1", "job 7, start 3")])
def test_steps_of_one_job_on_two_machines_do_not_train_one_run(
    start: str | None, other: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of the same start, or of a later one that has taken the run over."""
    monkeypatch.setattr("launch.runs.starting.LOST_MACHINE_S", 0.0)
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    if start is not None:
        monkeypatch.setenv("SLURM_RESTART_COUNT", start)
    with (
        _locked_elsewhere(tmp_path, other),
        pytest.raises(InputError, match=f"{other} on lost is training"),
        occupied(tmp_path, is_new=False),
    ):
        pass


@contextmanager
def _locked_elsewhere(run: Path, note: str) -> Iterator[None]:
    lock = RunFiles(run).lock
    with locked(lock, lambda note: 0):
        lock.write_text(f"lost {note}")
        yield


def test_two_processes_of_one_job_do_not_train_one_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On one machine; once the other is killed, the run is free, as for a job that is requeued there."""
    monkeypatch.setenv("SLURM_JOB_ID", "12")
    code = (
        "import sys, time, pathlib; from launch.runs.starting import occupied\n"
        "with occupied(pathlib.Path(sys.argv[1]), is_new=False): print('in', flush=True); time.sleep(600)"
    )
    command = [sys.executable, "-c", code, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[2]) as first:
        try:
            assert first.stdout is not None
            assert first.stdout.readline() == "in\n"
            with pytest.raises(InputError, match="job 12 on .* is training"), occupied(tmp_path, is_new=False):
                pass
        finally:
            first.kill()
    with occupied(tmp_path, is_new=False) as run:
        assert run.path == tmp_path


def test_a_lock_of_somebody_elses_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    look = os.open

    def refuse(path: Any, *more: Any, **named: Any) -> int:
        if str(path).endswith("run.lock"):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
        return look(path, *more, **named)

    monkeypatch.setattr(os, "open", refuse)
    with (
        pytest.raises(InputError, match=r"can be written, got .*/run.lock \(Permission denied\)"),
        occupied(tmp_path, is_new=False),
    ):
        pass


def test_another_machine_gets_time_to_be_missed() -> None:
    assert _patience_s(f"{os.uname().nodename} a process") == _patience_s("") == PATIENCE_S
    assert _patience_s("elsewhere a process") == LOST_MACHINE_S


@pytest.mark.parametrize("text", ["", "trainer: [", "[1, 2]", "\x00\x01", "trainer: null"])
def test_a_torn_config_is_passed_over(text: str, tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text(text)
    with pytest.warns(UserWarning, match=r"config\.yaml is incomplete"):
        assert RunFolder(tmp_path).config() == {}


def test_a_config_that_cannot_be_read_is_not_passed_over(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").mkdir()
    with pytest.raises(InputError, match=r"got .*config\.yaml \(Is a directory\)"):
        RunFolder(tmp_path).config()


def test_a_run_goes_on_past_a_torn_summary_and_a_torn_config(tmp_path: Path) -> None:
    run = tmp_path / "run"
    assert main(fit(run, "--trainer.max_steps", "8")) == 0
    (run / "summary.json").write_text("")
    (run / "config.yaml").write_text("trainer: [")
    assert main(fit(run, "--trainer.max_steps", "10")) == 0
    assert steps(run)[-1] == 10
    (run / "config.yaml").write_text("trainer: [")
    assert main(fit(run, "--trainer.max_steps", "12", "--data.seed", "5")) == 2  # the checkpoints say whose it is


def test_a_tilde_in_every_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After = and in the environment, where no shell expands it."""
    home, elsewhere = tmp_path / "home", tmp_path / "elsewhere"
    (home / "configs").mkdir(parents=True)
    elsewhere.mkdir()
    (home / "configs" / "more.yaml").write_text("trainer: {max_steps: 8}\ninit_from: ~/first\n")
    monkeypatch.chdir(elsewhere)
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("GENRAVEN_CACHE", "~/cache")
    short = ["--trainer.max_steps", "8"]
    assert main(["generate", "--rules=all", "--num=3", "--layout=published", "--out=~/rows.npy"]) == 0
    assert main(["generate", "--num=1", "--rules", "0", "--out=~/in.npy", "--picture=~/in.png"]) == 0
    assert main(fit(Path("x"), *short, "--run_dir=~/first")) == 0
    second = ["--data.source=~/rows.npy", "--data.samples_per_rule=3", "--data.cache_dir=~/cache2"]
    assert main(fit(Path("x"), *second, "--run_dir=~/second", "-c=~/configs/more.yaml")) == 0
    assert main(fit(Path("x"), *short, "--run_dir=~/third", "--ckpt_path=~/first")) == 0
    few = ["--puzzles-per-rule=1", "--batch-size=20"]
    assert main(["evaluate", "~/first", *few, "--out=~/scores.json"]) == 0
    assert main(["sample", "~/first", "--num=2", "--out=~/s.npy", "--picture=~/s.png"]) == 0
    assert main(["complete", "~/first", "~/in.npy", "--out=~/c.npy", "--picture=~/c.png"]) == 0
    assert main(["export", "~/first", "--out=~/exported"]) == 0
    assert main(["status", "~/"]) == 0
    assert main(["report", "~/", "--out=~/page.html"]) == 0
    assert list(elsewhere.iterdir()) == []
    names = {"rows.npy", "in.npy", "in.png", "first", "second", "third", "scores.json", "s.npy", "s.png", "c.npy",
             "c.png", "exported", "page.html", "cache", "cache2", "configs"}  # fmt: skip
    assert names <= {path.name for path in home.iterdir()}
    assert not [path for path in home.rglob("*") if "~" in path.name]


@pytest.mark.slow
@pytest.mark.usefixtures("at_once")
def test_two_starts_at_once_in_one_folder(tmp_path: Path) -> None:
    """As two terminals do it: one trains, the other is refused."""
    length = ["--trainer.max_steps", "100", "--trainer.val_check_interval", "100"]
    command = [sys.executable, "-m", "launch.cli", *fit(tmp_path / "run", *length)]
    processes = [subprocess.Popen(command, stderr=subprocess.PIPE, text=True, cwd=Path(__file__).parents[2])
                 for _ in range(2)]  # fmt: skip
    errors = [process.communicate(timeout=120)[1] for process in processes]
    assert sorted(process.returncode for process in processes) == [0, 2]
    (refused,) = [error for error in errors if "genraven: error:" in error]
    assert "expected a run that nobody trains" in refused
    assert steps(tmp_path / "run")[-1] == 100
