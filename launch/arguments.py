"""What the command's parsers share: options that are looked up late, and paths."""

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

from genraven.errors import InputError
from genraven.paths import user_path

AddCommand = Callable[[str, str, str], argparse.ArgumentParser]
"""Adds a command: its name, the function that does it as module:name below ``launch``, and what it does."""


class LateParser(argparse.ArgumentParser):
    """A parser of which some options are looked up, at a cost, only when its command is asked for."""

    later: Callable[[argparse.ArgumentParser], None] | None = None

    def parse_known_args(self, *args: Any, **kwargs: Any) -> Any:
        """Adds what is late before anything is parsed or explained."""
        if self.later is not None:
            self.later(self)
            self.later = None
        return super().parse_known_args(*args, **kwargs)


def path(text: str) -> Path:
    """The value of an option that is a path."""
    try:
        return user_path(text)
    except InputError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
