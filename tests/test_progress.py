"""How far long work is: bars on terminals of any size, lines elsewhere, and no work that ends of either."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace

import pytest
from screens import Terminal

from genraven import console, progress
from genraven.console import say
from genraven.progress import Progress, nothing_left, part, watched

ROOT = Path(__file__).parents[1]


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Iterator[Terminal]:
    """One of 40 columns; each step is drawn."""
    terminal = Terminal(40)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(progress, "REDRAW_S", 0.0)
    yield terminal
    terminal.close()


def test_a_line_every_half_minute_where_there_is_no_terminal(
    clock: SimpleNamespace, capsys: pytest.CaptureFixture[str]
) -> None:
    with Progress("complete", 1000, "puzzle") as bar:
        for _ in bar.over(range(10), lambda item: 100):
            clock.now += 10
    assert capsys.readouterr() == (
        "",
        "complete: 300 of 1,000 puzzles, 0:01:10 left\n"
        "complete: 600 of 1,000 puzzles, 0:00:40 left\n"
        "complete: 900 of 1,000 puzzles, 0:00:10 left\n",
    )


def test_many_short_works_speak_together(clock: SimpleNamespace, capsys: pytest.CaptureFixture[str]) -> None:
    for number in range(1, 9):
        with part(number, 8, "run"), Progress("score", 2, "batch") as bar:
            for _ in bar.over(range(2)):
                clock.now += 5
    assert capsys.readouterr().err.splitlines() == [
        "run 3/8 score: 2 of 2 batches, 0:00:00 left",
        "run 6/8 score: 2 of 2 batches, 0:00:00 left",
    ]


def test_a_bar_stays_on_its_line_of_a_narrow_terminal(terminal: Terminal) -> None:
    with terminal.as_stderr(), part(2, 8), Progress("score", 4000, "puzzle") as bar:
        for _ in bar.over(range(40), lambda item: 100):
            pass
        (line,) = terminal.seen()
        assert re.fullmatch(r"2/8 score: 100% \|█+\| 00:00 left", line)
    assert terminal.seen() == []
    assert len(terminal.drawn()) > 40
    assert {len(line) for line in terminal.drawn()} <= {*range(40)}
    assert "\n" not in terminal.written()


def test_a_wide_terminal_has_room_for_the_count_and_one_made_narrow_has_not(terminal: Terminal) -> None:
    terminal.resize(100)
    with terminal.as_stderr(), Progress("index", 4000, "puzzle") as bar:
        bar.advance(1000)
        assert terminal.seen()[0].endswith("left, 1,000 of 4,000 puzzles")
        terminal.resize(30)
        before = len(terminal.drawn())
        bar.advance(1000)
        assert {len(line) for line in terminal.drawn()[before:]} <= {*range(30)}
        assert "left" in terminal.drawn()[-1]


@pytest.mark.parametrize("columns", [0, 1, 7])
def test_a_terminal_without_room_ends_nothing(columns: int, terminal: Terminal) -> None:
    terminal.resize(columns)
    with terminal.as_stderr(), Progress("index", 2, "puzzle") as bar:
        bar.advance(2)
    assert bar.done == 2


def test_what_is_said_stands_on_lines_of_its_own(terminal: Terminal) -> None:
    with terminal.as_stderr(), Progress("index", 2, "puzzle") as bar:
        bar.advance()
        say("half of it", error=True)
        half, line = terminal.seen()
        assert (half, line[:11]) == ("half of it", "index:  50%")
    assert terminal.seen() == ["half of it"]


def test_a_terminal_that_is_dumb_gets_lines(
    terminal: Terminal, clock: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TERM", "dumb")
    with terminal.as_stderr(), Progress("index", 4, "puzzle") as bar:
        for _ in bar.over(range(4)):
            clock.now += 30
    assert terminal.written().splitlines()[0] == "index: 1 of 4 puzzles, 0:01:30 left"
    assert "\r" not in terminal.written().replace("\r\n", "\n")


def test_other_processes_show_nothing(terminal: Terminal) -> None:
    with terminal.as_stderr(), Progress("index", 2, "puzzle", shown=False) as bar:
        bar.advance(2)
    assert (terminal.written(), bar.done) == ("", 2)


def test_a_piece_moves_with_its_own_steps(terminal: Terminal) -> None:
    """Of loops within loops the outermost counts; the first piece tells how many steps all loops of the second have."""
    shares = []
    with terminal.as_stderr(), Progress("sample", 200, "puzzle") as bar:
        for _ in bar.over(range(2), lambda item: 100):
            for _ in watched(range(3)):
                for _ in watched(range(100)):
                    pass
                shares.append(terminal.seen()[0][8:12])
            for _ in watched(range(9)):
                pass
            shares.append(terminal.seen()[0][8:12])
    assert shares == ["  0%", " 12%", " 25%", " 38%", " 50%", " 54%", " 58%", " 96%"]


def test_a_piece_of_two_loops(terminal: Terminal) -> None:
    shares = []
    with terminal.as_stderr(), Progress("score", 1, "batch", num_loops=2) as bar:
        for _ in bar.over(range(1)):
            for loop in (range(1), range(3), range(9)):
                for _ in watched(loop):
                    pass
                shares.append(terminal.seen()[0][7:11])
    assert shares == [" 25%", " 88%", " 88%"]


def test_without_work_at_hand_nothing_is_watched() -> None:
    assert watched(steps := range(3)) is steps


@pytest.mark.parametrize("error", [OSError, ValueError])
def test_a_stream_that_fails_ends_no_work(error: type[Exception], monkeypatch: pytest.MonkeyPatch) -> None:
    class Broken:
        encoding = "utf-8"

        def isatty(self) -> bool:
            return True

        def fileno(self) -> int:
            raise error

        def write(self, text: str) -> int:
            raise error

        def flush(self) -> None:
            raise error

    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(progress, "REDRAW_S", 0.0)
    monkeypatch.setattr(sys, "stderr", Broken())
    with Progress("index", 2, "puzzle") as bar:
        bar.advance()
        bar.advance()
    assert bar.done == 2
    assert console.drawn == []


def test_an_error_is_not_said_beside_a_bar(terminal: Terminal) -> None:
    def work() -> Iterator[int]:
        with Progress("index", 2, "puzzle") as bar:
            yield from bar.over(range(2))

    left_open = work()
    with terminal.as_stderr():
        with suppress(RuntimeError), nothing_left():
            next(left_open)
            assert terminal.seen() != []
            raise RuntimeError
        assert terminal.seen() == []
        say("an error", error=True)
    assert terminal.seen() == ["an error"]


STUB = """
import sys
from genraven.console import settle_console, say
settle_console()
from genraven import progress
progress.EVERY_S = progress.REDRAW_S = 0.0
with progress.Progress("index", 100, "puzzle") as bar:
    for i in bar.over(range(100)):
        if i % 10 == 0:
            say("x" * 1000)
open("done", "w").close()
"""


def run_stub(**streams: int) -> "subprocess.Popen[bytes]":
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "TERM": "xterm"}
    return subprocess.Popen([sys.executable, "-c", STUB], env=environment, **streams)


@pytest.mark.parametrize("closed", ["stdout", "stderr"])
def test_a_pipe_whose_reader_leaves_ends_nothing(closed: str, in_tmp_path: Path) -> None:
    other = "stderr" if closed == "stdout" else "stdout"
    with run_stub(**{closed: subprocess.PIPE, other: subprocess.DEVNULL}) as process:
        reader = getattr(process, closed)
        reader.read(10)
        reader.close()
        assert process.wait(60) == 0
    assert Path("done").exists()


def test_a_terminal_that_is_closed_ends_nothing(in_tmp_path: Path) -> None:
    terminal = Terminal(40)
    with run_stub(stdout=subprocess.DEVNULL, stderr=terminal.theirs) as process:
        terminal.close()
        assert process.wait(60) == 0
    assert Path("done").exists()


def test_a_standard_error_that_was_closed_before_is_not_missed(in_tmp_path: Path) -> None:
    words = ["sh", "-c", 'exec "$@" 2>&-', "sh", sys.executable, "-c", STUB]
    done = subprocess.run(words, env={**os.environ, "PYTHONPATH": str(ROOT)}, stdout=subprocess.PIPE, timeout=60)
    assert (done.returncode, done.stdout) == (0, (b"x" * 1000 + b"\n") * 10)
    assert Path("done").exists()


def test_what_is_printed_is_the_same_with_and_without_a_terminal(in_tmp_path: Path) -> None:
    terminal = Terminal(40)
    with run_stub(stdout=subprocess.PIPE, stderr=terminal.theirs) as process:
        assert process.stdout is not None
        assert process.stdout.read() == (b"x" * 1000 + b"\n") * 10
        assert process.wait(60) == 0
    assert "index: " in terminal.written()
    terminal.close()


def test_there_is_no_other_bar() -> None:
    rooms = ("genraven", "datamodules", "lightning_modules", "callbacks", "launch")
    files = [path for room in rooms for path in (ROOT / room).rglob("*.py")]
    assert [path.name for path in files if re.search(r"\b(from|import) tqdm\b", path.read_text())] == ["progress.py"]
