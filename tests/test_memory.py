"""What is freed and taken again costs no new pages."""

import os
import subprocess
import sys
from types import SimpleNamespace

import pytest

from genraven import memory

TAKE_AND_FREE = """
import resource, sys, torch
from genraven.memory import keep_freed_memory
torch.set_num_threads(1)
asked = keep_freed_memory() if sys.argv[1] == "keep" else False
for _ in range(20):  # until no small piece stands in the way any more
    torch.ones(20_000_000)
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(5):
    torch.ones(20_000_000)  # 80 MB
print(asked, resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""
OWN = ("MALLOC_ARENA_MAX", "MALLOC_TRIM_THRESHOLD_", "GLIBC_TUNABLES")
glibc = pytest.mark.skipif(sys.platform != "linux", reason="of glibc")


def new_pages(monkeypatch: pytest.MonkeyPatch, how: str, **environment: str) -> tuple[str, int]:
    for name in OWN:
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    command = [sys.executable, "-c", TAKE_AND_FREE, how]
    asked, pages = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    return asked, int(pages)


@glibc
def test_freed_memory_is_used_again(monkeypatch: pytest.MonkeyPatch) -> None:
    (_, as_it_is), (asked, kept) = new_pages(monkeypatch, "leave"), new_pages(monkeypatch, "keep")
    assert asked == "True"
    assert kept < as_it_is / 4


@glibc
def test_the_users_own_settings_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    assert new_pages(monkeypatch, "keep", MALLOC_ARENA_MAX="2")[0] == "False"


def test_where_glibc_refuses_all_is_left_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    """Older versions take 32 MiB at most; the other settings alone would be worse than none."""
    for name in [name for name in os.environ if name.startswith(memory.USERS_OWN)]:
        monkeypatch.delenv(name)
    asked: list[tuple[int, int]] = []

    def libc(most: int) -> SimpleNamespace:
        def mallopt(which: int, value: int) -> int:
            asked.append((which, value))
            return int(which != memory.MMAP_THRESHOLD or value <= most)

        return SimpleNamespace(mallopt=mallopt)

    monkeypatch.setattr("platform.libc_ver", lambda: ("glibc", "2.28"))
    monkeypatch.setattr("ctypes.CDLL", lambda name: libc(32 << 20))
    assert memory.keep_freed_memory.__wrapped__()
    assert [which for which, _ in asked] == [-3, -3, -1, -2]
    asked.clear()
    monkeypatch.setattr("ctypes.CDLL", lambda name: libc(0))
    assert not memory.keep_freed_memory.__wrapped__()
    assert {which for which, _ in asked} == {memory.MMAP_THRESHOLD}
