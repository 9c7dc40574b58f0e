"""How the process of a command ends."""

import atexit
import gc
import io
import os
from collections.abc import Callable
from contextlib import suppress

from launch.processes.started_by import is_alone


class Leaving:
    """Ends a process that shared its work with others before Python itself ends, and after all else.

    gloo's threads may let go of the tensors of a last collective when Python is half gone, which aborts a process that
    has done all its work: at about one end in fifty on a busy machine (torch 2.13, Python 3.11). Its run, whole and
    saved, would count as crashed. Files that were left open are flushed.

    Attributes:
        status: of the process; of one that raises, until it is set.
    """

    def __init__(self) -> None:
        """Called before other modules are imported: what they register for the end is then done before."""
        self.status = 1
        atexit.register(self._leave)

    def after(self, command: Callable[[], int]) -> int:
        """What ``command`` returns, which is noted as the status of the process, as is that of its SystemExit."""
        try:
            self.status = command()
        except SystemExit as stop:
            self.status = stop.code if isinstance(stop.code, int) else int(stop.code is not None)
            raise
        return self.status

    def _leave(self) -> None:
        if is_alone():  # or a command that never shares, in an environment that a starter left: nothing is lost there
            return
        for thing in gc.get_objects():
            if issubclass(type(thing), io.IOBase):
                with suppress(Exception):  # no room, or closed, or a class of the user's that cannot
                    thing.flush()
        os._exit(self.status)
