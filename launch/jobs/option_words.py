"""Options of ``fit`` in one string of a YAML file, as words of a command line."""

import shlex
from collections.abc import Mapping, Sequence

from genraven.errors import InputError, shown
from launch.arguments import first_option

CONFIG = ("-c", "--config")


def option_words(options: str, place: str) -> list[str]:
    """The words of ``options``, which stand at ``place``; raises InputError where a quote is left open."""
    try:
        return shlex.split(options)
    except ValueError:
        raise InputError(f"expected options of fit for {place}, got an open quote or a backslash at the end in "
                         f"{shown(options)}: close it.") from None  # fmt: skip


def fit_words(base: Sequence[str], own: Sequence[str]) -> tuple[str, ...]:
    """The command line of ``fit`` with the words of a ``base`` and a run's ``own``, which override the base's.

    Configs come before options, so that an option of the base overrides a config of the run. Shipped recipes come after
    all other configs: each adapts a model, wherever that is named.
    """
    configs, options = zip(*map(_configs_first, (base, own)), strict=True)
    in_order = sorted((path for paths in configs for path in paths), key=lambda path: path.startswith("recipe/"))
    return ("fit", *(word for path in in_order for word in ("-c", path)), *options[0], *options[1])


def _configs_first(words: Sequence[str]) -> tuple[list[str], list[str]]:
    """The configs that ``words`` name, and all other words."""
    configs, others, rest = [], [], iter(words)
    for word in rest:
        if word in CONFIG and (path := next(rest, None)) is not None:
            configs.append(path)
        elif word.startswith("--config="):
            configs.append(word.partition("=")[2])
        else:
            others.append(word)
    return configs, others


def check_without(words: Sequence[str], set_by: Mapping[str, str], place: str) -> None:
    """Raises InputError at an option among ``words``, which stand at ``place``, that is ``set_by`` something else."""
    if option := first_option(words, set_by):
        setter = set_by[option.removeprefix("--")]
        raise InputError(f"expected {place} without {option}, which {setter} sets: leave it out.")
