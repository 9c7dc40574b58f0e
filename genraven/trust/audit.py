"""The record of a completion: what was given and written, how sure the model was, what was decided and why.

One JSON object a line. Cells are numbered 0-80 in the order row, panel, cell row, cell column; a cell is [] where it is
empty, else [shape, size, color]. Each line says how many ``records`` there are, and its ``digest`` is of all up to it.
It tells what was damaged or edited and no forgery: it has no key, so that whoever changes a file on purpose can write a
digest that fits.
"""

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from genraven.bounded import open_regular, parse_json
from genraven.errors import InputError
from genraven.puzzles import layout
from genraven.puzzles.spec import EMPTY, NUM_ATTRIBUTES, NUM_CELLS, NUM_PANELS, TOKENS_PER_PUZZLE
from genraven.trust.digest import changed, digest

_LONGEST = 1 << 24  # bytes of a line
VERSION, SUFFIX = 3, ".audit.jsonl"
Decision = Literal["accept", "review"]
Cell = Sequence[int]


@dataclass(frozen=True)
class Candidate:
    """One completion of a puzzle."""

    written: Sequence[Cell]
    """The written cells, in the order of ``Record.written_cells``."""
    score: float
    """The confidence that decides, the higher the surer."""
    agreement: Mapping[str, float]
    """Fraction of the other candidates with the same shapes, sizes, colors, count, cells; empty for a single one."""


@dataclass(frozen=True)
class Record:
    """One puzzle's completion."""

    puzzle: int
    """Its place in the file, from 0."""
    decision: Decision
    confidence: float | None
    """Probability of being right, for puzzles like those of the calibration; None without one."""
    score: str
    """The name of the confidence that decides; no checker of rules has a part in it."""
    threshold: float | None
    """Scores from here on are accepted; None where nothing is."""
    promise: Mapping[str, Any] | None
    """``max_error`` and ``delta``: with probability 1 - delta over calibration puzzles at most max_error of the
    accepted are wrong, for ``holds_for``; None where none was asked for. ``unlike_p_value``: chance of puzzles as
    different from those, as the ones of the file are as a whole, if they are of the same kind. ``check``: what that
    check could have seen with so many puzzles and what not, in numbers and ``in_words``."""
    familiarity: float | None
    """Nats by which the given cells are likelier than the model expects; None where it does not know."""
    given: Sequence[Cell | None]
    """(81,) cells; None where the model wrote."""
    written_cells: Sequence[int]
    """Numbers of the cells that it wrote."""
    candidates: Sequence[Candidate]
    chosen: int
    """The candidate that was kept."""
    rests_on: Sequence[Mapping[str, float]] | None
    """For each given panel ``row`` and ``panel``, from 1, and ``change``: by how much the log-probability of what was
    written falls, on average, when that panel is exchanged for those of other puzzles. The strongest first."""
    rests_on_unit: str | None
    """Of the changes: nats; of a model that knows no probability, the fraction of features that it writes again."""
    checker: Mapping[str, Any] | None
    """What a checker of rules says of the kept candidate. It stands apart: it had no part in all the above."""
    made_by: Mapping[str, Any]
    """Model, checkpoint, decoding, numerics, seed, the batch [start, stop) that it was completed in, and versions: with
    these, and the given cells of the batch, the record is made again."""

    @property
    def written(self) -> Sequence[Cell]:
        """The cells of the kept candidate."""
        return self.candidates[self.chosen].written


def cells_of(puzzle: Tensor) -> list[list[int]]:
    """The 81 cells of a puzzle (3, 9, 9)."""
    tokens = layout.canonical(layout.puzzles_to_tokens(puzzle.unsqueeze(0)))[0].tolist()
    return [[] if cell[0] == EMPTY else cell for cell in tokens]


def strongest_first(changes: Tensor) -> list[dict[str, float]]:
    """``rests_on`` from (9,) changes, NaN for written panels."""
    found = [
        {"row": panel // NUM_PANELS + 1, "panel": panel % NUM_PANELS + 1, "change": round(change, 6)}
        for panel, change in enumerate(changes.tolist())
        if not math.isnan(change)
    ]
    return sorted(found, key=lambda each: -each["change"])


def puzzles_of(records: Sequence[Record]) -> tuple[Tensor, Tensor]:
    """(B, 3, 9, 9) int8 as they were kept, and (B, 9, 9) bool, true where the model wrote."""
    tokens = torch.full((len(records), TOKENS_PER_PUZZLE, NUM_ATTRIBUTES), EMPTY, dtype=torch.int8)
    mask = torch.zeros(len(records), TOKENS_PER_PUZZLE, dtype=torch.bool)
    for b, record in enumerate(records):
        positions = list(record.written_cells)
        mask[b, positions] = True
        cells = dict(enumerate(record.given)) | dict(zip(positions, record.written, strict=True))
        for place, cell in cells.items():
            if cell:
                tokens[b, place] = torch.tensor(cell, dtype=torch.int8)
    pictures = layout.tokens_to_puzzles(mask.to(torch.int8).unsqueeze(-1).expand(-1, -1, NUM_ATTRIBUTES))
    return layout.tokens_to_puzzles(tokens), pictures[:, 0].bool()


def write_records(path: Path, records: Iterable[Record]) -> None:
    """Writes all of them."""
    all_of_it, before = list(records), ""
    with path.open("w", encoding="utf-8") as file:
        for record in all_of_it:
            body = {"version": VERSION, "records": len(all_of_it), **asdict(record)}
            before = digest(body, before)
            file.write(json.dumps(body | {"digest": before}, allow_nan=False) + "\n")


def holds_records(path: Path) -> bool:
    """Does ``path`` begin with a record, of any version?"""
    with suppress(OSError, ValueError), open_regular(path) as file:
        body = parse_json(file.readline(_LONGEST).decode())
        return isinstance(body, dict) and {"version", "written_cells", "candidates", "made_by"} <= body.keys()
    return False


def read_records(path: Path) -> list[Record]:
    """What ``write_records`` wrote, or what somebody made up who wrote the digests as well: these have no key.

    Raises:
        InputError: another file, another version, or one that its digests do not fit.
    """
    try:
        with open_regular(path) as file:
            return _checked(file, path)
    except OSError as error:
        raise InputError(f"expected audit records in {path}, got none ({error.strerror}).") from None


def _checked(lines: Iterable[bytes], path: Path) -> list[Record]:
    """The records of ``lines``, held against their digests."""
    records, before, total = list[Record](), "", 0
    for i, line in enumerate(lines, 1):
        where = f"line {i} of {path}"
        body = _body(line, where)
        noted, before = body.pop("digest", None), digest(body, before)
        if noted != before:
            raise InputError(changed(where, "`genraven complete`"))
        total = body.pop("records", None)
        records.append(_record(body, where))
    if total != len(records):
        raise InputError(changed(str(path), "`genraven complete`"))
    return records


def _body(line: bytes, where: str) -> dict[str, Any]:
    """A line of this version."""
    try:
        body = parse_json(line.decode())
    except ValueError:
        body = None
    if not isinstance(body, dict) or body.get("version") != VERSION:
        raise InputError(f"expected an audit record of version {VERSION} in {where}, got another: write it anew with "
                         "`genraven complete`.")  # fmt: skip
    return body


def _record(body: dict[str, Any], where: str) -> Record:
    del body["version"]
    if set(body) != {item.name for item in fields(Record)}:
        raise InputError(f"expected a whole audit record in {where}, got another: write it anew with `genraven "
                         "complete`.")  # fmt: skip
    return Record(**(body | {"candidates": [Candidate(**each) for each in body["candidates"]]}))


def panel_and_cell(cell: int) -> tuple[int, int, int]:
    """Row, panel and cell within it, from 1, of a cell 0-80."""
    panel, within = divmod(cell, NUM_CELLS)
    return panel // NUM_PANELS + 1, panel % NUM_PANELS + 1, within + 1
