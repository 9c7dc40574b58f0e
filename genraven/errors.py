"""The error that is a user's to mend, what it calls settings, and what to suggest."""

import difflib
import os
import reprlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from numbers import Real
from pathlib import Path
from typing import SupportsIndex

MAX_SHOWN = 80
_in_a_command = ContextVar("_in_a_command", default=False)


class InputError(ValueError):
    """Bad input: one line that says what was expected, what came and what to do.

    The command prints it without a traceback and exits with status 2.
    """


@contextmanager
def as_options() -> Iterator[None]:
    """Within the block, errors call settings as the command line does."""
    before = _in_a_command.set(True)
    try:
        yield
    finally:
        _in_a_command.reset(before)


def flag(name: str) -> str:
    """The option of the command line for the setting ``name``: ``--steps`` for ``num_steps``."""
    return "--" + name.removeprefix("num_").replace("_", "-")


def setting(name: str, value: object = None) -> str:
    """How a user gives the setting ``name``, and ``value`` if not None: ``--steps 5``, in Python ``num_steps=5``."""
    if _in_a_command.get():
        return flag(name) if value is None else f"{flag(name)} {value}"
    return f"{name}=" if value is None else f"{name}={value!r}"


def at_least(least: int, **settings: int) -> None:
    """Raises InputError at the first of ``settings``, by their names, that is no whole number or below ``least``."""
    for name, value in settings.items():
        check_whole(setting(name), value, least)


def check_whole(name: str, value: int, least: int) -> None:
    """Raises InputError unless ``value``, of that ``name``, is a whole number of ``least`` or more."""
    if isinstance(value, bool) or not isinstance(value, SupportsIndex):
        raise InputError(f"expected {name} to be a whole number, got {value!r}.")
    if value < least:
        raise InputError(f"expected {name} to be {least} or more, got {value}.")


def check_number(name: str, value: object) -> None:
    """Raises InputError unless ``value``, of that ``name``, is a number."""
    if isinstance(value, bool) or not isinstance(value, Real):
        raise InputError(f"expected {name} to be a number, got {shown(value)}.")


def path_of(name: str, value: object) -> Path:
    """``value``, of that ``name``, as a path; raises InputError if it is none."""
    if not isinstance(value, str | os.PathLike):
        raise InputError(f"expected {name} to be a path, got {shown(value)}.")
    return Path(value)


def check_fraction(name: str, fraction: float, *, below: float | None = None) -> None:
    """Raises InputError unless ``fraction``, of that ``name``, is one, and less than ``below`` where that is given."""
    check_number(name, fraction)
    if below is not None and not 0 <= fraction < below:
        raise InputError(f"expected {name} from 0 to below {below:g}, got {fraction}.")
    if not 0 <= fraction <= 1:
        raise InputError(f"expected {name} between 0 and 1, got {fraction}.")


def reason_of(error: OSError) -> str:
    """Why the system refused, in its words; of several files that ``shutil`` copies, why the first one."""
    first = error.args[0][0] if error.args and isinstance(error.args[0], list) else None
    return error.strerror or (str(first[2]) if first else str(error))


def shown(value: object) -> str:
    """``value`` as an error of one line shows it: cut where it is long, or nested."""
    text = repr(value[:MAX_SHOWN]) if isinstance(value, str) else reprlib.repr(value)
    return text if len(text) <= MAX_SHOWN else f"{text[: MAX_SHOWN - 3]}..."


def suggestion(name: str, known: Iterable[str], otherwise: str, cutoff: float = 0.6) -> str:
    """The end of an error on an unknown ``name``: the nearest one ``known``, else ``otherwise``.

    Args:
        cutoff: how alike the two are at least, from 0 to 1 (as of difflib).
    """
    near = difflib.get_close_matches(name, known, n=1, cutoff=cutoff)
    return f"did you mean {near[0]}?" if near else otherwise
