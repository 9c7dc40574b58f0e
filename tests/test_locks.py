"""A lock that ends with its process."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from genraven.locks import Held, holder, locked, who

HOLD = """
import sys, time
from pathlib import Path
from genraven.locks import locked
with locked(Path(sys.argv[1]), lambda note: 0, "job 7"):
    print("held", flush=True)
    time.sleep(60)
"""


def test_a_killed_process_gives_its_lock_back(tmp_path: Path) -> None:
    path = tmp_path / "run.lock"
    process = subprocess.Popen([sys.executable, "-c", HOLD, str(path)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    with process:
        assert process.stdout.readline() == "held\n"
        assert str(holder(path)).endswith(" job 7")
        with pytest.raises(Held, match=" job 7$"), locked(path, lambda note: 0):
            pass
        process.send_signal(signal.SIGKILL)
    assert holder(path) is None
    with locked(path, lambda note: 0) as is_held:
        assert is_held


def test_one_that_waits_is_next(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    asked: list[str] = []
    with locked(path, lambda note: 0, "first") as first:

        def patience(note: str) -> float:
            asked.append(note)
            if len(asked) == 2:
                stack.__exit__(None, None, None)
            return 60.0

        stack = locked(tmp_path / "other", lambda note: 0)
        assert first
        with pytest.raises(Held), locked(path, lambda note: 0):
            pass
    stack = locked(path, lambda note: 0, "second")
    stack.__enter__()
    with locked(path, patience, "third") as third:
        assert third
    assert [note.split(" ")[1] for note in asked] == ["second", "second"]
    assert path.read_bytes() == b""


@pytest.mark.parametrize(
    ("note", "said"),
    [("node3 job 12", "job 12 on node3"), ("node3 a process", "a process on node3"), ("node3 ", "a process on node3"),
     ("", "another process")],
)  # fmt: skip
def test_a_holder_in_words(note: str, said: str) -> None:
    assert who(note) == said


def test_a_file_system_without_locks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: object) -> None:
        raise OSError(37, os.strerror(37))

    monkeypatch.setattr("fcntl.flock", refuse)
    with locked(tmp_path / "lock", lambda note: 0) as is_held:
        assert not is_held
    assert holder(tmp_path / "lock") is None


def test_what_a_link_leads_to_is_not_written(tmp_path: Path) -> None:
    """As a folder of somebody else's may have one in the place of a lock."""
    (tmp_path / "mine").write_text("mine")
    (tmp_path / "lock").symlink_to(tmp_path / "mine")
    os.mkfifo(tmp_path / "pipe")
    for name in ("lock", "pipe"):
        with pytest.raises(OSError, match="symbolic links|regular file"), locked(tmp_path / name, lambda note: 0):
            pass
        assert holder(tmp_path / name) is None
    assert (tmp_path / "mine").read_text() == "mine"


def test_a_lock_that_was_removed_while_one_waited_is_made_anew(tmp_path: Path) -> None:
    """Also its folder; nobody holds a lock that others cannot see."""
    path = tmp_path / "new" / "lock"
    path.parent.mkdir()
    first = locked(path, lambda note: 0, "first")
    first.__enter__()

    def patience(note: str) -> float:
        path.unlink()
        path.parent.rmdir()
        first.__exit__(None, None, None)
        return 60.0

    with locked(path, patience, "second") as is_held:
        assert is_held
        assert str(holder(path)).endswith(" second")
        with pytest.raises(Held, match="second$"), locked(path, lambda note: 0):
            pass


def test_the_lock_of_a_lost_holder_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    with (
        locked(path, lambda note: 0, "lost"),
        locked(path, lambda note: 0, "next", is_lost=lambda note: note.endswith(" lost")) as is_held,
    ):
        assert is_held
        with pytest.raises(Held, match=" next$"), locked(path, lambda note: 0, is_lost=lambda note: False):
            pass
    assert holder(path) is None
