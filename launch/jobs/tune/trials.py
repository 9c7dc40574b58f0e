"""A trial is a run like any other: its folder, its command line, its config, what its curve says."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from genraven.errors import InputError
from genraven.files import appears_whole
from genraven.report.record import read_record
from genraven.run_folder import RunFiles
from launch.configs.changes import short_names
from launch.jobs.tune.search import Family, Search

STOP = "callbacks.StopAt"


def trial_folder(out: Path, family: Family, number: int) -> Path:
    """Where a trial's run stands."""
    return out / f"{family.name}-{number:03d}"


def arguments(search: Search, family: Family, values: Mapping[str, Any], folder: Path) -> list[str]:
    """The command line of a trial, but for its length. Its puzzles are of the search's own seeds."""
    options = {
        **values,
        "data.seed": search.seeds["data"],
        "data.eval_seed": search.seeds["evaluation"],
        "run_dir": folder,
    }
    return [*family.arguments, *(f"--{name}={_text(value)}" for name, value in options.items())]


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value) if isinstance(value, bool | None) else str(value)


@dataclass(frozen=True)
class Plan:
    """How long a trial trains."""

    config: Mapping[str, Any]
    """Of ``fit``, resolved."""
    steps: list[int]
    """The steps at which its rungs end."""

    @property
    def batch(self) -> int:
        """Puzzles of a step."""
        return int(self.config["data"]["global_batch_size"])

    def stage(self, rung: int) -> dict[str, Any]:
        """The config that trains up to the end of a rung, by the schedule of the whole."""
        trainer = {**self.config["trainer"], "max_steps": self.steps[-1], "val_check_interval": self.steps[0],
                   "check_val_every_n_epoch": None}  # fmt: skip
        if rung + 1 < len(self.steps):
            stop = {"class_path": STOP, "init_args": {"step": self.steps[rung]}}
            trainer["callbacks"] = [*(trainer.get("callbacks") or []), stop]
        return {**self.config, "trainer": trainer}


def plan(resolver: Any, search: Search, family: Family, values: Mapping[str, Any], folder: Path) -> Plan:
    """The plan of a trial with these values.

    Raises:
        InputError: ``fit`` would refuse it, or the budget has no step.
    """
    config = resolver.resolve(arguments(search, family, values, folder))
    return Plan(config, search.budget.steps(int(config["data"]["global_batch_size"])))


def check_ranges(resolver: Any, search: Search, family: Family, out: Path) -> None:
    """Raises InputError where a value of a range is refused with all values of the other options that it is tried with.

    It is tried with the first values of the other ranges, then with the second ones, and so on. What is refused with
    only some of them is no mistake in the file: such a trial fails before it has cost anything.
    """
    ends = {name: values.ends for name, values in family.ranges.items()}
    num = max(map(len, ends.values()))
    rows = [{name: values[i % len(values)] for name, values in ends.items()} for i in range(num)]
    accepted: list[Mapping[str, Any]] = []
    for name, values in ends.items():
        for i, value in enumerate(values):
            if not any(row[name] is value for row in accepted):
                tries = [{**row, name: value} for row in (*rows[i:], *rows[:i])]
                accepted.append(_first_accepted(tries, resolver, search, family, out))


def _check_kinds(config: Mapping[str, Any], family: Family) -> None:
    """Raises InputError on a range between whole numbers, which are all that it tries, of an option that has others."""
    values = short_names(config)
    for name, one in family.ranges.items():
        if not one.choices and one.is_whole and isinstance(values.get(name), float):
            raise InputError(f"expected numbers with a point as low and high of {name} of {family.name}, which is no "
                             f"whole number, got {one.low} and {one.high}: write {float(one.low)} and "
                             f"{float(one.high)}.")  # fmt: skip


def _first_accepted(
    tries: Sequence[Mapping[str, Any]], resolver: Any, search: Search, family: Family, out: Path
) -> Mapping[str, Any]:
    refusals = []
    for values in tries:
        try:
            tried = plan(resolver, search, family, values, trial_folder(out, family, 0))
        except InputError as error:
            refusals.append(str(error))
        else:
            _check_kinds(tried.config, family)
            return values
    raise InputError(f"expected ranges of {family.name} with options and values of fit, got others: {refusals[0]}")


def write_config(folder: Path, config: Mapping[str, Any]) -> None:
    """Freezes what the run in ``folder`` is started with."""
    path = RunFiles(folder).job.config
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with appears_whole(path) as temporary:
            temporary.write_text(yaml.safe_dump(dict(config), sort_keys=False), encoding="utf-8")
    except OSError as error:
        raise InputError(f"expected a folder that can be written, got {folder} ({error.strerror}): choose another "
                         "--out.") from None  # fmt: skip


def scores(folder: Path, metric: str, steps: list[int]) -> list[float]:
    """The score at the end of each rung that the run has passed, as its curve has it."""
    by_step = {row.get("step"): row.get(metric) for row in read_record(folder, []).curve}
    found: list[float] = []
    for step in steps:
        try:
            value = float(str(by_step.get(str(step))))
        except ValueError:
            break
        if not math.isfinite(value):
            break
        found.append(value)
    return found
