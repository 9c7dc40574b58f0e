"""Writing files that a user names: nothing half written."""

import glob
import os
import secrets
import shutil
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from genraven.errors import InputError

UNFINISHED = ".unfinished-"  # in names of temporary files
_LONG_SUFFIX = 16  # letters, from which on it is none that a writer knows


def beside(path: Path) -> Path:
    """A new name for a while, in the folder of ``path`` and with its end; short enough where that one is not."""
    suffix = path.suffix if len(path.suffix) < _LONG_SUFFIX else ""
    end = f"{UNFINISHED}{secrets.token_hex(4)}{suffix}"
    room = most_letters(path.parent) - len(os.fsencode(f".{end}"))
    return path.with_name(f".{os.fsdecode(os.fsencode(path.name)[:room])}{end}")


def most_letters(folder: Path) -> int:
    """Bytes that a name in ``folder`` may have."""
    try:
        return os.pathconf(folder, "PC_NAME_MAX")
    except OSError:
        return 255


class Unfinished:
    """A file in the making, ``path``, beside the ``place`` that it is for.

    It may be read and written by whom could the file in whose place it comes; where there is none, by whom the umask,
    or the folder's own default, allows to.

    Args:
        place: where it is to be.
        mine: whether nobody else is to write it, whatever the umask allows.
    """

    def __init__(self, place: Path, *, mine: bool = False) -> None:
        self.place, self.path = place, beside(place)
        before = place.lstat() if place.is_file() and not place.is_symlink() else None
        # Made here: to ask for the umask is to set it, for all threads; and some writers make files for the owner only.
        handle = os.open(self.path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666 if before is None else 0o600)
        mode = stat.S_IMODE((before or os.fstat(handle)).st_mode)
        self._mode = mode & ~(stat.S_IWGRP | stat.S_IWOTH) if mine else mode
        self._owner = None if before is None else (before.st_uid, before.st_gid)
        os.close(handle)

    def finish(self) -> None:
        """Makes it whole on the disk, and gives it its owner and mode."""
        if self._owner is not None:
            owner, group = self._owner
            try:
                os.chown(self.path, -1, group)
            except OSError:  # another group than the one that was let read it
                self._mode &= ~stat.S_IRWXG
            with suppress(OSError):  # somebody else's, whose group this user is of: it is this user's from now on
                os.chown(self.path, owner, -1)
        self.path.chmod(self._mode)
        with self.path.open("rb") as file:
            os.fsync(file.fileno())

    def put_in_place(self) -> None:
        """In the place of what is there."""
        self.path.replace(self.place)

    def remove(self) -> None:
        """Where it is not in its place."""
        self.path.unlink(missing_ok=True)


@contextmanager
def appears_whole(path: Path, *, mine: bool = False) -> Iterator[Path]:
    """The path of an ``Unfinished`` file that takes its place when the block ends well, and is removed when not."""
    file = Unfinished(path, mine=mine)
    try:
        yield file.path
        file.finish()
        file.put_in_place()
    finally:
        file.remove()


@contextmanager
def folder_appears_whole(folder: Path, option: str) -> Iterator[Path]:
    """A temporary folder beside ``folder`` that takes its place when the block ends well, and is removed when not.

    It and the files in it are open to those whom the umask allows.

    Raises:
        InputError: ``folder`` is there already, or cannot be written; ``option`` is named as what to change.
    """
    check_new_folder(folder, option)
    parent = writable_folder(folder.absolute().parent, option)
    temporary = beside(parent / folder.name)
    try:
        temporary.mkdir()
        yield temporary
        mode = stat.S_IMODE(temporary.stat().st_mode)
        for path in temporary.rglob("*"):
            path.chmod(mode if path.is_dir() else mode & 0o666)
        temporary.rename(folder)
    except OSError as error:
        raise InputError(
            f"expected a folder that can be written, got {folder} ({error.strerror}): set {option} to another."
        ) from None
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def check_new_folder(folder: Path, option: str) -> None:
    """Raises InputError where ``folder`` is there; ``option`` is named as what to change."""
    if os.path.lexists(folder):
        raise InputError(f"expected a folder that is not there yet, got {folder}: set {option}, or remove it.")


def remove_unfinished(folder: Path, of: str = "") -> None:
    """Removes the temporary files and folders that were left in ``folder`` when their process was killed.

    Args:
        folder: where nobody else is at work on these.
        of: name of the file that they were for; empty for all.
    """
    for path in folder.glob(f".{glob.escape(of) or '*'}{UNFINISHED}*"):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


def writable_folder(folder: Path, option: str) -> Path:
    """``folder``, made if missing.

    Raises:
        InputError: it cannot be made or written; ``option`` is named as what to change.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise InputError(
            f"expected a folder that can be written, got {folder} ({error.strerror}): set {option} to another."
        ) from None
    return folder
