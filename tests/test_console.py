"""What a command says when nobody hears it, and in which letters."""

import ast
import errno
import os
import pty
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from genraven.console import Outlet, say
from genraven.installation import command

TALK = r"""
import sys
from genraven.console import settle_console
settle_console()
for stream in (sys.stdout, sys.stderr):
    for _ in range(100):
        print("x" * 1000, file=stream, flush=True)
open("done", "w").write("\u00fc \u2014")
"""


def environment(**more: str) -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(Path(command()[-1]).parents[1]), **more}


@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_a_reader_that_leaves_ends_nothing(unbuffered: str, in_tmp_path: Path) -> None:
    words = [sys.executable, "-c", TALK]
    with subprocess.Popen(
        words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=environment(PYTHONUNBUFFERED=unbuffered)
    ) as process:
        assert process.stdout is not None
        process.stdout.read(10)
        process.stdout.close()
        assert process.wait(60) == 0
    assert Path("done").exists()


def test_a_terminal_that_is_closed_ends_nothing(in_tmp_path: Path) -> None:
    ours, theirs = pty.openpty()
    process = subprocess.Popen([sys.executable, "-c", TALK], stdout=theirs, stderr=theirs, env=environment())
    os.close(theirs)
    os.read(ours, 10)
    os.close(ours)
    assert process.wait(60) == 0
    assert Path("done").exists()


def test_a_full_disk_loses_output_and_nothing_else(in_tmp_path: Path) -> None:
    """And what is lost is known, where it was all of the work."""
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run([sys.executable, "-c", TALK], stdout=full, stderr=full, env=environment(), timeout=60)
        assert (done.returncode, Path("done").exists()) == (0, True)
        told = subprocess.run([*command(), "rules"], stdout=full, stderr=subprocess.PIPE, text=True, timeout=60)
    assert told.returncode == 2
    assert told.stderr == (
        "genraven: error: expected an output that can be written, got stdout (No space left on device): some of it is "
        "lost; make room, or write it elsewhere.\n"
    )


def test_an_output_that_was_closed_before_is_not_missed() -> None:
    closed = subprocess.run(["sh", "-c", '"$@" >&-', "sh", *command(), "rules"], stderr=subprocess.PIPE, timeout=60)
    assert (closed.returncode, closed.stderr) == (0, b"")


def test_what_is_lost_on_a_full_disk_is_no_reader_that_left() -> None:
    with Outlet("/dev/full", "wb") as outlet:
        assert outlet.write(b"xy") == 2
        assert outlet.lost is not None
        assert outlet.lost.errno == errno.ENOSPC
        assert os.fstat(outlet.fileno()).st_rdev == Path("/dev/full").stat().st_rdev  # there may be room again


@pytest.mark.skipif(shutil.which("localedef") is None, reason="makes a locale of its own")
def test_files_are_utf8_in_a_latin_1_locale(in_tmp_path: Path) -> None:
    made = subprocess.run(["localedef", "-i", "en_US", "-f", "ISO-8859-1", "./en_US.ISO-8859-1"], capture_output=True)
    if made.returncode:
        pytest.skip("no sources of locales here")
    latin = environment(LOCPATH=str(in_tmp_path), LC_ALL="en_US.ISO-8859-1", PYTHONUTF8="0", PYTHONIOENCODING="")
    before = "import locale; assert locale.getencoding() == 'ISO-8859-1'\n"
    talk = before + TALK.replace('"x" * 1000', r'"\u2014"').replace("range(100)", "range(1)")
    done = subprocess.run([sys.executable, "-c", talk], env=latin, capture_output=True, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"\\u2014\n", b"\\u2014\n")
    assert Path("done").read_bytes().decode("utf-8") == "\u00fc \u2014"


HOSTILE = "a\x1b[2Jb\x07\u202ec\ud800\nd"
SHOWN = r"a\x1b[2Jb\x07\u202ec\ud800" + "\nd"


def test_nothing_that_is_said_moves_a_cursor(capsys: pytest.CaptureFixture[str]) -> None:
    say(HOSTILE, "a\tcafé")
    say(HOSTILE, error=True)
    said = capsys.readouterr()
    assert (said.out, said.err) == (f"{SHOWN}\na\tcafé\n", f"{SHOWN}\n")


MESSAGES = f"""
import logging, sys, warnings
from genraven.console import settle_console
settle_console()
settle_console()
text = {HOSTILE!r}
warnings.warn(text)
logging.getLogger("x").warning("%s and %d", text, 3)
logging.getLogger("x").warning("%d", text)  # which does not belong together
"""


def test_nor_does_a_warning_or_a_message() -> None:
    done = subprocess.run([sys.executable, "-c", MESSAGES], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0
    assert f"UserWarning: {SHOWN}\n" in done.stderr
    assert f"{SHOWN} and 3\n" in done.stderr
    assert not {char for char in done.stderr if not char.isprintable()} - {"\n"}


def test_a_warning_of_ours_is_one_line_without_a_place_in_the_code() -> None:
    told = "import warnings; from genraven.console import settle_console; settle_console(); "
    told += "import genraven.errors as ours; warnings.warn_explicit('a leak', UserWarning, ours.__file__, 3); "
    told += "warnings.warn_explicit('odd', UserWarning, 'lib.py', 3)"
    done = subprocess.run([sys.executable, "-c", told], capture_output=True, text=True, timeout=60)
    assert done.stderr == "genraven: warning: a leak\nlib.py:3: UserWarning: odd\n"


ROOT = Path(__file__).parents[1]
ROOMS = ("genraven", "datamodules", "lightning_modules", "callbacks", "launch")
WAYS = ("print", "sys.stdout.write", "sys.stderr.write")


def test_all_is_said_by_one_function() -> None:
    """Which shows every character: print does not."""
    found = []
    for path in (path for room in ROOMS for path in sorted((ROOT / room).rglob("*.py"))):
        calls = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)]
        found += [path.name for call in calls if ast.unparse(call.func) in WAYS]
    assert found == ["console.py"]
