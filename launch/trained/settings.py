"""Settings of what is done with a trained model: one name, default, range and help each, in Python and in commands.

The fields of these classes are arguments of ``genraven.load`` and ``TrainedModel.evaluate``, and options of commands.
"""

import argparse
import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, fields
from typing import Any, TypeVar

from genraven.errors import InputError, at_least, check_number, flag, setting, shown

SPLITS = ("val", "test")
T = TypeVar("T")


def _setting(default: Any, text: str, **how: Any) -> Any:
    """A field that is an option: its help, and further arguments for argparse."""
    return field(default=default, metadata={"help": text, "type": type(default)} | how)


@dataclass(frozen=True, kw_only=True)
class Opening:
    """With what a trained model is opened.

    Raises:
        InputError: a number out of its range.
    """

    device: str = _setting("auto", "auto, cpu, cuda, cuda:1, ...")
    precision: str | None = _setting(None, "to compute in, such as 32-true or bf16-mixed; default: what the model was "
                                     "trained in", type=str)  # fmt: skip
    seed: int = _setting(0, "of the sampling")
    batch_size: int = _setting(250, "puzzles at once")
    training_set_gib: float = _setting(1.0, "most memory for a training set that is not here and is generated again, "
                                       "to count memorised rows", metavar="GIB")  # fmt: skip
    compiled: bool | None = None
    sampling: Mapping[str, Any] = field(default_factory=dict)
    """Settings of the method, other than the model's own."""
    progress: bool = False

    def __post_init__(self) -> None:
        """Refuses what no model can be opened with."""
        at_least(1, batch_size=self.batch_size)
        at_least(0, seed=self.seed)
        check_number(setting("training_set_gib"), self.training_set_gib)
        if not isinstance(self.sampling, Mapping):
            raise InputError(f"expected sampling= as a mapping of settings to values, got {shown(self.sampling)}.")
        if self.compiled not in (None, False, True):
            raise InputError(f"expected compiled= to be True, False or None, got {shown(self.compiled)}.")
        if not 0 <= self.training_set_gib < math.inf:
            raise InputError(f"expected {setting('training_set_gib')} of 0 or more, got {self.training_set_gib:g}.")


@dataclass(frozen=True, kw_only=True)
class Scoring:
    """What is scored of a model, and how.

    Raises:
        InputError: another split, no puzzle or no fraction.
    """

    split: str = _setting("test", "whose puzzles are completed", choices=SPLITS)
    puzzles_per_rule: int = _setting(100, "held-back puzzles to complete of each rule; as many are generated")
    given_corruption: float = 0.0
    """Fraction of the cells given for completion whose content is replaced by another."""

    def __post_init__(self) -> None:
        """Refuses what cannot be scored."""
        if self.split not in SPLITS:
            raise InputError(f"expected {setting('split')} to be {' or '.join(SPLITS)}, got {self.split!r}.")
        at_least(1, puzzles_per_rule=self.puzzles_per_rule)
        check_number(setting("given_corruption"), self.given_corruption)
        if not 0 <= self.given_corruption <= 1:
            raise InputError(f"expected {setting('given_corruption')} to be a fraction from 0 to 1, got "
                             f"{self.given_corruption:g}.")  # fmt: skip


def add_settings(parser: argparse.ArgumentParser, cls: type, *, without: Collection[str] = (), **helps: str) -> None:
    """An option for each field of ``cls`` that has a help, with another help where one is given in ``helps``."""
    for item in fields(cls):
        if item.metadata and item.name not in without:
            how = {**item.metadata, "help": helps.get(item.name, item.metadata["help"])}
            parser.add_argument(flag(item.name), default=item.default, **how)


def read_settings(options: argparse.Namespace, cls: type[T], **others: Any) -> T:
    """A ``cls`` with the options that there are for its fields, and with ``others``."""
    given = {item.name: getattr(options, item.name) for item in fields(cls) if hasattr(options, item.name)}  # type: ignore[arg-type]
    return cls(**(given | others))
