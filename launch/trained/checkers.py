"""What says whether a completion is right: our rules, or a user's own function."""

import importlib
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from genraven.errors import InputError
from genraven.metrics.completion import rule_holds
from genraven.puzzles import layout

OUR_RULES = "the rules of GenRAVEN"


@dataclass(frozen=True)
class Checker:
    """Labels completed puzzles."""

    name: str
    is_right: Callable[[Tensor, Tensor, Tensor], Tensor]
    """(N,) bool of completed puzzles (N, 3, 9, 9), their rules (N,), -1 where unknown, and the cells that were written
    (N, 9, 9) bool."""


def find_checker(named: str | None) -> Checker:
    """A user's ``module:function``, from rows (N, 3, 3, 9, 3) int8 to bool (N,); ours where none is named.

    Raises:
        InputError: no such function.
    """
    if named is None:
        return Checker(OUR_RULES, rule_holds)
    module, colon, name = named.partition(":")
    if not (module and colon and name):
        raise InputError(f"expected --rules-from module:function, got {named}: name a function of a module.")
    sys.path.append(here := str(Path.cwd()))  # last, so that nothing of Python or ours is shadowed
    try:
        function = getattr(importlib.import_module(module), name)
    except Exception as error:  # a module of the user's may raise anything
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        raise InputError(f"expected --rules-from module:function that can be imported, got {named} ({reason}): mend "
                         "it.") from error  # fmt: skip
    finally:
        sys.path.remove(here)
    if not callable(function):
        raise InputError(f"expected --rules-from module:function, got {named}: name a function of the module.")
    return Checker(named, lambda puzzles, rules, mask: _asked(function, named, puzzles))


def _asked(function: Callable[[np.ndarray], object], named: str, puzzles: Tensor) -> Tensor:
    try:
        says = np.asarray(function(layout.puzzles_to_rows(puzzles).numpy()))
    except Exception as error:
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        raise InputError(f"expected {named} to say which puzzles are right, got {reason}: mend it.") from error
    if says.dtype != np.bool_ or says.shape != (len(puzzles),):
        raise InputError(f"expected bool of shape ({len(puzzles)},) from {named}, got {says.dtype} of {says.shape}: "
                         "one for each puzzle, true where it is right.")  # fmt: skip
    return torch.from_numpy(says)
