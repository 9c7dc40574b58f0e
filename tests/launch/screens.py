"""A terminal for tests: what a process wrote to it, and what one then sees there."""

import fcntl
import os
import pty
import re
import struct
import sys
import termios
from collections.abc import Iterator
from contextlib import contextmanager

PIECES = re.compile(r"\x1b\[(\??[\d;]*)([A-Za-z])|([\r\n])|([^\x1b\r\n]+)")


class Terminal:
    """A pseudo-terminal of some size.

    Attributes:
        theirs: its file descriptor for a process that writes to it.
    """

    def __init__(self, columns: int, lines: int = 24) -> None:
        self._ours, self.theirs = pty.openpty()
        self._written = b""
        self.resize(columns, lines)
        os.set_blocking(self._ours, False)

    def resize(self, columns: int, lines: int = 24) -> None:
        fcntl.ioctl(self.theirs, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))

    @contextmanager
    def as_stderr(self) -> Iterator[None]:
        """Within the block it is the standard error of this process."""
        before = sys.stderr
        with os.fdopen(os.dup(self.theirs), "w", encoding="utf-8") as stream:
            sys.stderr = stream
            try:
                yield
            finally:
                sys.stderr = before

    def written(self) -> str:
        """All so far."""
        try:
            while chunk := os.read(self._ours, 1 << 16):
                self._written += chunk
        except (BlockingIOError, OSError):
            pass
        return self._written.decode(errors="replace")

    def drawn(self) -> list[str]:
        """Each line that was drawn, without what styles it."""
        plain = re.sub(r"\x1b\[[\d;?]*[A-Za-z]", "", self.written())
        return [line.rstrip() for line in re.split(r"[\r\n]+", plain) if line.strip()]

    def seen(self) -> list[str]:
        """The lines that stand there now, down to the last that is not empty."""
        lines, row, column = [""], 0, 0
        for code, kind, end, text in PIECES.findall(self.written()):
            number = int(code) if code.isdigit() else 1
            if text:
                lines[row] = lines[row].ljust(column)[:column] + text + lines[row][column + len(text) :]
                column += len(text)
            elif end == "\n":
                row, column = row + 1, 0
                lines += [""] * (row + 1 - len(lines))
            elif end == "\r":
                column = 0
            elif kind == "A":
                row = max(row - number, 0)
            elif kind == "K":
                lines[row] = "" if code == "2" else lines[row][:column]
        lines = [line.rstrip() for line in lines]
        while lines and not lines[-1]:
            lines.pop()
        return lines

    def close(self) -> None:
        """Is not there any more, as for all who write to it."""
        for descriptor in (self._ours, self.theirs):
            os.close(descriptor)
