"""``genraven sweep``: a grid of runs as one job array, or some at a time on this machine."""

import argparse
import itertools
import math
import re
import shlex
import shutil
import sys
import time
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from genraven.bounded import read_yaml
from genraven.console import say
from genraven.errors import InputError, at_least, shown
from genraven.progress import Progress
from genraven.run_folder import JobFiles, RunFiles, sweep_start
from launch.configs.plugins import named_plugins, plugin_options
from launch.configs.shipped import find_config
from launch.jobs.option_words import check_without, fit_words, option_words
from launch.jobs.submit import check_run, on_cluster, write_note
from launch.runs.freeze import exclusive, freeze_code, no_interrupt, replaced
from launch.runs.status import noted_jobs, read_status
from launch.schedulers.cluster_options import read_cluster
from launch.schedulers.job import Cluster, JobSpec
from launch.schedulers.known import checked, here, queue_if_up
from launch.schedulers.scheduler import Jobs

KINDS = ("model", "data", "trainer")
SEEDS = {
    "seed": ("seed_everything", "model.seed"),
    "repeat": ("seed_everything", "model.seed", "data.seed"),
}
"""Axes that set several options: which of a run's seeds."""
BARE = ("data.samples_per_rule",)  # numbers that need no word before them in a name
MAX_RUNS = 1000
MAX_NAME = 200
"""Bytes of a run's name; a file system takes 255 of a folder's, and some of our files begin with it."""


@dataclass(frozen=True)
class Point:
    """One run of a grid."""

    name: str
    arguments: tuple[str, ...]
    """Of ``fit``, that word first."""


@dataclass(frozen=True)
class Planned:
    """One run that is to be started."""

    point: Point
    folder: Path
    config: dict[str, Any]


def read_grid(path: Path, tier: str | None = None) -> list[Point]:
    """All points of a grid file, in the order of its axes, the last one fastest.

    ``base`` is a command line of ``fit`` without that word. Each of ``axes`` has a list of values and is a kind of
    config (model, data, trainer: names), ``seed`` (of weights, noise and dropout), ``repeat`` (of these and of the
    training puzzles, while the evaluation puzzles stay), or any option of ``fit``. An axis that is no list but names
    with options of ``fit`` each, configs among them, is of variants; what it is called is for the reader alone. What a
    point names overrides the base: its configs the base's configs, its options all others. With no axis there is one
    point, called base.
    Instead of axes a grid may have ``tiers``, by name, each with axes and perhaps a base that follows the grid's own:
    what is trained first comes first.

    Args:
        path: of the file.
        tier: that alone; None takes all.

    Raises:
        InputError: no such file, no such tier, or something else in it.
    """
    try:
        grid = read_yaml(path)
    except (OSError, ValueError) as error:
        raise InputError(f"expected a YAML file of a grid, got {path}: {' '.join(str(error).split())}") from None
    points = [point for base, axes in _tiers(grid, path, tier) for point in _points(base, axes, path)]
    names = [point.name for point in points]
    if long := next((name for name in names if len(name.encode()) > MAX_NAME), None):
        raise InputError(f"expected values that make names of runs of {MAX_NAME} bytes at most, got "
                         f"{len(long.encode())} in {path}, {long[:40]}...: use named variants.")  # fmt: skip
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise InputError(f"expected runs with different names in {path}, got two of {twice}: is a value there twice?")
    if len(points) > MAX_RUNS:
        raise InputError(f"expected at most {MAX_RUNS} runs, got {len(points)} from {path}: split the grid.")
    return points


Axes = dict[str, list[Any] | dict[str, str]]


def _tiers(grid: Any, path: Path, tier: str | None) -> list[tuple[str, Axes]]:
    """The base and the axes of each part of a grid."""
    if isinstance(grid, dict) and grid.keys() <= {"base", "tiers"} and isinstance(grid.get("tiers"), dict):
        tiers = grid["tiers"]
        if tier is not None and tier not in tiers:
            raise InputError(f"expected a tier of {path}, {', '.join(map(str, tiers))}, got {tier}.")
        parts = [_part(tiers[name], path) for name in tiers if tier in (None, name)]
        own = _base(grid, path)
        return [(f"{own} {base}", axes) for base, axes in parts]
    if tier is not None:
        raise InputError(f"expected a grid with tiers for --tier {tier}, got {path} without tiers: leave --tier out.")
    return [_part(grid, path)]


def _part(grid: Any, path: Path) -> tuple[str, Axes]:
    if not isinstance(grid, dict) or not grid.keys() <= {"base", "axes"} or not isinstance(grid.get("axes"), dict):
        kind = "nothing" if grid is None else type(grid).__name__
        found = ", ".join(map(str, grid)) if isinstance(grid, dict) else kind
        raise InputError(f"expected `axes`, and `base` if you like, in {path}, got {found}: see sweep/study.yaml.")
    return _base(grid, path), grid["axes"]


def _base(grid: dict[str, Any], path: Path) -> str:
    base = grid.get("base") or ""
    if not isinstance(base, str):
        raise InputError(f"expected base in {path} to be options of fit in one string, got {base!r}: write them in one "
                         "line.")  # fmt: skip
    return base


def _points(base: str, axes: Axes, path: Path) -> list[Point]:
    for axis, values in axes.items():
        if isinstance(values, dict) and not all(isinstance(options, str) and options for options in values.values()):
            raise InputError(f"expected options of fit in one string for each name of {axis} in {path}, got "
                             f"{values!r}: write name: --option value.")  # fmt: skip
        if not isinstance(values, list | dict) or not values:
            raise InputError(f"expected a list of values for {axis} in {path}, got {values!r}: write [{values}].")
    return [_point(base, axes, chosen, path) for chosen in itertools.product(*axes.values())]


def _point(base: str, axes: Axes, chosen: tuple[Any, ...], path: Path) -> Point:
    """The run with one value, or one name, of each axis."""
    own, name = [], list[str]()
    for (axis, values), value in zip(axes.items(), chosen, strict=True):
        name.append(_label("" if isinstance(values, dict) else axis, value))
        if isinstance(values, dict):
            own += option_words(values[value], f"{value} of {axis} in {path}")
        elif axis in KINDS:
            own += ["-c", str(value) if str(value).endswith(".yaml") else f"{axis}/{value}.yaml"]
        else:
            text = value if isinstance(value, str) else yaml.safe_dump(value, default_flow_style=True, width=math.inf)
            text = text.split("\n...")[0]
            own += [f"--{key}={text.strip()}" for key in SEEDS.get(axis, (axis,))]
    arguments = fit_words(option_words(base, f"base in {path}"), own)
    check_without(arguments, {"run_dir": "the name of each run, in the folder of --out,"}, str(path))
    return Point("-".join(name) or "base", arguments)


def _label(axis: str, value: Any) -> str:
    """What a value adds to a run's name: itself; a number, or the like, after the last word of its option."""
    if isinstance(value, str):
        text = Path(value).stem if axis in KINDS else value
    elif isinstance(value, list):
        text = "+".join(map(str, value))
    else:
        word = axis[0] if axis in SEEDS else "" if axis in BARE and value is not None else axis.rpartition(".")[2]
        text = f"{word}{'null' if value is None else value}"
    return re.sub(r"[^\w.+]", "_", text).strip(".") or "_"


def plan(
    points: list[Point],
    out: Path,
    cluster: Cluster | None,
    jobs: Jobs | None,
    done_in: Path | None = None,
) -> list[Planned]:
    """The points that are not done and that nobody works on; all were resolved as ``fit`` would.

    Without a ``cluster``, the trainers' own nodes and devices stand. What stands in the studies of ``done_in`` is
    done, too.

    Raises:
        InputError: what ``fit`` would refuse, after the name of the run.
    """
    from callbacks.stopping import is_released
    from launch.configs.changes import changed_options
    from launch.jobs.kept import KeptRuns
    from launch.runs.folder import RunFolder
    from launch.training.resolve import Resolver

    kept = KeptRuns.read(done_in)
    resolver, planned, others = Resolver(list(points[0].arguments)), [], dict[str, dict[str, list[Any]]]()
    with Progress("check", len(points), "run") as bar:
        for point in bar.over(points):
            folder = out / point.name
            try:
                config = resolver.resolve([*point.arguments, "--run_dir", str(folder)])
                config = on_cluster(config, cluster) if cluster else config
                status = read_status(folder, jobs)
                if status.is_busy or kept.has(config):
                    continue
                changed = changed_options(RunFolder(folder).config(), config)
                done = status.is_done and status.summary.get("max_steps") == config["trainer"]["max_steps"]
                done &= status.state == "finished" or not is_released(changed)
                if done and changed:
                    others[point.name] = changed
                check_run(folder, config, cluster.time_s if cluster and not done else None, jobs)
            except InputError as error:
                raise InputError(f"run {point.name}: {error}") from None
            if not done:
                planned.append(Planned(point, folder, config))
    _tell_others(others)
    return planned


def _tell_others(others: dict[str, dict[str, list[Any]]]) -> None:
    """Says in one line that runs are done with other options than the grid has now, of which none changes weights."""
    if not others:
        return
    options = {name: both for changed in others.values() for name, both in changed.items()}
    said = (f"{name} {shown(before)} instead of {shown(now)}" for name, (before, now) in options.items())
    say(f"{len(others)} done with other options than now, such as {next(iter(others))}: {', '.join(said)}")


def _tell_slow(planned: list[Planned], grid: Path) -> None:
    """Says which precisions of the grid this machine computes slowly."""
    from launch.trained.precision import slow_precisions

    for line in slow_precisions([run.config for run in planned], grid):
        say(line, error=True)


def sweep(options: argparse.Namespace) -> int:
    """Starts what is missing of a grid: as a job array, or with --local here; 1 when a local run did not finish."""
    grid = Path(find_config(options.grid))
    points, cluster = read_grid(grid, options.tier), None if options.local else read_cluster(options)
    given = {"local": options.local, "max_parallel": options.max_parallel}
    at_least(1, **{name: value for name, value in given.items() if value is not None})
    out = (options.out or Path("runs") / grid.stem).absolute()
    if cluster:
        checked(cluster, dry_run=options.dry_run)
    see_queue = here().queue if cluster and not options.dry_run else queue_if_up
    jobs = see_queue(noted_jobs(out / point.name for point in points))
    planned = plan(points, out, cluster, jobs, options.done_in)
    say(f"{len(points)} runs in {out}: {len(points) - len(planned)} done or at work, {len(planned)} to start")
    if options.local:
        _tell_slow(planned, grid)
    if options.dry_run:
        more = plugin_options()
        say("\n".join(f"{run.point.name:40} genraven {shlex.join([*run.point.arguments, *more])}" for run in planned))
    elif planned and cluster:
        _start_array(planned, out, cluster, options.max_parallel)
    elif planned:
        return _start_here(planned, out, options.local)
    return 0


def _start_array(planned: list[Planned], out: Path, cluster: Cluster, max_parallel: int | None) -> None:
    scheduler = here()
    with ExitStack() as stack:
        files = _freeze(stack, planned, out)
        spec = JobSpec(
            cluster, out.name, files.folder, sys.executable, None, len(planned), max_parallel, plugins=named_plugins()
        )
        files.run_list.write_text("".join(f"{run.folder}\n" for run in planned))
        files.script.write_text(scheduler.script(spec))
        with no_interrupt():  # as in submit
            job = scheduler.submit(files.script)
            for i, run in enumerate(planned):
                write_note(RunFiles(run.folder).job, f"{job}_{i}", cluster, list(run.point.arguments))
            stack.pop_all().close()
            say(f"job {job}: {files.script}")
            say(f"watch   genraven status {shlex.quote(str(out))}")
            say(f"cancel  {scheduler.cancel(job)}")
            say("resume  the same command: it starts what is missing or failed")


def _start_here(planned: list[Planned], out: Path, num_at_once: int) -> int:
    from launch.jobs.local_queue import run_queue

    with ExitStack() as stack:
        files = _freeze(stack, planned, out)
    return run_queue([run.folder for run in planned], files.code, num_at_once)


def _freeze(stack: ExitStack, planned: list[Planned], out: Path) -> JobFiles:
    """Writes the code, and each run's config; ``stack`` takes all back when it does not end well.

    Returns:
        Those of this start: what still waits of an earlier one keeps its own code and list.
    """
    files = JobFiles(stack.enter_context(exclusive(sweep_start(out, time.strftime("%Y%m%d-%H%M%S")))))
    freeze_code(files.folder)
    for run in planned:
        of_run = RunFiles(run.folder).job
        stack.enter_context(replaced(of_run.folder))
        of_run.config.write_text(yaml.safe_dump(run.config, sort_keys=False))
        if files.commit.exists():
            shutil.copy(files.commit, of_run.commit)
    return files
