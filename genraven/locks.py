"""Locks on files, which end with the process that holds them. Imports nothing heavy."""

import errno
import fcntl
import os
import platform
import stat
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from genraven.bounded import open_regular
from genraven.errors import InputError

NO_LOCKS = {errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL}
"""What file systems say that have none, such as some mounts of NFS and Lustre."""
POLL_S = 0.05
ADDING_S = 600.0  # far longer than it takes to write a file


class Held(Exception):
    """Another process holds the lock; the message is what it noted of itself."""


@contextmanager
def locked(
    path: Path, patience_s: Callable[[str], float], note: str = "", *, is_lost: Callable[[str], bool] = lambda _: False
) -> Iterator[bool]:
    """Holds a lock on ``path``, made where it is missing, within the block; it ends with the process at the latest.

    Args:
        path: stays when the lock is given back, empty. Only its holder may remove it: who waits then makes it anew.
        patience_s: seconds to wait for the holder, given what it has noted.
        note: for others, beside the name of this machine.
        is_lost: is a holder gone for good, given what it has noted, when the patience is over? Its lock is replaced.

    Yields:
        Is it held? Not where the file system has no locks.

    Raises:
        Held: the patience is over.
        OSError: ``path`` cannot be opened for writing, or is a link or no regular file: what it leads to is not ours.
    """
    with _taken(path, patience_s, is_lost) as (handle, is_held):
        if is_held:
            os.ftruncate(handle, 0)
            with suppress(OSError):  # no room for the note: the lock holds without
                os.pwrite(handle, f"{platform.node()} {note}".encode(), 0)
        yield is_held
        if is_held:
            os.ftruncate(handle, 0)


@contextmanager
def adding_to(path: Path) -> Iterator[None]:
    """Within the block no other process adds to the file ``path``, as far as its file system has locks.

    Raises:
        InputError: its lock cannot be made, or another process has held it for minutes.
    """
    lock = path.with_name(f".{path.name}.lock")
    with ExitStack() as stack:
        try:
            stack.enter_context(locked(lock, lambda note: ADDING_S))
        except Held as held:
            raise InputError(f"expected {path} to be free, got one that {who(str(held))} has been writing for "
                             f"{ADDING_S:.0f} s: wait for it, or end it if it hangs.") from None  # fmt: skip
        except OSError as error:
            raise InputError(f"expected {lock} to be a file that can be written, got {error.strerror}: change its "
                             "permissions, or remove it.") from None  # fmt: skip
        yield


def holder(path: Path) -> str | None:
    """What the process that holds the lock on ``path`` has noted; None where nobody does, as far as can be seen."""
    return _look(path)[1]


def who(note: str) -> str:
    """The holder of a lock, by its ``note``, in words: ``job 12 on node3``."""
    host, _, name = note.partition(" ")
    return f"{name or 'a process'} on {host}" if host else "another process"


def is_free(path: Path) -> bool:
    """Is the lock on ``path`` held by nobody on this machine, for certain? Not where there is no such file, or lock."""
    return _look(path)[0]


def _look(path: Path) -> tuple[bool, str | None]:
    """Is the lock free for certain, and if it is held, its holder's note."""
    try:
        file = open_regular(path)
    except OSError:
        return False, None
    handle = file.fileno()
    try:
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)  # given back at once; who wants it meanwhile tries again
    except BlockingIOError:
        return False, _note(handle)
    except OSError:
        return False, None
    finally:
        file.close()
    return True, None


@contextmanager
def _taken(
    path: Path, patience_s: Callable[[str], float], is_lost: Callable[[str], bool]
) -> Iterator[tuple[int, bool]]:
    """The file at ``path``, open, and whether its lock is held: not of one that was removed while this waited."""
    while True:
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK, 0o666)
        try:
            if not stat.S_ISREG(os.fstat(handle).st_mode):
                raise OSError(errno.EINVAL, "Not a regular file", str(path))
            is_held = False
            try:
                is_held = _wait(handle, patience_s)
            except Held as held:
                if _is_at(handle, path):
                    if not is_lost(str(held)):
                        raise
                    path.unlink(missing_ok=True)
            else:
                if not is_held or _is_at(handle, path):
                    yield handle, is_held
                    return
        finally:
            os.close(handle)  # gives it back
        path.parent.mkdir(parents=True, exist_ok=True)  # removed with the lock, where nothing else was in it


def _is_at(handle: int, path: Path) -> bool:
    """Is the open file still the one at ``path``?"""
    with suppress(OSError):
        return os.path.samestat(os.fstat(handle), path.lstat())
    return False


def _wait(handle: int, patience_s: Callable[[str], float]) -> bool:
    start = time.monotonic()
    while True:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            note = _note(handle)
            if time.monotonic() - start > patience_s(note):
                raise Held(note) from None
            time.sleep(POLL_S)
        except OSError as error:
            if error.errno not in NO_LOCKS:
                raise
            return False
        else:
            return True


def _note(handle: int) -> str:
    return os.pread(handle, 1000, 0).decode(errors="replace")
