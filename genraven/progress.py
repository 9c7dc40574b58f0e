"""How far long work is: a bar with the time left on a terminal, a line every half minute elsewhere.

All of it goes to stderr, so that what a command prints to stdout is the same in either case. What cannot be shown, on a
closed pipe or a full disk, is not shown; it ends no work. Nothing heavy is imported before something is drawn.
"""

import math
import os
import sys
import threading
import time
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TextIO, TypeVar

from genraven import console

if TYPE_CHECKING:
    from rich.console import RenderableType

T = TypeVar("T")
EVERY_S = 30.0
"""Between lines, where there is no terminal."""
RENEW_S = 1.0
"""Between two drawings of a table."""
REDRAW_S = 0.2
"""The least time between two drawings of a bar."""
NARROW, WIDE = "{desc}: {percentage:3.0f}% |{bar}| {remaining} left", 64
"""A bar, and the columns from which on a terminal has room for the count, too."""
CANNOT_DRAW = ("dumb", "unknown")  # values of TERM
_at_work: list["Progress"] = []
_parts: list[str] = []
_last_line_s: float | None = None


def is_terminal(stream: TextIO | None) -> bool:
    """Is ``stream`` a terminal on which a line can be drawn anew?"""
    try:  # None where it was closed before Python began, ValueError where it was closed since
        return stream is not None and stream.isatty() and os.environ.get("TERM") not in CANNOT_DRAW
    except ValueError:
        return False


def _draws_bars() -> bool:
    return is_terminal(sys.stderr) or type(sys.stderr).__module__.startswith("ipykernel")


def is_time_for_a_line() -> bool:
    """Has nothing been said for half a minute? Of all work of this process together, so that many short ones speak."""
    global _last_line_s
    now = time.monotonic()
    if _last_line_s is None:
        _last_line_s = now
    if now - _last_line_s < EVERY_S:
        return False
    _last_line_s = now
    return True


def prefix() -> str:
    """Which part of a larger work is at hand, in words that end with a space; empty where it is no part."""
    return "".join(_parts)


@contextmanager
def part(number: int, total: int, what: str = "") -> Iterator[None]:
    """Work within the block is the part ``number`` of ``total`` of ``what``, which is said before it."""
    _parts.append(f"{what}{' ' * bool(what)}{number}/{total} " if total > 1 else "")
    try:
        yield
    finally:
        _parts.pop()


def watched(items: Collection[T]) -> Iterable[T]:
    """``items``, which together are one of the pieces of the work at hand: its bar moves within the piece.

    Of loops within loops the outermost counts. Where no work is at hand they are the ``items`` themselves.
    """
    return _at_work[-1].within(items) if _at_work else items


@contextmanager
def nothing_left() -> Iterator[None]:
    """What is still drawn when the block ends, such as of a generator that nobody exhausted, is taken away."""
    try:
        yield
    finally:
        for work in [*_at_work]:
            work.close()


class Progress:
    """A piece of long work, for the time of a ``with`` block.

    Args:
        what: it does, one word or two.
        total: of units.
        unit: of which it is counted, in the singular.
        shown: is it to be seen? Of several processes the first alone shows it.
        num_loops: that are ``watched`` one after another in each piece.
    """

    def __init__(self, what: str, total: int, unit: str, *, shown: bool = True, num_loops: int = 1) -> None:
        self.what, self.total, self.unit, self.shown = what, total, unit, shown
        self.done = 0
        self._inside = 0.0  # units of the piece that is not done yet
        self._piece = 1
        self._is_within = False
        self._num_loops, self._loops_ended = num_loops, 0
        self._steps = self._steps_before = 0  # of the loops of this piece, and of the one before
        self._bar: Any = None
        self._lock = threading.Lock()
        self._start_s = 0.0

    def __enter__(self) -> Self:
        self._start_s = time.monotonic()
        if self.shown:
            _at_work.append(self)
            is_time_for_a_line()
            if _draws_bars():
                with suppress(OSError, ValueError):
                    self._bar = _bar(self.total, prefix() + self.what)
                console.drawn.append(self)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Takes the bar away."""
        for shown in (_at_work, console.drawn):
            if self in shown:
                shown.remove(self)  # type: ignore[arg-type]
        if self._bar is not None:
            with suppress(OSError, ValueError):
                self._bar.close()

    def advance(self, num: int = 1) -> None:
        """So many more units are done. Any thread may say so."""
        with self._lock:
            self.done += num
            self._inside = 0.0
            self._show()

    def over(self, items: Iterable[T], size: Callable[[T], int] = lambda item: 1) -> Iterator[T]:
        """``items``, each of which counts as ``size`` units once the next one is asked for."""
        for item in items:
            self._piece = size(item)
            self._steps_before, self._steps, self._loops_ended = self._steps or self._steps_before, 0, 0
            yield item
            self.advance(self._piece)

    def within(self, items: Collection[T]) -> Iterator[T]:
        """``items``, which are one of the loops of the piece at hand. The bar does not go back."""
        is_outermost, self._is_within = not self._is_within, True
        try:
            for i, item in enumerate(items, 1):
                yield item
                if is_outermost:
                    with self._lock:
                        self._steps += 1
                        self._inside = max(self._inside, self._piece * self._share(i / (len(items) + 1)))
                        self._show()
        finally:
            self._is_within = not is_outermost
            self._loops_ended += is_outermost

    def _share(self, of_loop: float) -> float:
        """Of the piece at hand that is done: by the steps that the one before had, of the first one by its loops."""
        if self._steps_before:
            return min(self._steps / (self._steps_before + 1), 1)
        return (self._loops_ended + of_loop) / self._num_loops if self._loops_ended < self._num_loops else 0

    def line(self) -> str:
        """Where it is, in words."""
        done, spent_s = self.done + self._inside, time.monotonic() - self._start_s
        left = f", {timedelta(seconds=round(spent_s / done * (self.total - done)))} left" if done else ""
        return f"{prefix()}{self.what}: {self._count()}{left}"

    def hide(self) -> None:
        """Makes room for what is printed."""
        with suppress(OSError, ValueError):
            self._bar.clear()

    def show(self) -> None:
        """Is there again."""
        with suppress(OSError, ValueError):
            self._bar.refresh()

    def _count(self) -> str:
        ending = "" if self.total == 1 else "es" if self.unit.endswith("ch") else "s"
        return f"{int(self.done + self._inside):,} of {self.total:,} {self.unit}{ending}"

    def _show(self) -> None:
        if self._bar is not None:
            with suppress(OSError, ValueError):
                self._bar.bar_format = f"{NARROW}, {self._count()}" if _is_wide() else NARROW
                self._bar.update(self.done + self._inside - self._bar.n)
        elif self.shown and is_time_for_a_line():
            with suppress(OSError, ValueError):
                console.say(self.line(), error=True)


def _is_wide() -> bool:
    with suppress(OSError, ValueError):
        return os.get_terminal_size(sys.stderr.fileno()).columns >= WIDE
    return True  # a notebook


def _bar(total: int, what: str) -> Any:
    from tqdm import tqdm

    class Bar(tqdm):  # type: ignore[type-arg]
        """Draws itself in the thread that does the work only."""

        monitor_interval = 0

    return Bar(total=total, desc=what, bar_format=NARROW, file=sys.stderr, dynamic_ncols=True, leave=False,
               mininterval=REDRAW_S, miniters=0)  # fmt: skip


class Renewed:
    """What is drawn again and again at the foot of a terminal, for the time of a ``with`` block; elsewhere a line.

    Args:
        draw: gives what stands on a terminal of so many columns and lines.
        line: says the same in one line.
    """

    def __init__(self, draw: Callable[[int, int], "RenderableType"], line: Callable[[], str]) -> None:
        self._draw, self._line = draw, line
        self._live: Any = None
        self._renewed_s = -math.inf

    def __enter__(self) -> Self:
        is_time_for_a_line()
        if is_terminal(sys.stderr):
            console.drawn.append(self)
            self._start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self in console.drawn:
            console.drawn.remove(self)
            self.hide()

    def renew(self) -> None:
        """Draws it, or says the line, where it is time to. To be called often."""
        if self not in console.drawn:
            if is_time_for_a_line():
                with suppress(OSError, ValueError):
                    console.say(self._line(), error=True)
        elif time.monotonic() - self._renewed_s >= RENEW_S:
            self._renewed_s = time.monotonic()
            with suppress(OSError, ValueError):
                size = self._live.console.size
                self._live.update(self._draw(size.width, size.height), refresh=True)

    def hide(self) -> None:
        """Makes room for what is printed."""
        with suppress(OSError, ValueError):
            self._live.stop()

    def show(self) -> None:
        """Is there again."""
        self._start()
        self.renew()

    def _start(self) -> None:
        from rich.console import Console
        from rich.live import Live

        terminal = Console(stderr=True, force_terminal=True)
        self._live = Live(console=terminal, auto_refresh=False, transient=True, redirect_stdout=False,
                          redirect_stderr=False)  # fmt: skip
        with suppress(OSError, ValueError):
            self._live.start()
        self._renewed_s = -math.inf
