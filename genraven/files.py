"""Writing files that a user names: nothing half written."""

import os
import secrets
import shutil
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from genraven.errors import InputError

UNFINISHED = ".unfinished-"  # in names of temporary files
PICTURES = (".png", ".jpg", ".webp")


def _beside(path: Path) -> Path:
    """A new name beside ``path``."""
    return path.with_name(f".{path.name}{UNFINISHED}{secrets.token_hex(4)}{path.suffix}")


@contextmanager
def appears_whole(path: Path) -> Iterator[Path]:
    """A temporary path beside ``path`` that takes its place when the block ends well, and is removed when not.

    It may be read and written by whom the umask, or the folder's own default, allows to.
    """
    temporary = _beside(path)
    # Made here: to ask for the umask is to set it, for all threads; and some writers make files for the owner only.
    handle = os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666)
    mode = stat.S_IMODE(os.fstat(handle).st_mode)
    os.close(handle)
    try:
        yield temporary
        temporary.chmod(mode)
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def folder_appears_whole(folder: Path, option: str) -> Iterator[Path]:
    """A temporary folder beside ``folder`` that takes its place when the block ends well, and is removed when not.

    It and the files in it are open to those whom the umask allows.

    Raises:
        InputError: ``folder`` is there already, or cannot be written; ``option`` is named as what to change.
    """
    if folder.exists():
        raise InputError(f"expected a folder that is not there yet, got {folder}: set {option}, or remove it.")
    parent = writable_folder(folder.absolute().parent, option)
    temporary = _beside(parent / folder.name)
    try:
        temporary.mkdir()
        yield temporary
        mode = stat.S_IMODE(temporary.stat().st_mode)
        for path in temporary.rglob("*"):
            path.chmod(mode if path.is_dir() else mode & 0o666)
        temporary.rename(folder)
    except OSError as error:
        raise InputError(
            f"expected a folder that can be written, got {folder} ({error.strerror}): set {option}."
        ) from None
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def remove_unfinished(folder: Path) -> None:
    """Removes the temporary files that ``appears_whole`` left in ``folder`` when its process was killed."""
    for path in folder.glob(f".*{UNFINISHED}*"):
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
            f"expected a folder that can be written, got {folder} ({error.strerror}): set {option}."
        ) from None
    return folder


def check_outputs(array: Path | None, picture: Path | None) -> None:
    """Raises InputError unless both can be written: folders, a picture's suffix, two different files."""
    if picture is not None and picture.suffix.lower() not in PICTURES:
        raise InputError(f"expected --picture to end in {' or '.join(PICTURES)}, got {picture}: rename it.")
    if array is not None and picture is not None and picture.absolute() == array.absolute():
        raise InputError(f"expected two files, got {array} for both --out and --picture: rename one.")
    for path, option in ((array, "--out"), (picture, "--picture")):
        if path is not None:
            writable_folder(path.absolute().parent, option)
