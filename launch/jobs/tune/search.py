"""What is searched: the ranges of each family, and the budget that all of them have. Pure but for the reading.

A family has T trials, suggested G at a time. G trials are halved in R rungs: all of them train on a part of the
budget's puzzles, the better half goes on to twice as many, and so on; the last rung is the whole. That is successive
halving (Jamieson and Talwalkar 2016) in step: who goes on does not depend on which trial ended first, so that any
number of processes, killed at any time, search the same.
"""

import json
import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeGuard

from genraven.bounded import read_yaml
from genraven.errors import InputError, shown, suggestion
from genraven.metrics.table import SCORES, direction
from genraven.run_folder import is_number
from launch.jobs.option_words import check_without, fit_words, option_words

SEEDS = {"data": 7001, "evaluation": 7002}
"""Of the puzzles to train on and to be scored by, unless the file has others: of no study."""
PARTS = ("base", "score", "budget", "seeds", "families")
SET_BY = {
    **dict.fromkeys(("data.seed", "data.eval_seed"), "seeds"),
    **dict.fromkeys(("trainer.max_steps", "trainer.val_check_interval", "trainer.check_val_every_n_epoch"), "budget"),
    "run_dir": "--out",
}
"""Options that no range can have, and what of a search sets them."""
BATCH = "data.global_batch_size"
FACTOR = 2
"""Of the puzzles from rung to rung; one of so many trials goes on."""


@dataclass(frozen=True)
class Range:
    """Values of one option."""

    choices: tuple[Any, ...] = ()
    """Those to choose from; empty where it is a range of numbers."""
    low: float = 0.0
    high: float = 0.0
    log: bool = False
    """Are its numbers tried evenly in their logarithm?"""

    @property
    def is_whole(self) -> bool:
        """Does it have whole numbers only?"""
        return isinstance(self.low, int) and isinstance(self.high, int)

    @property
    def ends(self) -> tuple[Any, ...]:
        """All choices, or the lowest and the highest number, as a trial would have them."""
        if self.choices:
            return self.choices
        return (self.low, self.high) if self.is_whole else (float(self.low), float(self.high))


@dataclass(frozen=True)
class Budget:
    """The tuning budget of each family."""

    trials: int
    at_once: int
    """Trials that are suggested, and halved, together."""
    rungs: int
    puzzles: int
    """That a trial sees which is never dropped."""

    def rung_sizes(self) -> list[int]:
        """How many of the trials that are halved together reach each rung."""
        return [max(self.at_once // FACTOR**rung, 1) for rung in range(self.rungs)]

    def steps(self, batch: int) -> list[int]:
        """At the end of each rung; validations are so many apart as the first has.

        Raises:
            InputError: the first rung has none.
        """
        whole = self.puzzles // batch // FACTOR ** (self.rungs - 1)
        if whole < 1:
            least = batch * FACTOR ** (self.rungs - 1)
            raise InputError(f"expected budget.puzzles of {least:,} or more, so that the first of {self.rungs} rungs "
                             f"has a step of {batch}, got {self.puzzles:,}: raise it, or lower rungs.")  # fmt: skip
        return [whole * FACTOR**rung for rung in range(self.rungs)]

    def check_batches(self, batches: Collection[int]) -> None:
        """Raises InputError where trials with these ``batches`` would not see as many puzzles as each other."""
        if len({self.steps(batch)[-1] * batch for batch in batches}) < 2:
            return
        unit = math.lcm(*batches) * FACTOR ** (self.rungs - 1)
        raise InputError(f"expected budget.puzzles to be a multiple of {unit:,}, so that trials with batches of "
                         f"{' and '.join(map(str, sorted(batches)))} see as many puzzles, got {self.puzzles:,}: take "
                         f"{max(self.puzzles // unit, 1) * unit:,}.")  # fmt: skip


@dataclass(frozen=True)
class Family:
    """What is tried of one."""

    name: str
    arguments: tuple[str, ...]
    """Of ``fit``, that word first: of the search's base and of the family, whose own override those."""
    ranges: Mapping[str, Range]
    """The range of each option that is tuned."""

    def batches(self, own: int) -> set[int]:
        """Those of its trials: its ``own``, or the choices of their range."""
        return set(self.ranges[BATCH].choices) if BATCH in self.ranges else {own}


@dataclass(frozen=True)
class Search:
    """A whole file."""

    families: tuple[Family, ...]
    budget: Budget
    score: str
    seeds: Mapping[str, int]
    content: Mapping[str, Any]
    """The file's, which distinguishes one search from another."""

    @property
    def metric(self) -> str:
        """The score's name in the curve of a run."""
        return f"val/{self.score}"

    @property
    def is_up(self) -> bool:
        """Is more of it better?"""
        return direction(self.score) > 0


def read_search(path: Path) -> Search:
    """The search that a YAML file asks for.

    Raises:
        InputError: no such file, or something else in it.
    """
    try:
        found = read_yaml(path)
    except (OSError, ValueError) as error:
        raise InputError(f"expected a YAML file of a search, got {path}: {' '.join(str(error).split())}") from None
    _only(found, PARTS, str(path))
    base, score, families = found.get("base") or "", found.get("score", "completion"), found.get("families")
    if not isinstance(base, str):
        raise InputError(f"expected base in {path} to be options of fit in one string, got {shown(base)}: write them "
                         "in one line.")  # fmt: skip
    known = [name for name, one in SCORES.items() if one.higher_is_better is not None]
    if score not in known:
        raise InputError(f"expected score in {path} to be a score, got {shown(score)}: "
                         f"{suggestion(str(score), known, 'such as completion.')}")  # fmt: skip
    if not isinstance(families, dict) or len(families) < 1:
        raise InputError(f"expected families in {path}, each with base and ranges, got {shown(families)}: see "
                         "tune/structured.yaml.")  # fmt: skip
    return Search(
        tuple(_family(str(name), one, base, path) for name, one in families.items()),
        _budget(found.get("budget"), path),
        str(score),
        _seeds(found.get("seeds"), path),
        found,
    )


def _only(found: Any, names: Sequence[str], place: str) -> None:
    if not isinstance(found, dict) or (wrong := [name for name in found if name not in names]):
        got = shown(wrong[0]) if isinstance(found, dict) else "nothing" if found is None else shown(found)
        raise InputError(f"expected {', '.join(names)} in {place}, got {got}: see tune/structured.yaml.")


def _family(name: str, found: Any, base: str, path: Path) -> Family:
    place = f"{name} of {path}"
    _only(found, ("base", "ranges"), place)
    own, ranges = found.get("base") or "", found.get("ranges")
    if not isinstance(own, str) or not name.replace("_", "").isalnum():
        raise InputError("expected a name of letters and digits, and options of fit in one string as base, got "
                         f"{place}: mend it.")  # fmt: skip
    if not isinstance(ranges, dict) or not ranges:
        raise InputError(f"expected ranges of {place}, one for each option, got {shown(ranges)}: add some.")
    if taken := next((option for option in ranges if option in SET_BY), None):
        raise InputError(f"expected ranges of {place} without {taken}, which {SET_BY[taken]} of the search sets: leave "
                         "it out.")  # fmt: skip
    if BATCH in ranges and not isinstance(ranges[BATCH], list):
        raise InputError(f"expected a list of values for {BATCH} of {place}, by which budget.puzzles can be divided, "
                         f"got {shown(ranges[BATCH])}: name some.")  # fmt: skip
    read = {str(option): _range(values, f"{option} of {place}") for option, values in ranges.items()}
    arguments = fit_words(option_words(base, f"base in {path}"), option_words(own, place))
    check_without(arguments, {name: f"{part} of the search" for name, part in SET_BY.items()}, place)
    return Family(name, arguments, read)


def _range(found: Any, place: str) -> Range:
    """A list of values, or ``low``, ``high`` and ``log``. A value that is a list itself is kept as JSON."""
    if isinstance(found, list):
        if wrong := [x for x in found if not isinstance(x, str | bool | int | float | list | None)]:
            raise InputError(f"expected texts, numbers, truth values, null or lists as values for {place}, got "
                             f"{shown(wrong[0])}.")  # fmt: skip
        choices = tuple(json.dumps(x) if isinstance(x, list) else x for x in found)
        if len(set(map(repr, choices))) < max(len(choices), 2):
            raise InputError(f"expected two different values or more for {place}, got {shown(found)}.")
        return Range(choices)
    if not isinstance(found, dict) or found.keys() - {"low", "high", "log"}:
        raise InputError(f"expected a range for {place}, {{low: 1.0e-4, high: 1.0e-2, log: true}} or a list of values, "
                         f"got {shown(found)}.")  # fmt: skip
    low, high, log = found.get("low"), found.get("high"), found.get("log", False)
    if not _is_number(low) or not _is_number(high):
        raise InputError(f"expected numbers as low and high of {place}, got {shown(low)} and {shown(high)}: a number "
                         "like 1e-3 needs a point, 1.0e-3.")  # fmt: skip
    if not isinstance(log, bool):
        raise InputError(f"expected true or false as log of {place}, got {shown(log)}.")
    if low >= high:
        raise InputError(f"expected low below high for {place}, got {low} and {high}.")
    if log and low <= 0:
        raise InputError(f"expected low above 0 for {place}, whose logarithm is searched, got {low}.")
    return Range(low=low, high=high, log=log)


def _is_number(value: Any) -> TypeGuard[float]:
    return bool(is_number(value))


def _budget(found: Any, path: Path) -> Budget:
    _only(found, ("trials", "at_once", "rungs", "puzzles"), f"budget of {path}")
    values = {"at_once": found.get("trials"), "rungs": 1, **found}
    for name in ("trials", "at_once", "rungs", "puzzles"):
        value = values.get(name)
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            raise InputError(f"expected a whole number above 0 for budget.{name} in {path}, got {shown(value)}.")
    budget = Budget(values["trials"], values["at_once"], values["rungs"], values["puzzles"])
    if budget.trials % budget.at_once:
        raise InputError(f"expected budget.trials in {path} to be a multiple of at_once, got {budget.trials} and "
                         f"{budget.at_once}: change one.")  # fmt: skip
    if budget.at_once < FACTOR ** (budget.rungs - 1):
        most = int(math.log2(budget.at_once)) + 1
        raise InputError(f"expected at most {most} rungs for {budget.at_once} trials at once in {path}, got "
                         f"{budget.rungs}: halving leaves none.")  # fmt: skip
    return budget


def _seeds(found: Any, path: Path) -> Mapping[str, int]:
    _only(found or {}, tuple(SEEDS), f"seeds of {path}")
    seeds = {**SEEDS, **(found or {})}
    for name, value in seeds.items():
        if not isinstance(value, int) or isinstance(value, bool) or value < 0:
            raise InputError(f"expected a whole number for seeds.{name} in {path}, got {shown(value)}.")
    return seeds
