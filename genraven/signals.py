"""Signals that ask a run to stop: noted when they come, acted on between two steps.

Imports nothing heavy, so that it can be the first thing that a command does: a signal that comes while the libraries
load is not lost and does not kill.
"""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

from genraven.console import say

REQUEUE = 75
"""Exit status of a run that was asked to stop: all is saved, start it again."""
SIGNALS = (signal.SIGUSR1, signal.SIGUSR2, signal.SIGTERM, signal.SIGHUP)  # the last when a terminal is closed
_received: list[signal.Signals] = []


class Preempted(Exception):
    """The run was asked to stop, and has saved what it had."""

    again = "the same command"
    """What goes on with it."""
    kept = "all is saved"
    """What stands of it."""


def leave_if_asked() -> None:
    """Raises Preempted when a signal has been noted, where there is nothing to save."""
    if number := received_signal():
        raise Preempted(f"signal {number.name}")


@contextmanager
def noted_signals() -> Iterator[None]:
    """Within the block SIGNALS do nothing but to be noted, however many come."""
    _received.clear()
    with handled_signals(_note):
        signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)  # `genraven launch` holds them back until here
        try:
            yield
        finally:
            _received.clear()


@contextmanager
def handled_signals(handler: Callable[[int, FrameType | None], Any], *more: signal.Signals) -> Iterator[None]:
    """Within the block ``handler`` is called for SIGNALS and ``more``; but SIGHUP stays ignored under nohup.

    Outside the main thread, where Python lets nobody handle signals, they stay as they are, and that is said.
    """
    if threading.current_thread() is not threading.main_thread():
        say("genraven: not in the main thread: signals and Ctrl-C are left to it, and do not save what is at work",
            error=True)  # fmt: skip
        yield
        return
    under_nohup = signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
    numbers = [number for number in (*SIGNALS, *more) if number != signal.SIGHUP or not under_nohup]
    before = {number: signal.signal(number, handler) for number in numbers}
    try:
        yield
    finally:
        for number, previous in before.items():
            signal.signal(number, previous)


def _note(number: int, frame: FrameType | None) -> None:
    _received.append(signal.Signals(number))


def received_signal() -> signal.Signals | None:
    """The first signal noted, if any."""
    return _received[0] if _received else None
