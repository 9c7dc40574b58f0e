"""Ends of a command that are no errors of the program, by the exceptions that tell them apart."""

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from genraven.errors import InputError

DISK_ERRORS = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO, errno.ESTALE, errno.EACCES, errno.ENOENT}


@contextmanager
def named_ends(folder: Path) -> Iterator[None]:
    """Gives ends of a training that are no errors of the program their own exceptions.

    Raises:
        InputError: ``folder`` cannot be written any more.
        KeyboardInterrupt: Ctrl-C, which Lightning makes an exit with status 1.
    """
    try:
        yield
    except SystemExit as error:
        raise KeyboardInterrupt from error
    except OSError as error:
        if error.errno not in DISK_ERRORS:
            raise
        raise InputError(f"expected a run folder that can be written, got {folder} ({error.strerror}): make room, or "
                         "see to its file system, and start the same command again.") from error  # fmt: skip


@contextmanager
def unwrapped_errors(*of_settings: type[Exception]) -> Iterator[None]:
    """Raises the InputError that another error stems from: jsonargparse wraps what a model's constructor raises.

    Args:
        of_settings: errors of a library about what it was given, which become an InputError of one line.
    """
    caught: tuple[type[Exception], ...] = (ValueError, *of_settings)
    try:
        yield
    except caught as error:
        inner: BaseException | None = error
        while inner is not None and not isinstance(inner, InputError):
            inner = inner.__cause__ or inner.__context__
        if inner is None and not isinstance(error, of_settings):
            raise
        raise inner or InputError(" ".join(str(error).split())) from None
