"""What a command says, and the text it reads and writes: work never fails for a reader who has left, nor for a letter.

Imports nothing heavy: it is the first thing that a command does.
"""

import errno
import io
import locale
import logging
import os
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Protocol

from genraven.escaping import visible_lines
from genraven.installation import CODE, PACKAGES

READER_LEFT = {errno.EPIPE, errno.EIO}  # of a pipe, of a terminal
UTF8 = ("C.UTF-8", "en_US.UTF-8", "UTF-8")  # locales, one of which each system has


class Drawing(Protocol):
    """What stands at the foot of the terminal, such as a bar."""

    def hide(self) -> None:
        """Makes room for what is printed."""

    def show(self) -> None:
        """Is there again."""


drawn: list[Drawing] = []
"""All that stands there now."""


class Outlet(io.FileIO):
    """An output whose reader may leave: what is written from then on goes nowhere, by whoever writes it.

    What else cannot be written, such as to a full disk, is lost, and the first reason kept: output is not work.
    """

    lost: OSError | None = None

    def write(self, data: Any, /) -> int:
        """Writes ``text``, or drops it once the reader has left."""
        try:
            return super().write(data) or 0
        except OSError as error:
            if error.errno in READER_LEFT:
                nowhere = os.open(os.devnull, os.O_WRONLY)
                os.dup2(nowhere, self.fileno())
                os.close(nowhere)
            else:
                self.lost = self.lost or error
            return memoryview(data).nbytes


def lost_output() -> str | None:
    """Why some of what was written to stdout so far is lost; None where it is not, or where its reader has left."""
    if sys.stdout is None:  # closed before Python began
        return None
    sys.stdout.flush()
    buffer = getattr(sys.stdout, "buffer", None)
    outlet = getattr(buffer, "raw", buffer)
    return outlet.lost.strerror if isinstance(outlet, Outlet) and outlet.lost else None


def say(*lines: object, error: bool = False) -> None:
    """Prints ``lines`` to stdout, or as an ``error`` to stderr, in which no name moves a cursor or hides a word."""
    text, stream = visible_lines("\n".join(map(str, lines))), sys.stderr if error else sys.stdout
    if stream is not None:  # None where it was closed before Python began
        with _aside():
            print(text, file=stream, flush=True)


@contextmanager
def _aside() -> Iterator[None]:
    """Within the block nothing is drawn at the foot of the terminal."""
    for drawing in reversed(drawn):
        drawing.hide()
    try:
        yield
    finally:
        for drawing in drawn:
            drawing.show()


def _show_warning(
    message: Warning | str, category: type[Warning], filename: str, lineno: int, file: Any = None, line: Any = None
) -> None:
    # A library's own category, though its warning names a line of ours, is not what we warn with.
    is_ours = category is UserWarning and any(Path(filename).is_relative_to(CODE / package) for package in PACKAGES)
    text = (
        f"genraven: warning: {message}\n"
        if is_ours
        else warnings.formatwarning(message, category, filename, lineno, line)  # type: ignore[arg-type]
    )
    stream = file or sys.stderr
    if stream is not None:
        with suppress(OSError), _aside():
            stream.write(visible_lines(text))


def _log_record(*args: Any, **kwargs: Any) -> logging.LogRecord:
    record = logging.LogRecord(*args, **kwargs)
    with suppress(TypeError, ValueError):  # of a message and arguments that do not belong together: the handler says so
        record.msg, record.args = visible_lines(record.getMessage()), ()
    return record


def settle_console() -> None:
    """Makes text files UTF-8 whatever the locale, also those of libraries, and stdout and stderr an ``Outlet`` each.

    Letters that a terminal cannot show are shown by their numbers, as are codes for it in names, warnings and messages.
    """
    warnings.showwarning = _show_warning
    logging.setLogRecordFactory(_log_record)
    if locale.getencoding().lower().replace("-", "") != "utf8":
        for name in UTF8:
            with suppress(locale.Error):
                locale.setlocale(locale.LC_CTYPE, name)
                break
    if sys.stderr is None or not sys.stderr.isatty():
        os.environ.setdefault("TQDM_MININTERVAL", "30")  # seconds between refreshes of bars that become lines of a log
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        buffer = getattr(stream, "buffer", None)
        if type(getattr(buffer, "raw", buffer)) is io.FileIO:  # not an Outlet yet, nor what a test puts there
            stream.flush()
            setattr(sys, name, _steady(stream))


def _steady(stream: io.TextIOWrapper) -> io.TextIOWrapper:
    outlet = Outlet(stream.fileno(), "wb", closefd=False)
    return io.TextIOWrapper(
        io.BufferedWriter(outlet) if hasattr(stream.buffer, "raw") else outlet,  # type: ignore[type-var]
        stream.encoding,
        "backslashreplace",
        line_buffering=stream.line_buffering,
        write_through=stream.write_through,
    )
