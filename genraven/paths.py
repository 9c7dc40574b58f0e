"""Paths as a user writes them, on the command line, in a config or in the environment. Imports nothing heavy."""

import os
import pwd
from pathlib import Path

from genraven.errors import InputError


def user_path(text: str | Path) -> Path:
    """The path meant by ``text``, where ``~`` at the beginning is the home folder, and ``~name`` that of a user.

    A shell does not expand it within quotes, after ``--option=`` or in a file.

    Raises:
        InputError: ``text`` is empty, or such a home folder is not known.
    """
    if not str(text):
        raise InputError("expected a path, got an empty text: name a file or a folder.")
    if not str(text).startswith("~"):
        return Path(text)
    first, *rest = Path(text).parts
    try:
        return _home(first[1:]).joinpath(*rest)
    except KeyError:
        raise InputError(f"expected {first} to be a home folder, got {text}, and none is known: write the whole "
                         "path.") from None  # fmt: skip


def _home(user: str) -> Path:
    if not user and os.environ.get("HOME"):
        return Path(os.environ["HOME"])
    return Path((pwd.getpwnam(user) if user else pwd.getpwuid(os.getuid())).pw_dir)


def default_cache_dir() -> Path:
    """``GENRAVEN_CACHE``, or ``~/.cache/genraven`` where it is empty or not set.

    Raises:
        InputError: no home folder is known.
    """
    if named := os.environ.get("GENRAVEN_CACHE"):
        return user_path(named)
    try:
        return user_path("~/.cache/genraven")
    except InputError:
        raise InputError("expected a home folder for the cache, got none: set data.cache_dir or "
                         "GENRAVEN_CACHE.") from None  # fmt: skip
