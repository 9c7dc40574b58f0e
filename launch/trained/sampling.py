"""Command-line options for how a trained model samples, read off the settings that every method declares."""

import argparse
import warnings
from collections.abc import Callable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, get_args, get_type_hints

from docstring_parser import parse

from genraven.errors import InputError, flag, suggestion
from genraven.methods.method import all_methods, choices_of
from launch.trained.model import TrainedModel
from launch.trained.settings import Opening, read_settings


@dataclass(frozen=True)
class Option:
    """A setting that some methods have."""

    name: str
    kind: Callable[[str], Any]
    choices: tuple[str, ...]
    help: str
    of: str
    """The first class of settings that has it."""


def sampling_options() -> dict[str, Option]:
    """Those of all methods that have been imported, by name."""
    found: dict[str, Option] = {}
    for method in all_methods():
        hints = get_type_hints(method.settings)
        texts = {
            item.arg_name: " ".join((item.description or "").split())
            for item in parse(method.settings.__doc__ or "").params
        }
        for item in fields(method.settings):
            choices = choices_of(item, hints[item.name])
            kind = str if choices else _kind(hints[item.name])
            text = f"{method.__name__}: {texts.get(item.name, '')}"
            before = found.get(item.name)
            if before is not None and (before.kind, before.choices) == (kind, choices):
                text = f"{before.help} {text}"
            elif before is not None:
                kind, choices = str, ()  # methods mean different things by it: each checks its own
            of = before.of if before is not None else method.settings.__name__
            found[item.name] = Option(item.name, kind, choices, text, of)
    return found


def _kind(hint: Any) -> Callable[[str], Any]:
    """What reads a value of a type, or of that or None, from a word."""
    return next((part for part in get_args(hint) if part is not type(None)), hint)


def add_sampling_arguments(parser: argparse.ArgumentParser, *, many: bool = False) -> None:
    """A flag for each setting; with ``many``, several values of each make a grid."""
    several = "; of values separated by commas each is tried, with each of the other settings'" * many
    group = parser.add_argument_group("sampling", "what is not given is the model's own" + several)
    for option in sampling_options().values():
        try:
            group.add_argument(
                flag(option.name),
                dest=option.name,
                type=_list_of(option) if many else _one_of(option),
                default=argparse.SUPPRESS,
                metavar="|".join(option.choices) if option.choices else option.kind.__name__.upper(),
                help=option.help.replace("%", "%%"),
            )
        except argparse.ArgumentError:
            raise InputError(f"expected settings of sampling with names of their own, got {option.name} in "
                             f"{option.of}, while the command has its own {flag(option.name)}: rename it."
                             ) from None  # fmt: skip


def _one_of(option: Option) -> Callable[[str], Any]:
    def read(word: str) -> Any:
        value = option.kind(word)
        if option.choices and value not in option.choices:
            hint = suggestion(word, option.choices, "choose one of those, or name the --plugin that has it.")
            raise argparse.ArgumentTypeError(f"expected one of {', '.join(option.choices)}, got {word!r}: {hint}")
        return value

    read.__name__ = option.kind.__name__
    return read


def _list_of(option: Option) -> Callable[[str], list[Any]]:
    """Values separated by commas, a repeated one once."""
    one = _one_of(option)

    def read(text: str) -> list[Any]:
        return list(dict.fromkeys(one(word) for word in text.split(",")))

    read.__name__ = f"{option.kind.__name__} list"
    return read


def given_sampling(options: argparse.Namespace) -> dict[str, Any]:
    """The sampling settings among ``options``."""
    return {name: value for name, value in vars(options).items() if name in sampling_options()}


def opened(options: argparse.Namespace, path: Path | None = None) -> TrainedModel:
    """The model that ``options`` of a command name, as they say; ``path`` is its checkpoint where that is known."""
    opening = read_settings(options, Opening, sampling=given_sampling(options), progress=True)
    trained = TrainedModel.opened(path or options.run, opening)
    task = getattr(options, "task", None)  # of a command that has one alone
    for name, why in trained.sampling.unheeded(task).items() if task is not None else ():
        if name in opening.sampling:
            warnings.warn(f"{flag(name)} {why}: `genraven {options.command}` does not use it.", stacklevel=2)
    return trained
