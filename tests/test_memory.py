"""What is freed and taken again costs no new pages."""

import subprocess
import sys

import pytest

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
