"""What to run next: commands that work as they stand, with the recipe of the runs that the answer rests on."""

import functools
import shlex
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from genraven.report.contest import Choice
from genraven.report.runs import Run
from genraven.run_folder import RunFiles
from launch.advice.asked import Asked
from launch.advice.studies import Body, shipped
from launch.configs.shipped import CONFIGS, find_config
from launch.jobs.sweep import SEEDS, Point, read_grid

FOLDER = "runs/advised"
CARRIED = {"trainer.precision": ("trainer.precision", None), "model.init_args.decay_all": ("model.decay_all", "False")}
"""Settings that a run has and today's grid may not ask for, each with its option of ``fit`` and what ``fit`` does where
nothing asks: another device trained it, or it is older than the option."""
GRIDS = {"general": ("example", ""), "structured": ("whole", " --tier first")}
"""By the prior of the networks: the shipped grid of both families that a CPU core trains, and which part of it."""


def train(body: Body, choice: Choice, examples: int) -> list[str]:
    """The chosen recipe on so many examples of each rule, for as long as the choice was trained.

    A grid of both families where its recipe is not shipped; nothing where it is the user's, and no run folder has it.
    """
    words = recipe(body, choice.point.first)
    if words is None:
        return _grid(body)
    name = _name(choice.point.first)
    place = f"{FOLDER}/{name}-{examples}"
    steps = {} if choice.stops_at is None else {"trainer.max_steps": choice.stops_at}
    command = _command(words, {"data.samples_per_rule": examples, **steps, "run_dir": place})
    return [command, f"genraven evaluate {FOLDER}"]


def more_repeats(body: Body, choices: Sequence[Choice], asked: Asked) -> list[str]:
    """One more repeat of each choice, with other seeds than all that were measured, and the question again.

    Of a checkpoint it is the whole training: a shorter one is of another recipe, and no repeat of the study's.
    """
    found = []
    for choice in choices:
        words, run = recipe(body, choice.point.first), choice.point.first
        if words is None:
            return _grid(body)
        seeds = [one.seeds.data for one in body.runs if one.seeds.data is not None]
        seed = max(seeds, default=0) + 1
        place = f"{FOLDER}/{_name(run)}-{choice.point.samples}-r{seed}"
        found.append(_command(words, {**dict.fromkeys(SEEDS["repeat"], seed), "run_dir": place}))
    evidence = tuple(dict.fromkeys([*asked.evidence, FOLDER]))
    return [*found, f"genraven evaluate {FOLDER}", replace(asked, evidence=evidence).command]


def recipe(body: Body, run: Run) -> list[str] | None:
    """Words of the command that trained ``run``: of the grid that it is of, or its own config; None where neither is.

    A run of a study that ships is named as a grid names it, and of such a grid as many steps are asked as it took.
    """
    if run.path is not None:
        return ["genraven", "fit", "-c", str(RunFiles(run.path).config)]
    if _content(run) not in _shipped_contents():  # a user's grid may name its runs alike
        return None
    name, own = run.name.removeprefix(f"{body.study}/"), f"sweep/{body.study}.yaml"
    grids = sorted((path.relative_to(CONFIGS).as_posix() for path in CONFIGS.glob("sweep/*.yaml")),
                   key=lambda grid: (grid != own, not grid.startswith(own.removesuffix(".yaml")), grid))  # fmt: skip
    for grid in grids:
        point = _points(grid).get(name)
        if point and _option(point, "--trainer.max_steps") == str(run.max_steps):
            return _with(["genraven", *point.arguments], _carried(run, point))
    return None


@functools.cache
def _shipped_contents() -> frozenset[Hashable]:
    return frozenset(_content(run) for body in shipped() for run in body.runs)


def _content(run: Run) -> Hashable:
    """What tells a run of a study from others, but for the settings that ``_carried`` asks for."""
    settings = {name: value for name, value in run.settings.items() if name not in CARRIED}
    return run.name.rpartition("/")[2], frozenset(run.dataset.items()), frozenset(settings.items())


def _carried(run: Run, point: Point) -> dict[str, str]:
    """What else ``fit`` has to be asked for, so that the command of ``point`` trains the recipe of ``run``."""
    asked = {setting: _option(point, f"--{option}") or usual for setting, (option, usual) in CARRIED.items()}
    return {CARRIED[setting][0]: run.settings[setting] for setting, value in asked.items()
            if run.settings.get(setting, value) != value}  # fmt: skip


def _command(words: Sequence[str], options: Mapping[str, object]) -> str:
    return shlex.join(_with(words, options))


def _with(words: Sequence[str], options: Mapping[str, object]) -> list[str]:
    """``words`` with these options instead of what they have of them, as two words or as one."""
    kept, left = list[str](), iter(words)
    for word in left:
        name, equals, _ = word.partition("=")
        if not name.startswith("--") or name.removeprefix("--") not in options:
            kept.append(word)
        elif not equals:
            next(left)  # its value
    return [*kept, *(f"--{name}={value}" for name, value in options.items())]


@functools.cache
def _points(grid: str) -> dict[str, Point]:
    return {point.name: point for point in read_grid(Path(find_config(grid)))}


def _option(point: Point, name: str) -> str | None:
    """The last value of an option, written as two words or as one."""
    words, found = point.arguments, None
    for word, after in zip(words, (*words[1:], ""), strict=True):
        option, equals, value = word.partition("=")
        if option == name:
            found = value if equals else after
    return found


def _grid(body: Body) -> list[str]:
    """None where the body is the user's: no shipped grid is known to train its rules."""
    if body.study not in {one.study for one in shipped()}:
        return []
    name, part = GRIDS[body.prior]
    place = f"runs/{name}"
    return [
        f"genraven sweep sweep/{name}.yaml{part} --local 1",
        f"genraven evaluate {place}",
        f"genraven report {place}",
    ]


def _name(run: Run) -> str:
    return (run.architecture or "model").lower().replace(" ", "-")
