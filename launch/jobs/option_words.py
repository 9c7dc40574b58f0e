"""Options of ``fit`` in one string of a YAML file, as words of a command line."""

import shlex
from collections.abc import Sequence

from genraven.errors import InputError, shown

CONFIG = ("-c", "--config")


def option_words(options: str, place: str) -> list[str]:
    """The words of ``options``, which stand at ``place``; raises InputError where a quote is left open."""
    try:
        return shlex.split(options)
    except ValueError:
        raise InputError(f"expected options of fit for {place}, got an open quote or a backslash at the end in "
                         f"{shown(options)}: close it.") from None  # fmt: skip


def configs_first(words: Sequence[str]) -> tuple[list[str], list[str]]:
    """The configs among ``words``, each with its -c, and all other words."""
    places = {i + more for i, word in enumerate(words) if word in CONFIG for more in (0, 1)}
    places |= {i for i, word in enumerate(words) if word.startswith("--config=")}
    configs = [word for i, word in enumerate(words) if i in places]
    return configs, [word for i, word in enumerate(words) if i not in places]
