"""``genraven status``: every run of a folder in one table. Reads small files only, and imports nothing heavy."""

import argparse
import os
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from genraven.bounded import read_text
from genraven.console import say
from genraven.errors import InputError
from genraven.escaping import plain
from genraven.locks import holder, is_free, who
from genraven.metrics.table import label, names_of
from genraven.networks.prior import prior_by_name
from genraven.process import is_alive
from genraven.run_folder import (
    STUDY_TABLES,
    SUMMARY_KINDS,
    RunFiles,
    has_begun,
    is_run,
    of_kinds,
    read_note,
    read_summary,
)
from launch.schedulers.known import queue_if_up
from launch.schedulers.scheduler import Jobs

if TYPE_CHECKING:
    from genraven.report.record import Record

DEPTH = 4  # of folders within folders
SILENT_AFTER_S = 900
STARTING_S = 300
"""Within which a process of another machine has taken its run folder, after all imports."""
IN_QUEUE = {"pending": "queued", "configuring": "queued", "completing": "ending"}


@dataclass(frozen=True)
class RunStatus:
    """How one run stands."""

    state: str
    """The scheduler's while it is in the queue; ``starting`` where its process has yet to take the folder; else
    summary.json's: ``finished`` at its last step, ``stopped`` before it by its own options, ``failed``,
    ``interrupted``, ``preempted``; or ``gone``, ``unknown``, ``new``."""
    summary: dict[str, Any]
    message: str = ""

    @property
    def is_busy(self) -> bool:
        """Is a process or the queue taking care of it, as far as can be seen?"""
        return self.state not in ("finished", "stopped", "failed", "interrupted", "preempted", "gone", "new", "unknown")

    @property
    def is_done(self) -> bool:
        """Has it trained for as long as it is meant to: to its last step, or until something stopped it for good?"""
        return self.state == "finished" or (self.state == "stopped" and bool(self.summary.get("stopped")))


def noted_jobs(runs: Iterable[Path]) -> list[str]:
    """The jobs that were last submitted for ``runs``."""
    return [str(job) for run in runs if (job := read_note(run).get("job"))]


def read_status(run: Path, jobs: Jobs | None) -> RunStatus:
    """State of ``run``; ``jobs`` are those in the queue, None where that is not known."""
    try:
        return _read_status(run, jobs)
    except OSError as error:
        return RunStatus("unknown", {}, f"cannot be read: {error.strerror}")


def _read_status(run: Path, jobs: Jobs | None) -> RunStatus:
    summary, note = read_summary(run), read_note(run)
    noted = summary.get("state", "")
    state, message = noted.partition(":")[0], summary.get("reason") or noted.partition(": ")[2]
    if (job := note.get("job")) and jobs is None and state in ("running", "preempted", ""):
        return RunStatus("unknown", summary, f"job {job}: cannot see the queue")
    if jobs and job in jobs:
        queued = jobs[str(job)]
        state = IN_QUEUE.get(queued.state, queued.state)
        return RunStatus(state, summary, f"job {job}" + (f": {queued.reason}" if queued.reason else ""))
    if (held := holder(RunFiles(run).lock)) is not None:
        return RunStatus("running", summary, "" if state == "running" else f"started by {plain(who(held))}")
    if summary.get("process") != {name: note.get(name) for name in ("host", "pid", "began")} and _may_start(run, note):
        return RunStatus("running", summary) if state == "running" else RunStatus("starting", summary)
    if refusal := _refusal(run):
        return RunStatus(state if state == "finished" else "failed", summary, refusal)
    if state == "running":
        return _running(run, summary, note)
    if not summary and RunFiles(run).summary.exists():
        is_closed = not os.access(RunFiles(run).summary, os.R_OK)
        wrong = "may not be read by you" if is_closed else "is broken: the command that trained the run goes on"
        return RunStatus("gone", summary, f"{RunFiles(run).summary.name} {wrong}")
    if not summary and has_begun(run):
        return RunStatus("gone", summary, f"{RunFiles(run).summary.name} is missing: the command that trained the run "
                         "writes it anew")  # fmt: skip
    if not state and not note:
        return RunStatus("new", summary)
    return RunStatus(state, summary, message) if state else RunStatus("gone", summary, f"see {_last_log(run)}")


def _may_start(run: Path, note: dict[str, Any]) -> bool:
    """Is the process of ``note`` alive, or of another machine and so new that it may not have come to its folder?"""
    alive = is_alive(note)
    if alive is not None or "pid" not in note:
        return bool(alive)
    return time.time() - RunFiles(run).job.note.stat().st_mtime < STARTING_S


def _running(run: Path, summary: dict[str, Any], note: dict[str, Any]) -> RunStatus:
    """A run that calls itself running, and whose lock nobody is seen to hold: it may not have said how it ended."""
    process = summary.get("process") or note
    alive = is_alive(process)
    if alive is False or (alive and is_free(RunFiles(run).lock)):  # then it is of another folder, perhaps a copy
        return RunStatus("gone", summary, f"process {process['pid']} has ended")
    if alive:
        return RunStatus("running", summary)
    if note.get("job"):
        return RunStatus("gone", summary, f"job {note['job']} is not in the queue: see {_last_log(run)}")
    silent_s = time.time() - _last_word(run, summary)
    if silent_s > SILENT_AFTER_S:
        return RunStatus("gone", summary, f"silent for {span(silent_s)}")
    return RunStatus("running", summary)


def _last_word(run: Path, summary: dict[str, Any]) -> float:
    """When the summary was last written, in seconds since 1970: as it says, since a copy is as new as the copying."""
    with suppress(KeyError, OverflowError, ValueError):
        return datetime.fromisoformat(summary["updated"]).timestamp()
    return RunFiles(run).summary.stat().st_mtime


def _refusal(run: Path) -> str:
    """Why the last start of ``run`` was refused; empty when it was not, or when the run has gone on since."""
    note = RunFiles(run).job.refusal
    try:
        return plain(" ".join(read_text(note).split())) if note.exists() else ""
    except ValueError:
        return f"see {plain(note)}"


def _last_log(run: Path) -> str:
    job = RunFiles(run).job
    return str(max(job.logs(), key=lambda log: log.stat().st_mtime, default=job.folder))


def find_runs(folder: Path, depth: int = DEPTH) -> Iterator[Path]:
    """Run folders at and below ``folder``, sorted. What cannot be read, or lacks what makes it a run, is named and
    passed over.
    """
    try:
        found = is_run(folder)
        if not found and has_begun(folder):
            say(f"genraven: {folder} passed over: it has files of a run, but no {RunFiles(folder).summary.name} and no "
                f"{RunFiles(folder).checkpoints.name}", error=True)  # fmt: skip
        inner = [] if found or not depth else sorted(path for path in folder.iterdir() if path.is_dir())
    except OSError as error:
        say(f"genraven: {folder} passed over: {error.strerror}", error=True)
        return
    if found:
        yield folder
    for path in inner:
        if not path.name.startswith("."):
            yield from find_runs(path, depth - 1)


def named_runs(folder: Path) -> dict[str, Path]:
    """Run folders at and below ``folder`` by their path from there; one that links lead to as well is there once.

    Raises:
        InputError: there is none.
    """
    if not folder.is_dir():
        raise InputError(f"expected a folder of runs, got {folder}: name one that `genraven fit` or `sweep` wrote.")
    runs = _runs(folder)
    if not runs and (studies := find_studies(folder)):
        raise InputError(f"expected runs in {folder}, got the tables of a study without the weights of its runs: "
                         f"read them by `genraven report {studies[0]}`.")  # fmt: skip
    if not runs:
        raise InputError(f"expected runs in {folder}, got none: name a folder in which `genraven fit` or "
                         "`sweep` trained.")  # fmt: skip
    return runs


def _runs(folder: Path) -> dict[str, Path]:
    found, place = list(find_runs(folder)), folder.resolve()
    links_last = sorted(found, key=lambda run: (run.resolve() != place / run.relative_to(folder), len(run.parts)))
    once = {run.resolve(): run for run in reversed(links_last)}
    kept = [run for run in found if once[run.resolve()] == run]
    return {str(run.relative_to(folder)) if run != folder else run.resolve().name: run for run in kept}


def find_studies(folder: Path) -> list[Path]:
    """Folders at and below ``folder`` with the tables of a study, sorted."""
    places = {path.parent for depth in range(DEPTH + 1) for path in folder.glob("*/" * depth + STUDY_TABLES[0])}
    return sorted(place for place in places if all((place / name).is_file() for name in STUDY_TABLES))


def runs_and_studies(folder: Path) -> tuple[dict[str, Path], dict[str, "Record"]]:
    """As ``named_runs``, and by their names the runs in the tables of studies at and below ``folder``.

    Raises:
        InputError: there are neither, or a table is broken.
    """
    found = find_studies(folder)
    if not found:
        return named_runs(folder), {}
    from genraven.report.study import read_study  # numpy takes its time to import

    kept = {
        str(study.relative_to(folder) / name): files for study in found for name, files in read_study(study).items()
    }
    return _runs(folder), kept


def noted_status(summary: dict[str, Any]) -> RunStatus:
    """Of a run that nobody works on any more, by its summary alone."""
    noted = summary.get("state", "unknown")
    return RunStatus(noted.partition(":")[0], summary, summary.get("reason") or noted.partition(": ")[2])


def scores() -> tuple[str, ...]:
    """The scores that have a column."""
    return names_of(lambda score: score.in_status)


def columns() -> tuple[str, ...]:
    """The headings of the table of runs."""
    return ("run", "state", "prior", "step", *map(label, scores()), "puzzles/s", "left", "message")


def numbers() -> set[str]:
    """The columns that stand to the right."""
    return {"step", *map(label, scores()), "puzzles/s", "left"}


def row(name: str, status: RunStatus) -> tuple[str, ...]:
    """The cells of one run; empty where nothing is known."""
    summary, metrics = status.summary, status.summary.get("metrics") or {}
    step, most = summary.get("step"), summary.get("max_steps") or -1
    speed, left = summary.get("puzzles_per_s"), summary.get("time_left_s") if status.state == "running" else None
    return (
        plain(name),
        status.state,
        summary.get("prior") or (prior_by_name(summary["network"]) if "network" in summary else ""),
        "" if step is None else f"{step}/{most}" if most > 0 else str(step),
        *(_rate(metrics.get(f"val/{name}", metrics.get(f"val/{name}_trained"))) for name in scores()),
        "" if speed is None else f"{speed:.0f}",
        "" if left is None else span(left),
        status.message,
    )


def _rate(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"


def span(duration_s: float) -> str:
    """Two units: ``2d 3h``, ``4h 05m``, ``6m 07s``."""
    minutes, hours, days = int(duration_s // 60), int(duration_s // 3600), int(duration_s // 86400)
    if days:
        return f"{days}d {hours % 24}h"
    return f"{hours}h {minutes % 60:02}m" if hours else f"{minutes}m {int(duration_s % 60):02}s"


def table(rows: Sequence[tuple[str, ...]]) -> str:
    """``rows`` under their headings, numbers to the right."""
    headings, right = columns(), numbers()
    all_rows = [headings, *rows]
    widths = [max(len(cells[i]) for cells in all_rows) for i in range(len(headings))]
    return "\n".join(
        "  ".join(
            cell.rjust(width) if column in right else cell.ljust(width)
            for cell, width, column in zip(cells, widths, headings, strict=True)
        ).rstrip()
        for cells in all_rows
    )


def rows(folder: Path) -> list[tuple[str, ...]]:
    """The cells of all runs at and below ``folder``.

    Raises:
        InputError: there is none.
    """
    runs, kept = runs_and_studies(folder)
    jobs = queue_if_up(noted_jobs(runs.values()))
    of_studies = {name: noted_status(of_kinds(files.summary, SUMMARY_KINDS)) for name, files in kept.items()}
    found = of_studies | {name: read_status(run, jobs) for name, run in runs.items()}
    return [row(name, status) for name, status in found.items()]


def status(options: argparse.Namespace) -> None:
    """Prints the table; with ``--watch``, again and again, until Ctrl-C."""
    if options.watch is None:
        say(table(rows(options.folder)))
        return
    if not options.watch >= 1:
        raise InputError(f"expected --watch of 1 second or more, got {options.watch:g}.")
    from launch.runs.live import watch  # rich takes its time to import

    watch(lambda: rows(options.folder), options.watch, columns=columns(), numbers=numbers(), plain=table)
