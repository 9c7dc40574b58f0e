"""What the command's parsers share: what training commands do, options that are looked up late, and paths."""

import argparse
import re
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from genraven.errors import InputError, suggestion
from genraven.paths import user_path

TRAINING_COMMANDS = {
    "fit": "train a model: genraven fit -c model/sit_s.yaml -c data/4k.yaml -c trainer/gpu.yaml",
    "validate": "score a model on the validation puzzles, with fit's options",
    "test": "score a model on the test puzzles, with fit's options",
    "predict": "complete the test puzzles, with fit's options",
}
"""What each does. Their parsers are Lightning's."""


def first_option(words: Iterable[str], names: Collection[str]) -> str | None:
    """The first option among ``words``, with its dashes, whose name is one of ``names``; None where there is none."""
    options = (word.partition("=")[0] for word in words if word.startswith("--"))
    return next((option for option in options if option.removeprefix("--") in names), None)


@dataclass(frozen=True)
class Dependence:
    """An option that has an effect only with one of others, or only without any of them."""

    option: str
    others: tuple[str, ...]
    is_needed: bool
    """Is one of the others needed? Else none of them may be there."""

    def check(self, given: Collection[str]) -> None:
        """Raises InputError where it is among the options ``given``, and has no effect."""
        beside = [other for other in self.others if other in given]
        if self.option not in given or bool(beside) == self.is_needed:
            return
        if self.is_needed:
            raise InputError(f"expected {' or '.join(self.others)} with {self.option}, got {self.option} alone, which "
                             f"has no effect: add {' or '.join(self.others)}, or leave {self.option} out.")  # fmt: skip
        raise InputError(f"expected {self.option} or {beside[0]}, got both, and {self.option} has no effect then: "
                         "leave one out.")  # fmt: skip


WORDS = {
    r"invalid int value: ": "expected a whole number, got ",
    r"invalid int list value: ": "expected whole numbers such as 1,2,3, got ",
    r"invalid float value: ": "expected a number, got ",
    r"invalid float list value: ": "expected numbers such as 0.1,0.5, got ",
    r"the following arguments are required: (.*)": r"expected \1, got nothing",
    r"expected one argument": "expected a value, got none",
    r"expected at least one argument": "expected one value or more, got none",
    r"ignored explicit argument (.*)": r"expected no value, got \1",
    r"ambiguous option: (\S+) could match (.*)": r"expected one option, got \1, which may be \2",
}
"""Of argparse, and what is said instead."""


class DefaultsFormatter(argparse.HelpFormatter):
    """Help that ends with an option's default, where it has one that its text does not name."""

    def _get_help_string(self, action: argparse.Action) -> str | None:
        default = action.default
        no_default = default is None or default is False or default == argparse.SUPPRESS
        if no_default or not action.help or "default" in action.help:
            return action.help
        shown = " ".join(map(str, default)) if isinstance(default, list | tuple) else str(default)
        return f"{action.help} (default: {shown.replace('%', '%%')})"


class _Absent:
    """Stands for an option that was not given."""


class LateParser(argparse.ArgumentParser):
    """A parser of one command, some of whose options are looked up, at a cost, only when it is asked for.

    What it cannot parse is an InputError, of one line.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.later: Callable[[argparse.ArgumentParser], None] | None = None
        self.dependences: list[Dependence] = []
        self.other_commands: tuple[str, ...] = ()
        """Those that another parser reads, but that somebody may have meant."""
        self.commands: list[LateParser] = []
        """The parsers of its own commands."""

    def needs(self, options: Iterable[str], *, one_of: Iterable[str]) -> None:
        """Has each of ``options`` refused without one of those."""
        self.dependences += [Dependence(option, tuple(one_of), is_needed=True) for option in options]

    def excludes(self, options: Iterable[str], *, beside: Iterable[str]) -> None:
        """Has each of ``options`` refused beside one of those."""
        self.dependences += [Dependence(option, tuple(beside), is_needed=False) for option in options]

    def add_late(self) -> None:
        """Adds what is looked up late, once."""
        if self.later is not None:
            self.later(self)
            self.later = None

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """Adds what is late before anything is parsed or explained; raises InputError on an option without effect."""
        self.add_late()
        options = [action for action in self._actions if action.option_strings and action.default != argparse.SUPPRESS]
        namespace = argparse.Namespace() if namespace is None else namespace
        absent, actions = _Absent(), {action.dest: action for action in options}
        defaults = {name: action.default for name, action in actions.items()}
        for name in defaults:
            setattr(namespace, name, absent)
        found, rest = super().parse_known_args(args, namespace)
        if rest:
            known = [word for action in self._actions for word in action.option_strings]
            raise InputError(
                f"expected arguments of {self.prog}, got {' '.join(rest)}: {self._instead(rest[0], known)}"
            )
        dests = {name for name, value in vars(found).items() if value is not absent}
        for name in defaults.keys() - dests:
            default = defaults[name]
            setattr(found, name, self._get_value(actions[name], default) if isinstance(default, str) else default)
        given = {word for action in self._actions if action.dest in dests for word in action.option_strings}
        for dependence in self.dependences:
            dependence.check(given)
        return found, rest

    def error(self, message: str) -> NoReturn:
        """Raises InputError in the words of genraven."""
        said = message.removeprefix("argument ")
        for theirs, ours in WORDS.items():
            said = re.sub(theirs, ours, said)
        raise InputError(said if said.endswith((".", "?")) else f"{said}: {self._instead()}")

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        if action.choices is None or value in action.choices:
            return
        known = list(map(str, action.choices))
        if action.nargs == argparse.PARSER:
            known, expected = [*known, *self.other_commands], "a command"
        else:
            expected = f"{'/'.join(action.option_strings) or action.dest} to be {' or '.join(known)}"
        raise InputError(f"expected {expected}, got {value!r}: {self._instead(str(value), known)}")

    def _instead(self, name: str = "", known: Iterable[str] = ()) -> str:
        """The end of an error: the nearest of the names that are ``known``, or where they all stand."""
        return suggestion(name.partition("=")[0], known, f"see `{self.prog} --help`.")


AddCommand = Callable[[str, str, str], LateParser]
"""Adds a command: its name, the function that does it as module:name below ``launch``, and what it does."""


def add_overwrite(parser: argparse.ArgumentParser) -> None:
    """Adds the option to replace what stands where the command is to write."""
    parser.add_argument("--overwrite", action="store_true", help="replace files that are there, also those that "
                        "genraven did not write or does not know again")  # fmt: skip


def path(text: str) -> Path:
    """The value of an option that is a path."""
    try:
        return user_path(text)
    except InputError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
