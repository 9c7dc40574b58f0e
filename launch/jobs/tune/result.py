"""What a search found: the best config of each family, a table of all trials, Optuna's pictures."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from genraven.errors import InputError
from genraven.files import appears_whole
from genraven.metrics.table import label
from launch.jobs.tune.search import Family
from launch.jobs.tune.storage import draw, reason
from launch.jobs.tune.trials import Plan, trial_folder
from launch.jobs.tune.worker import Worker

KEPT = ("data.global_batch_size", "trainer.gradient_clip_val")
"""What the best config has, beside its model and what was searched."""
TABLE = "tuning.md"


@dataclass(frozen=True)
class Tried:
    """A trial and how it ended."""

    number: int
    values: Mapping[str, Any]
    scores: Sequence[float]
    """At the ends of the rungs that it passed."""
    end: str
    """How the trial ended, in words."""
    puzzles: int
    """How many puzzles it saw."""
    is_whole: bool


def tried(worker: Worker, family: Family) -> list[Tried]:
    """All trials of a family."""
    found = []
    for trial in worker.memory.trials(family):
        steps = sorted(trial.intermediate_values)
        batch = worker.plan_of(family, trial.number, trial.params).batch if steps else 0
        words = {"complete": "whole", "pruned": "dropped", "fail": f"failed: {reason(trial)}"}
        end = trial.state.name.lower()
        found.append(Tried(trial.number, trial.params, [trial.intermediate_values[step] for step in steps],
                           words.get(end, end), steps[-1] * batch if steps else 0, end == "complete"))  # fmt: skip
    return found


def write_result(worker: Worker, say: Callable[[str], None]) -> None:
    """Writes all into the search's folder, and says where it is.

    Raises:
        InputError: no trial of a family got to the end. What there is of the others has been written.
    """
    of_all = [(family, tried(worker, family)) for family in worker.search.families]
    _write(worker.out / TABLE, _table([_row(family, one) for family, trials in of_all for one in trials], worker))
    for family, trials in of_all:
        if any(one.is_whole for one in trials):
            _write_family(worker, family, trials, say)
    say(str(worker.out / TABLE))
    for family, trials in of_all:
        if not any(one.is_whole for one in trials):
            ends = [one.end for one in trials if one.end.startswith("failed")]
            raise InputError(f"expected a finished trial of {family.name}, got none of {worker.search.budget.trials} "
                             f"({ends[0] if ends else 'none was trained'}): see `genraven status {worker.out}`, and "
                             "try other ranges in another --out.")  # fmt: skip


def _write_family(worker: Worker, family: Family, trials: Sequence[Tried], say: Callable[[str], None]) -> None:
    sign = 1 if worker.search.is_up else -1
    whole = [one for one in trials if one.is_whole]
    best, seen = max(whole, key=lambda one: (sign * one.scores[-1], -one.number)), sum(one.puzzles for one in trials)
    path = worker.out / f"best-{family.name}.yaml"
    _write(path, _best(worker, family, best, worker.plan_of(family, best.number, best.values), seen))
    say(f"{family.name}: {label(worker.search.score)} {best.scores[-1]:.3f} on validation puzzles, trial {best.number} "
        f"of {worker.search.budget.trials}, {seen:,} puzzles seen in all: {path}")  # fmt: skip
    for picture in worker.memory.pictures(family):
        place = worker.out / f"{family.name}-{picture.name}.png"
        if len(whole) < picture.least:
            say(f"no {place.name}: it needs {picture.least} finished trials or more, got {len(whole)}")
        else:
            say(str(place) if draw(picture, place) else f"no {place.name}: its trials are all alike")


def _write(path: Path, text: str) -> None:
    with appears_whole(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def _best(worker: Worker, family: Family, one: Tried, plan: Plan, seen: int) -> str:
    """A config of the model, and of what else was searched; what it was tuned with goes along."""
    found: dict[str, Any] = {"model": plan.config["model"]}
    for name in (*KEPT, *(name for name in one.values if not name.startswith("model."))):
        *parts, last = name.split(".")
        place, value = found, plan.config
        for part in parts:
            place, value = place.setdefault(part, {}), value.get(part) or {}
        if name in one.values or value.get(last) is not None:
            place[last] = value.get(last)
    found = {part: tree for part, tree in found.items() if tree != {}}
    found["tuned"] = {"trials": worker.search.budget.trials, "puzzles": seen}
    values = ", ".join(f"{name} {value}" for name, value in one.values.items())
    return (f"# {family.name}, tuned: {worker.search.score} {one.scores[-1]:.3f} on validation puzzles; {values}\n"
            f"# of {trial_folder(worker.out, family, one.number).name}, by genraven tune\n"
            f"{yaml.safe_dump(found, sort_keys=False)}")  # fmt: skip


def _row(family: Family, one: Tried) -> list[str]:
    values = ", ".join(f"{name.rpartition('.')[2]} {_short(value)}" for name, value in one.values.items())
    marks = ", ".join(f"{score:.3f}" for score in one.scores)
    return [family.name, str(one.number), values, one.end, marks, f"{one.puzzles:,}"]


def _short(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else "null" if value is None else str(value)


def _table(rows: Sequence[Sequence[str]], worker: Worker) -> str:
    budget = worker.search.budget
    headings = ["family", "trial", "values", "end", f"{label(worker.search.score)} at each rung", "puzzles"]
    lines = [headings, ["---"] * len(headings), *rows]
    return (f"Each family: {budget.trials} trials, {budget.at_once} at a time, {budget.rungs} rungs, "
            f"{budget.puzzles:,} puzzles of a trial that is never dropped.\n\n"
            + "".join(f"| {' | '.join(cell.replace('|', '/') for cell in line)} |\n" for line in lines))  # fmt: skip
