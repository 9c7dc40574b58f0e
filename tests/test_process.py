"""Processes that were noted, and whether they still run."""

import os
import platform
import subprocess
import sys
import time

import pytest

from genraven.process import is_alive, process_note


def test_a_process_is_known_by_its_number_and_its_beginning() -> None:
    note = process_note(os.getpid())
    assert is_alive(note)
    assert is_alive(note | {"began": "1 another-start-of-the-machine"}) is False  # its number was given again
    assert is_alive({"host": platform.node(), "pid": os.getpid()})  # as it was noted once
    assert is_alive(note | {"host": "elsewhere"}) is is_alive({}) is is_alive({"pid": None}) is None


def test_a_process_that_has_ended_is_not_alive_also_before_it_is_fetched() -> None:
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    note = process_note(process.pid)
    assert is_alive(note)
    process.kill()
    deadline = time.monotonic() + 30
    while is_alive(note) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert is_alive(note) is False
    process.communicate()
    assert is_alive(note) is False


@pytest.mark.parametrize("pid", [0, -1, "7", 2**40])
def test_what_is_no_process(pid: object) -> None:
    assert not is_alive({"host": platform.node(), "pid": pid})
