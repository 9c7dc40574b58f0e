"""How far the runs of a sweep are, in a table on a terminal and in lines elsewhere."""

import json
import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from screens import Terminal

from genraven.progress import part
from genraven.run_folder import RunFiles
from launch.jobs import at_work
from launch.jobs.at_work import RunsAtWork
from launch.jobs.local_queue import run_queue
from launch.runs.live import fitting
from launch.runs.status import columns

RUN = """
import json, sys
from pathlib import Path
Path(sys.argv[-1], "summary.json").write_text(json.dumps({"state": "finished", "step": 8, "max_steps": 8}))
"""
COLOUR = re.compile(r"\x1b\[[\d;]*3[1-7]")


def write(folder: Path, state: str, **facts: Any) -> Path:
    folder.mkdir(exist_ok=True)
    process = {"pid": os.getpid(), "host": os.uname().nodename}
    RunFiles(folder).summary.write_text(json.dumps({"state": state, "process": process, **facts}))
    return folder


@pytest.fixture
def clock(clock: SimpleNamespace, monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """By which the table is renewed, too."""
    monkeypatch.setattr(at_work, "time", SimpleNamespace(monotonic=lambda: clock.now))
    return clock


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Iterator[Terminal]:
    """As wide and high as is asked for by COLUMNS and LINES."""
    terminal = Terminal(120)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("LINES", "24")
    monkeypatch.setenv("COLUMNS", "120")
    yield terminal
    terminal.close()


def halfway(folder: Path, step: int = 40) -> Path:
    return write(folder, "running", step=step, max_steps=80, time_left_s=65, metrics={"val/completion": step / 100})


def test_a_table_that_renews_itself(terminal: Terminal, clock: SimpleNamespace, tmp_path: Path) -> None:
    folders = [tmp_path / name for name in ("first", "second", "third")]
    write(folders[0], "finished", step=80, max_steps=80)
    halfway(folders[1], 0)
    with terminal.as_stderr(), RunsAtWork(folders) as shown:
        shown.renew(folders[:2])
        shown.renew(folders[1:2])
        clock.now += 60
        halfway(folders[1])
        shown.renew(folders[1:2])
        heading, titles, *rows = terminal.seen()
        assert heading.endswith("  runs: 1 of 3 ended, about 3m 00s left")
        assert titles.split() == ["run", "state", "prior", "step", "completion", "C3", "novel", "C3", "puzzles/s",
                                  "left", "message"]  # fmt: skip
        assert [row.split() for row in rows] == [
            ["first", "finished", "80/80"],
            ["second", "running", "40/80", "0.400", "1m", "05s"],
            ["third", "waiting"],
        ]
        halfway(folders[1], 60)
        shown.renew(folders[1:2])
        assert terminal.seen()[3].split()[2] == "40/80"  # not more than once a second
        clock.now += 1
        shown.renew(folders[1:2])
        assert terminal.seen()[3].split()[2] == "60/80"
        assert len(terminal.seen()) == 5
    assert terminal.seen() == []


def test_only_runs_at_work_are_read(
    terminal: Terminal, clock: SimpleNamespace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folders = [halfway(tmp_path / f"{i}") for i in range(9)]
    read: list[str] = []
    look = at_work.read_status
    with terminal.as_stderr(), RunsAtWork(folders) as shown:
        shown.renew(folders[3:4])
        monkeypatch.setattr(at_work, "read_status", lambda run, jobs: read.append(run.name) or look(run, jobs))
        for _ in range(50):
            clock.now += 0.1
            shown.renew(folders[3:4])
    assert set(read) == {"3"}
    assert len(read) <= 6


@pytest.mark.parametrize("width", [20, 40, 60, 80])
def test_a_narrow_terminal_has_columns_that_fit(
    width: int, terminal: Terminal, clock: SimpleNamespace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    folders = [halfway(tmp_path / f"a_name_that_is_far_too_long_for_it-{i}") for i in range(3)]
    with terminal.as_stderr(), RunsAtWork(folders) as shown:
        shown.renew(folders)
        lines = terminal.seen()
        assert len(lines) == 5
        assert max(map(len, lines)) <= width
        if width >= 40:
            assert all("40/80" in line and "0.400" in line and "1m 05s" in line for line in lines[2:])
    assert terminal.seen() == []


def test_what_is_dispensable_goes_first() -> None:
    rows = [("20-gpt2_tiny", "running", "general", "40/80", "0.400", "0.100", "0.100", "123", "1m 05s", "")]
    at = {width: [columns()[i] for i in fitting(rows, width, columns=columns())[0]] for width in (120, 72, 55, 40)}
    assert at[120] == list(columns())
    assert at[72] == ["run", "state", "step", "completion", "C3", "novel C3", "left"]
    assert at[55] == ["run", "state", "step", "completion", "C3", "left"]
    assert at[40] == ["run", "step", "completion", "left"]


def test_a_low_terminal_shows_runs_at_work(
    terminal: Terminal, clock: SimpleNamespace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LINES", "7")
    folders = [halfway(tmp_path / f"run{i}") for i in range(30)]
    with terminal.as_stderr(), RunsAtWork(folders) as shown:
        shown.renew(folders[8:12])
        shown.renew(folders[10:12])
        clock.now += 1
        shown.renew(folders[10:12])
        names = [line.split()[0] for line in terminal.seen()[2:]]
        assert {"run10", "run11"} <= {*names}
        assert len(names) == 4


def test_colours_and_none(
    terminal: Terminal, clock: SimpleNamespace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folders = [halfway(tmp_path / "run")]
    with terminal.as_stderr(), RunsAtWork(folders) as shown:
        shown.renew(folders)
    assert COLOUR.search(terminal.written())
    before = len(terminal.written())
    monkeypatch.setenv("NO_COLOR", "1")
    with terminal.as_stderr(), RunsAtWork(folders) as shown:
        shown.renew(folders)
    assert "40/80" in terminal.written()[before:]
    assert not COLOUR.search(terminal.written()[before:])


@pytest.mark.parametrize("term", ["dumb", None])
def test_a_line_every_half_minute_elsewhere(
    term: str | None,
    terminal: Terminal,
    clock: SimpleNamespace,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """On a terminal that is dumb, and where there is none."""
    folders = [halfway(tmp_path / "first", 0), tmp_path / "second", tmp_path / "third"]

    def wait() -> None:
        with part(3, 8, "tune"), RunsAtWork(folders) as shown:
            shown.renew(folders[:2])
            halfway(folders[0])
            for _ in range(65):
                clock.now += 1
                shown.renew(folders[:2])

    if term is None:
        wait()
        said = capsys.readouterr().err
    else:
        monkeypatch.setenv("TERM", term)
        with terminal.as_stderr():
            wait()
        said = terminal.written()
    brief = "first step 40/80, completion 0.400, 1m 05s left; second new"
    assert said.splitlines() == [
        f"tune 3/8 runs: 0 of 3 ended, about 2m 30s left; {brief}",
        f"tune 3/8 runs: 0 of 3 ended, about 5m 00s left; {brief}",
    ]


def test_a_queue_says_the_same_with_and_without_a_terminal(
    terminal: Terminal, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """On stdout; the table stands below what is said, and nowhere when all has ended."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    monkeypatch.setattr("launch.jobs.local_queue.command", lambda code: [sys.executable, "-S", "-c", RUN])
    folders = [tmp_path / "first", tmp_path / "second"]
    for folder in folders:
        RunFiles(folder).job.folder.mkdir(parents=True)
        RunFiles(folder).job.config.touch()
    assert run_queue(folders, tmp_path, 1) == 0
    without = capsys.readouterr()
    for folder in folders:
        RunFiles(folder).summary.unlink()
    with terminal.as_stderr():
        assert run_queue(folders, tmp_path, 1) == 0
    assert capsys.readouterr().out == without.out == "1/2 first: finished\n2/2 second: finished\n"
    assert without.err == ""
    assert terminal.seen() == []
    assert any(re.search(r"second +waiting", line) for line in terminal.drawn())
    assert any(re.search(r"first +finished +8/8", line) for line in terminal.drawn())
