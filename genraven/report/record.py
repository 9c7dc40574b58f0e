"""What the small files of a run hold, wherever they stand: in its folder, or in the tables of a study."""

import csv
import io
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from genraven.bounded import read_json, read_text, read_yaml
from genraven.errors import InputError
from genraven.report.english import sentence
from genraven.report.evaluation import Evaluation
from genraven.run_folder import RunFiles

Json = Mapping[str, Any]


@dataclass(frozen=True)
class Record:
    """The files of a run as they were written, unchecked. What is missing, or broken, is empty."""

    place: Path
    """The folder of the run, for messages."""
    summary: Json = field(default_factory=dict)
    config: Json = field(default_factory=dict)
    evaluated: Json = field(default_factory=dict)
    """What evaluation.json says of the run."""
    results: tuple[Any, ...] = ()
    """The results in evaluation.json, oldest first."""
    curve: tuple[Mapping[str, str], ...] = ()
    """Rows of curve.csv, without empty cells."""
    calibration: str | None = None
    """The text of calibration.json."""


def read_record(run: Path, notes: list[str]) -> Record:
    """Of the run folder ``run``; adds to ``notes`` what is broken and passed over."""
    files = RunFiles(run)
    summary, configs = _read_object(files.summary, notes), (files.config, files.job.config)
    config = next((found for file in configs if (found := _read_object(file, notes))), {})
    evaluated, results = _read_evaluation(files.evaluation, notes)
    curve, calibration = _read_curve(files.curve, notes), _read_calibration(files.calibration, notes)
    return Record(run, summary, config, evaluated, tuple(results), curve, calibration)


def _read_object(path: Path, notes: list[str]) -> dict[str, Any]:
    """The object in a JSON or YAML file; empty where there is none, with a note where it is broken."""
    try:
        found = read_json(path) if path.suffix == ".json" else read_yaml(path)
    except FileNotFoundError:
        return {}
    except (OSError, ValueError):
        found = None
    if isinstance(found, dict):
        return found
    notes.append(sentence("broken", place=path))
    return {}


def _read_evaluation(path: Path, notes: list[str]) -> tuple[Json, list[Any]]:
    try:
        return Evaluation(path).run(), Evaluation(path).results()
    except InputError as error:
        notes.append(sentence("passed_over", place=path, reason=error))
        return {}, []


def _read_curve(path: Path, notes: list[str]) -> tuple[Mapping[str, str], ...]:
    try:
        text = read_text(path)
        return tuple(parse_rows(text, "step")) if text else ()
    except FileNotFoundError:
        return ()
    except (OSError, ValueError, csv.Error):
        notes.append(sentence("broken", place=path))
        return ()


def parse_rows(text: str, *first: str) -> list[dict[str, str]]:
    """The rows of a table in CSV, without empty cells.

    Args:
        text: of the whole table.
        first: the names of its first columns.

    Raises:
        ValueError: the table is cut, or no such table.
    """
    header, *lines = [*csv.reader(io.StringIO(text))] or [[]]
    if (*header[: len(first)],) != first:
        raise ValueError(f"its first columns are not {','.join(first)}")
    if len({*header} - {""}) < len(header):
        raise ValueError("its columns do not each have a name of their own")
    if not text.endswith("\n"):
        raise ValueError("its last line is cut")
    for number, line in enumerate(lines, 2):
        if line and len(line) != len(header):
            raise ValueError(f"line {number} has {len(line)} cells, not {len(header)}")
    return [{name: cell for name, cell in zip(header, line, strict=True) if name and cell} for line in lines if line]


def _read_calibration(path: Path, notes: list[str]) -> str | None:
    try:
        return read_text(path)
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        notes.append(sentence("passed_over", place=path, reason=error))
        return None
