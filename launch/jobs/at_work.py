"""How the runs that are trained on this machine stand, for those who wait for them: all is read from their folders."""

import time
from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

from genraven.escaping import plain
from genraven.progress import Renewed, prefix
from launch.runs.status import RunStatus, columns, numbers, read_status, row, span

if TYPE_CHECKING:
    from rich.console import Group

    from launch.runs.live import Row

ABOVE, BELOW = 2, 1
"""Lines of the terminal above the rows, and one below that stays free."""


class RunsAtWork(AbstractContextManager["RunsAtWork"]):
    """Says of some runs how far each is, for the time of a ``with`` block: a table, or a line without a terminal.

    Only runs at work are read again, once a second.

    Args:
        folders: of all runs, in the order in which they are trained.
    """

    def __init__(self, folders: Sequence[Path]) -> None:
        self._folders = list(folders)
        self._at_work: list[Path] = []
        self._ended: dict[Path, RunStatus] = {}
        self._shares_before: dict[Path, float] = {}  # of its steps that a run had done when it was started
        self._start_s = time.monotonic()
        self._shown = Renewed(self._draw, self._line)

    def __enter__(self) -> Self:
        self._shown.__enter__()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._shown.__exit__(kind, error, at)

    def renew(self, at_work: Iterable[Path]) -> None:
        """Hears which runs are at work now. To be called often."""
        now = list(at_work)
        for folder in now:
            if folder not in self._shares_before:
                self._shares_before[folder] = _share(_status(folder))
        for folder in {*self._at_work} - {*now}:
            self._ended[folder] = _status(folder)
        self._at_work = now
        self._shown.renew()

    def _draw(self, width: int, height: int) -> "Group":
        from launch.runs.live import table  # rich takes its time to import

        found = {folder: _status(folder) for folder in self._at_work}
        rows = [self._row(folder, found) for folder in self._with_room(height - ABOVE - BELOW)]
        return table(rows, width, columns=columns(), numbers=numbers(), heading=self._heading(found))

    def _with_room(self, room: int) -> list[Path]:
        """Those that are shown: at work, ended lately, up next."""
        waiting = [folder for folder in self._folders if folder not in self._shares_before]
        first = [*self._at_work, *reversed(self._ended), *waiting][: max(room, 1)]
        return [folder for folder in self._folders if folder in first]

    def _row(self, folder: Path, at_work: dict[Path, RunStatus]) -> "Row":
        status = at_work.get(folder) or self._ended.get(folder) or RunStatus("waiting", {})
        return row(folder.name, status)

    def _heading(self, at_work: dict[Path, RunStatus]) -> str:
        left_s = self._left_s(at_work)
        left = "" if left_s is None else f", about {span(left_s)} left"
        return f"{prefix()}runs: {len(self._ended)} of {len(self._folders)} ended{left}"

    def _line(self) -> str:
        found = {folder: _status(folder) for folder in self._at_work}
        return "; ".join([self._heading(found), *(_brief(folder, status) for folder, status in found.items())])

    def _left_s(self, at_work: dict[Path, RunStatus]) -> float | None:
        """Seconds, if all runs take as long as those that were trained so far; None before any has done a step."""
        before = self._shares_before
        done = sum(1 - before[folder] for folder in self._ended)
        done += sum(max(_share(status) - before[folder], 0) for folder, status in at_work.items())
        if not done:
            return None
        needed = len(self._folders) - sum(before.values())
        return (time.monotonic() - self._start_s) / done * max(needed - done, 0)


def _status(folder: Path) -> RunStatus:
    return read_status(folder, {})


def _share(status: RunStatus) -> float:
    """Of its steps that a run has done; 0 where that is not known."""
    step, most = status.summary.get("step") or 0, status.summary.get("max_steps") or 0
    return min(step / most, 1) if most > 0 else 0.0


def _brief(folder: Path, status: RunStatus) -> str:
    """A run in some words: how far it is, its first score, the time left."""
    cells = dict(zip(columns(), row(folder.name, status), strict=True))
    first_score = columns()[columns().index("step") + 1]
    words = [f"step {cells['step']}" if cells["step"] else status.state]
    words += [f"{first_score} {cells[first_score]}"] if cells[first_score] else []
    words += [f"{cells['left']} left"] if cells["left"] else []
    return f"{plain(folder.name)} {', '.join(words)}"
