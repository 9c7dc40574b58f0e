"""One page on which a person reviews what the model is unsure of: a file that loads nothing and is used by keyboard."""

import base64
import io
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from PIL import ImageChops
from torch import Tensor

from genraven.escaping import plain, templates
from genraven.outputs import MARK
from genraven.puzzles.render import render
from genraven.trust.audit import Record, puzzles_of
from genraven.trust.familiarity import are_unlike

HERE = Path(__file__).parent
CELL, MARGIN = 22, 4  # side of a cell, and what is left around the written ones, in pixels
VERSION = 1


def to_html(records: Sequence[Record], *, source: str) -> str:
    """The page of those of ``records`` that are to review, the most doubtful first.

    Args:
        records: of completions.
        source: the name of their file.
    """
    waiting = sorted((r for r in records if r.decision == "review"), key=_sureness)
    environment = templates(HERE)
    first = records[0] if records else None
    promise = first.promise if first else None
    return environment.get_template("review.html.jinja").render(
        entries=[_entry(record) for record in waiting],
        num_records=len(records),
        promise=promise,
        are_unlike=are_unlike(promise.get("unlike_p_value")) if promise else False,
        check=promise["check"]["in_words"] if promise else None,
        about=json.dumps({"version": VERSION, "puzzles": source, "model": first.made_by["model"] if first else None}),
        source=plain(source),
        mark=MARK,
        style=(HERE / "review.css").read_text(encoding="utf-8"),
        script=(HERE / "review.js").read_text(encoding="utf-8"),
    )


def _sureness(record: Record) -> float:
    return record.candidates[record.chosen].score if record.confidence is None else record.confidence


def _entry(record: Record) -> dict[str, Any]:
    """What the page shows of one puzzle; candidates that are alike are one."""
    drawn = {i: _with(record, i) for i in range(len(record.candidates))}
    mask = puzzles_of([record])[1][0]
    found: dict[bytes, dict[str, Any]] = {}
    for i in sorted(drawn, key=lambda i: (i != record.chosen, -record.candidates[i].score)):
        key = drawn[i].numpy().tobytes()
        if key in found:
            found[key]["times"] += 1
            continue
        candidate = record.candidates[i]
        found[key] = {
            "number": i,
            "times": 1,
            "kept": i == record.chosen,
            "score": candidate.score,
            "agreement": dict(candidate.agreement),
            "picture": _picture(drawn[i], mask, cropped=True),
        }
    return {
        "puzzle": record.puzzle,
        "confidence": record.confidence,
        "score": record.score,
        "threshold": record.threshold,
        "picture": _picture(drawn[record.chosen], mask),
        "candidates": list(found.values()),
        "rests_on": [each for each in record.rests_on or () if each["change"] > 0][:3],
        "unit": record.rests_on_unit,
        "checker": record.checker,
    }


def _with(record: Record, candidate: int) -> Tensor:
    """(3, 9, 9) completed by one of the candidates."""
    return puzzles_of([replace(record, chosen=candidate)])[0][0]


def _picture(puzzle: Tensor, mask: Tensor, *, cropped: bool = False) -> str:
    """As an address; cropped to the written cells, which the tint tells."""
    file, plain = io.BytesIO(), puzzle.to(torch.int64)
    picture = render(plain, cell=CELL, marked=mask)
    box = ImageChops.difference(picture, render(plain, cell=CELL)).getbbox() if cropped else None
    if box is not None:
        left, top, right, bottom = box
        width, height = picture.size
        box = max(0, left - MARGIN), max(0, top - MARGIN), min(width, right + MARGIN), min(height, bottom + MARGIN)
        picture = picture.crop(box)
    picture.save(file, "png", optimize=True)
    return f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}"
