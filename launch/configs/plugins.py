"""``--plugin MODULE``, an option of every command: code of the user's own, for configs and checkpoints to name."""

import importlib
from collections.abc import Sequence

from genraven.errors import InputError

OPTION = "--plugin"
HELP = "module of your own to import, whose classes configs and checkpoints may then name; may be repeated"
_named: list[str] = []  # by the command line of this process


def take_plugins(arguments: Sequence[str]) -> list[str]:
    """``arguments`` without those that name plugins, which are imported.

    Raises:
        InputError: a name is missing, or of no module that can be imported.
    """
    left, named = split_plugins(arguments)
    _named.clear()
    import_plugins(named)
    return left


def split_plugins(arguments: Sequence[str]) -> tuple[list[str], list[str]]:
    """``arguments`` without those that name plugins, and these names; raises InputError where one is missing."""
    left, named = list[str](), list[str]()
    words = iter(arguments)
    for word in words:
        option, equals, name = word.partition("=")
        if option != OPTION:
            left.append(word)
            continue
        name = name if equals else next(words, "")
        if not name or name.startswith("-"):
            raise InputError(
                f"expected a module after {OPTION}, got {name or 'nothing'}: name one, such as my_networks."
            )
        named.append(name)
    return left, named


def import_plugins(names: Sequence[str]) -> None:
    """Imports modules whose classes configs and checkpoints may name from now on.

    Raises:
        InputError: one cannot be imported.
    """
    for name in names:
        _import(name)
        _named[:] = dict.fromkeys([*_named, name])


def named_plugins() -> tuple[str, ...]:
    """The modules that this process's command line names."""
    return tuple(_named)


def plugin_options(names: Sequence[str] | None = None) -> list[str]:
    """The options that make another process import ``names``, or what this one has imported."""
    return [word for name in (_named if names is None else names) for word in (OPTION, name)]


def _import(name: str) -> None:
    try:
        importlib.import_module(name)
    except (Exception, SystemExit) as error:
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        raise InputError(f"expected {OPTION} to name a module that can be imported, got {name} ({reason}): put its "
                         "folder on PYTHONPATH, or mend it.") from error  # fmt: skip
