"""Signals that ask a run to stop: noted when they come, acted on between two steps.

Imports nothing heavy, so that it can be the first thing that a command does: a signal that comes while the libraries
load is not lost and does not kill.
"""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

REQUEUE = 75
"""Exit status of a run that was asked to stop: all is saved, start it again."""
SIGNALS = (signal.SIGUSR1, signal.SIGUSR2, signal.SIGTERM)
_received: list[signal.Signals] = []


class Preempted(Exception):
    """The run was asked to stop, and has saved what it had."""


@contextmanager
def noted_signals() -> Iterator[None]:
    """Within the block SIGNALS do nothing but to be noted, however many come."""
    _received.clear()
    before = {number: signal.signal(number, _note) for number in SIGNALS}
    signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)  # `genraven launch` holds them back until here
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _note(number: int, frame: FrameType | None) -> None:
    _received.append(signal.Signals(number))


def received_signal() -> signal.Signals | None:
    """The first signal noted, if any."""
    return _received[0] if _received else None
