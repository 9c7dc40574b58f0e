"""The error that is a user's to mend, and what to suggest."""

import difflib
from collections.abc import Iterable


class InputError(ValueError):
    """Bad input: one line that says what was expected, what came and what to do.

    The command prints it without a traceback and exits with status 2.
    """


def suggestion(name: str, known: Iterable[str], otherwise: str, cutoff: float = 0.6) -> str:
    """The end of an error on an unknown ``name``: the nearest one ``known``, else ``otherwise``.

    Args:
        cutoff: how alike the two are at least, from 0 to 1 (as of difflib).
    """
    near = difflib.get_close_matches(name, known, n=1, cutoff=cutoff)
    return f"did you mean {near[0]}?" if near else otherwise
