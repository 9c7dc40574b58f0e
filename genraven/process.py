"""Processes: which one a noted number means, as numbers are given to others again; CPUs that this one may use.

Imports nothing heavy.
"""

import os
import platform
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

PROC = Path("/proc")
ZOMBIE = "Z"


def process_note(pid: int) -> dict[str, Any]:
    """What to note of a process of this machine, for ``is_alive``: plain values."""
    return {"host": platform.node(), "pid": pid, "began": _began(pid)}


def num_cpus(num_sharing: int = 1) -> int:
    """CPUs for this process, where ``num_sharing`` processes divide those that it may use."""
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1  # macOS, Windows
    return max(1, usable // num_sharing)


def is_alive(note: Mapping[str, Any]) -> bool | None:
    """Does the noted process still run? None where this machine cannot say: of others, or where none is noted.

    Where it is not noted when it began, its number is believed.
    """
    pid = note.get("pid")
    if not isinstance(pid, int) or note.get("host") != platform.node():
        return None
    if not (PROC / "self").exists():  # not Linux
        return _answers(pid)
    began = _began(pid)
    return began is not None and note.get("began") in (None, began)


def _began(pid: int) -> str | None:
    """When a process began, in ticks of the machine's clock, and since which start of the machine; None for none."""
    with suppress(OSError, IndexError, ValueError):
        state, *fields = (PROC / str(pid) / "stat").read_text(errors="replace").rpartition(")")[2].split()
        boot = (PROC / "sys/kernel/random/boot_id").read_text().strip()
        return None if state == ZOMBIE else f"{fields[18]} {boot}"  # proc(5): starttime is the 22nd of all
    return None


def _answers(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
