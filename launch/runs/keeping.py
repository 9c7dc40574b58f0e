"""``genraven study add``: finished runs into the tables of a study, to be kept under version control."""

import argparse
from pathlib import Path

from genraven.console import say
from genraven.errors import InputError
from genraven.report.english import counted
from genraven.report.record import Record, read_record
from genraven.report.study import add_to_study
from genraven.run_folder import RunFiles
from launch.runs.status import named_runs, noted_jobs, read_status
from launch.schedulers.known import queue_if_up
from launch.schedulers.scheduler import Jobs


def add(options: argparse.Namespace) -> None:
    """Adds the runs at and below each given folder to a study, or what they got since: of all of them, or none."""
    runs: dict[str, Path] = {}
    for folder in options.runs:
        for name, run in named_runs(folder).items():
            if runs.setdefault(name, run) != run:
                raise InputError(f"expected runs of different names, got {name} twice: rename one of the folders.")
    jobs = queue_if_up(noted_jobs(runs.values()))
    new, more = add_to_study(options.study, {name: _finished(name, run, jobs) for name, run in runs.items()})
    known = len(runs) - len(new) - len(more)
    say(f"{options.study}: {counted(len(new), 'run')} added" + f", {len(more)} with further evaluations" * bool(more)
        + f", {known} already there" * bool(known))  # fmt: skip


def _finished(name: str, run: Path, jobs: Jobs | None) -> Record:
    status, notes = read_status(run, jobs), list[str]()
    files = read_record(run, notes)
    if notes:
        raise InputError(f"expected runs whose files can be read, got {name}: {notes[0]}")
    if not status.is_done:
        raise InputError(f"expected runs that are finished, got {name}, which is {status.state}: finish it first, or "
                         "name only the others.")  # fmt: skip
    if not files.config:
        raise InputError(f"expected runs with their settings, got {name} without {RunFiles(run).config.name}: copy it "
                         "from where it was trained.")  # fmt: skip
    if not files.results:
        raise InputError(f"expected runs with scores, got {name} without scores: run `genraven evaluate {run}` first.")
    return files
