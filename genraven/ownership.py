"""Who may write a file or a folder: what is kept is believed only where this user alone may. Imports nothing heavy."""

import grp
import os
import pwd
import stat
from pathlib import Path

from genraven.errors import InputError

ROOT = 0  # who may write anything anyway


def other_writers(path: Path) -> str | None:
    """Who besides this user may write ``path``, in words; None for nobody, but for root.

    A group of this user alone, which many systems give to each, is nobody else.

    Raises:
        OSError: it is not there.
    """
    found = path.stat()
    if found.st_uid not in (os.geteuid(), ROOT):
        return f"user {_user(found.st_uid)}, whose it is"
    if found.st_mode & stat.S_IWOTH:
        return "everybody"
    if found.st_mode & stat.S_IWGRP and not _is_private(found.st_gid):
        return f"group {_group(found.st_gid)}"
    return None


def private_folder(folder: Path, option: str) -> Path:
    """``folder``, made for this user alone where it is missing.

    Raises:
        InputError: others may write it; ``option`` is named as what to change.
        OSError: it cannot be made.
    """
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    if who := other_writers(folder):
        raise InputError(f"expected a folder that nobody else may write, got {folder}, which {who} may: `chmod go-w` "
                         f"it and empty it, or set {option}.")  # fmt: skip
    return folder


def is_mine(path: Path) -> bool:
    """Is ``path`` a regular file that nobody else may write?"""
    try:
        return stat.S_ISREG(path.lstat().st_mode) and other_writers(path) is None
    except OSError:
        return False


def _user(number: int) -> str:
    try:
        return pwd.getpwuid(number).pw_name
    except KeyError:
        return str(number)


def _group(number: int) -> str:
    try:
        return grp.getgrgid(number).gr_name
    except KeyError:
        return str(number)


def _is_private(group: int) -> bool:
    """Is it the group of this user's own name, without others?"""
    try:
        found, me = grp.getgrgid(group), pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        return False
    return found.gr_name == me and {*found.gr_mem} <= {me}
