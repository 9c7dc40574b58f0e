"""Runs as the report has them, of folders and of studies; nothing is drawn here."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from genraven.progress import Progress
from genraven.report.reading import read_run, run_of
from genraven.report.record import Record
from genraven.report.runs import Run
from genraven.run_folder import SUMMARY_KINDS, of_kinds
from launch.runs.status import noted_jobs, noted_status, read_status
from launch.schedulers.known import queue_if_up


def read_runs(
    folders: Mapping[str, Path], kept: Mapping[str, Record], price: float | None = None
) -> tuple[list[Run], list[str]]:
    """All runs in ``folders`` and those ``kept`` in studies, and what is passed over; ``price`` overrides theirs."""
    jobs = queue_if_up(noted_jobs(folders.values()))
    found = []
    with Progress("read", len(kept) + len(folders), "run") as bar:
        for name, files in bar.over(kept.items()):
            status = noted_status(of_kinds(files.summary, SUMMARY_KINDS))
            found.append(run_of(name, files, status.state, status.message))
        for name, path in bar.over(folders.items()):
            status = read_status(path, jobs)
            found.append(read_run(name, path, status.state, status.message))
    runs = [run if price is None else replace(run, price=price) for run, _ in found]
    return runs, [note for _, notes in found for note in notes]
