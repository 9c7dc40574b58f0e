"""The error that is a user's to mend, and what to suggest."""

import difflib
import reprlib
from collections.abc import Iterable

MAX_SHOWN = 80


class InputError(ValueError):
    """Bad input: one line that says what was expected, what came and what to do.

    The command prints it without a traceback and exits with status 2.
    """


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
