"""A study: finished runs in a few tables that pandas reads, to be kept under version control.

- ``runs.jsonl``: a line a run: its name, what summary.json says, and its whole config.
- ``outcomes.jsonl``: a line an evaluation, as evaluation.json has it: scores with counts, hits of single puzzles.
- ``curves.csv``: a row for each step that was logged.
- ``calibrations.jsonl``, where a run has a calibration.

``pandas.read_json("runs.jsonl", lines=True)`` and ``pandas.read_csv("curves.csv")`` read them.
"""

import csv
import io
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

from genraven.bounded import parse_json, read_text
from genraven.errors import InputError, shown
from genraven.files import appears_whole, writable_folder
from genraven.installation import CODE
from genraven.locks import adding_to
from genraven.report.evaluation import VERSION as SCORED_VERSION
from genraven.report.record import Record, parse_rows
from genraven.run_folder import STUDY_TABLES, is_run

RUNS, OUTCOMES, CURVES = STUDY_TABLES
CALIBRATIONS = "calibrations.jsonl"
SHIPPED = CODE / "genraven" / "studies"
"""Those that ship with genraven: a folder of tables each; in a checkout a link to ``docs/study``."""
VERSION = 1
RUN, OWN = "run", ("run", "study_version", "evaluation_version", "evaluated", "config")
"""Columns of ``runs.jsonl`` that are not of summary.json."""
CLOCKS = ("updated", "wall_seconds", "device_seconds", "money", "joules", "process", "time_left_s")
"""What a summary says anew at each start, also of a run that is finished and trains no step."""


def is_study(folder: Path) -> bool:
    """Do tables of a study stand in ``folder``?"""
    return all((folder / name).is_file() for name in STUDY_TABLES)


def read_study(folder: Path) -> dict[str, Record]:
    """The runs of a study, by name.

    Raises:
        InputError: a table is broken, or of another version.
    """
    outcomes, calibrated = _by_run(folder / OUTCOMES), folder / CALIBRATIONS
    calibrations = _by_run(calibrated) if calibrated.exists() else {}
    curves = _read_curves(folder / CURVES)
    found: dict[str, Record] = {}
    for row in _lines(folder / RUNS):
        name, summary = row[RUN], {key: value for key, value in row.items() if key not in OWN}
        versions = row.get("study_version"), row.get("evaluation_version")
        if versions != (VERSION, SCORED_VERSION):
            raise InputError(f"expected a study of version {VERSION} with scores of version {SCORED_VERSION}, got "
                             f"{folder} with {shown(versions)} of {name}: read it with the genraven that wrote "
                             "it.")  # fmt: skip
        if name in found:
            raise InputError(f"expected each run once in {folder / RUNS}, got {name} twice: remove one.")
        texts = [text for one in calibrations.get(name, []) if isinstance(text := one.get("text"), str)]
        found[name] = Record(
            place=folder / name,
            summary=summary,
            config=_object(row.get("config")),
            evaluated=_object(row.get("evaluated")),
            results=tuple(outcomes.get(name, [])),
            curve=tuple(curves.get(name, [])),
            calibration=texts[0] if texts else None,
        )
    return found


def add_to_study(folder: Path, runs: Mapping[str, Record]) -> tuple[list[str], list[str]]:
    """Adds finished, evaluated ``runs`` to the study in ``folder``, which need not be there yet: all of them, or none.

    Of a run that is there, evaluations and a calibration that it got since are added.

    Returns:
        The names of those that were not there, and of those that were there with fewer evaluations.

    Raises:
        InputError: a run is there with other content, or cannot stand in the tables; ``folder`` is that of a run, or
            a table in it is missing or broken.
    """
    if is_run(folder):
        raise InputError(f"expected the folder of a study, got {folder}, which is that of a run: name the study last.")
    writable_folder(folder, "the study")
    with adding_to(folder / RUNS):
        known = read_study(folder) if (folder / RUNS).exists() else {}
        more = []
        for name, files in runs.items():
            _check(name, files)
            if name not in known:
                continue
            before, now = (_content(name, _without_clocks(of_run)) for of_run in (known[name], files))
            if not _goes_on(before, now):
                raise InputError(f"expected {name} as it is in the study {folder}, got a run of that name with other "
                                 "content: rename its folder, or remove the old run from the study.")  # fmt: skip
            if before != now:
                more.append(name)
        new = [name for name in runs if name not in known]
        if new or more or not is_study(folder):
            _write(folder, {**known, **runs})
        return new, more


def _check(name: str, files: Record) -> None:
    if clash := [key for key in OWN if key in files.summary]:
        raise InputError(f"expected the summary of a run in {files.place}, got one with the key {clash[0]}, which "
                         "names a column of the study: remove that key.")  # fmt: skip
    wrong = [one for one in files.results if not isinstance(one, dict) or RUN in one]
    if wrong:
        raise InputError(
            f"expected results of {name} as genraven writes them, got {shown(wrong[0])}: evaluate it anew."
        )


def _write(folder: Path, runs: Mapping[str, Record]) -> None:
    """All tables, that of runs last: what the others have of a run that it lacks counts for nothing."""
    tables = _tables({name: runs[name] for name in sorted(runs, key=Path)})
    with ExitStack() as stack:
        for name in tables:
            path = stack.enter_context(appears_whole(folder / name))  # the first takes its place last
            path.write_text(tables[name], encoding="utf-8")


def _without_clocks(files: Record) -> Record:
    """A run but for when and for how long: a finished one that is started again trains nothing, and says so."""
    summary = {name: value for name, value in files.summary.items() if name not in CLOCKS}
    return replace(files, summary=summary)


def _content(name: str, files: Record) -> dict[str, str]:
    return _tables({name: files})


def _goes_on(before: Mapping[str, str], now: Mapping[str, str]) -> bool:
    """Are the tables of a run those of ``before``, perhaps with more evaluations, or its first calibration?"""
    outcomes = [{*tables[OUTCOMES].splitlines()} for tables in (before, now)]
    others = {name for name in before if name != OUTCOMES}
    return outcomes[0] <= outcomes[1] and all(before[name] == now.get(name) for name in others)


def _tables(runs: Mapping[str, Record]) -> dict[str, str]:
    """The text of each table by its file's name."""
    rows = [
        {RUN: name, "study_version": VERSION, "evaluation_version": SCORED_VERSION, **files.summary,
         "evaluated": files.evaluated, "config": files.config}
        for name, files in runs.items()
    ]  # fmt: skip
    outcomes = [{RUN: name, **result} for name, files in runs.items() for result in files.results]
    calibrations = [{RUN: name, "text": files.calibration} for name, files in runs.items() if files.calibration]
    curves = [{RUN: name, **row} for name, files in runs.items() for row in files.curve]
    tables = {RUNS: _jsonl(rows), OUTCOMES: _jsonl(outcomes), CURVES: _csv(curves)}
    return tables | ({CALIBRATIONS: _jsonl(calibrations)} if calibrations else {})


def _jsonl(rows: Iterable[Mapping[str, Any]]) -> str:
    return "".join(f"{json.dumps(row, default=str)}\n" for row in rows)


def _csv(rows: Sequence[Mapping[str, str]]) -> str:
    names = dict.fromkeys([RUN, "step", *sorted({name for row in rows for name in row})])
    text = io.StringIO()
    writer = csv.DictWriter(text, list(names), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def _lines(path: Path) -> list[dict[str, Any]]:
    """The objects of a table, each with the name of its run."""
    return _read(path, lambda text: [_row(line) for line in text.split("\n") if line.strip()])


def _row(line: str) -> dict[str, Any]:
    row = parse_json(line)
    if not isinstance(row, dict) or not _is_name(row.get(RUN)):
        raise ValueError(f"no run in {shown(line)}")
    return row


def _object(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _is_name(name: Any) -> bool:
    """Is it a relative path below the study?"""
    return isinstance(name, str) and bool(name) and not Path(name).is_absolute() and ".." not in Path(name).parts


def _by_run(path: Path) -> dict[str, list[dict[str, Any]]]:
    """The lines of a table without their first column, by run."""
    found: dict[str, list[dict[str, Any]]] = {}
    for row in _lines(path):
        found.setdefault(row[RUN], []).append({key: value for key, value in row.items() if key != RUN})
    return found


def _read_curves(path: Path) -> dict[str, list[dict[str, str]]]:
    found: dict[str, list[dict[str, str]]] = {}
    for row in _read(path, lambda text: parse_rows(text, RUN, "step")):
        found.setdefault(row.pop(RUN, ""), []).append(row)
    return found


def _read(path: Path, parse: Callable[[str], list[dict[str, Any]]]) -> list[dict[str, Any]]:
    try:
        return parse(read_text(path))
    except (OSError, ValueError, csv.Error) as error:
        reason = error.strerror if isinstance(error, OSError) else " ".join(str(error).split())
        raise InputError(f"expected a table of a study in {path}, got what cannot be read ({reason}): restore "
                         "it.") from None  # fmt: skip
