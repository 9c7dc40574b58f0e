"""Commands about files of puzzles: describe, import."""

import argparse
from collections.abc import Iterator
from functools import reduce
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from genraven.console import say
from genraven.errors import InputError
from genraven.formats.puzzles import UNKNOWN_RULE, Chunk, PuzzleFile
from genraven.formats.read import KNOWN, PUZZLES, RULE_IDS, open_puzzles
from genraven.formats.write import add_puzzles, save_archive
from genraven.metrics.census import Census, Copies, leaked, take_census
from genraven.outputs import PICTURES, Outputs, save_picture
from genraven.progress import Progress
from genraven.puzzles.layout import PUZZLE_SHAPE
from genraven.puzzles.render import render_sheet
from genraven.puzzles.rules import row_rules, rule_names, shared_rules
from genraven.puzzles.spec import GRID, RULES, VALUE_ATTRIBUTES
from genraven.report.english import counted

PICTURED, COLUMNS = 16, 8
BAD_CELL = "a cell that is out of range, empty in some attributes only, or no whole number"


def describe(options: argparse.Namespace) -> None:
    """Prints what a file holds."""
    outputs = Outputs(overwrite=options.overwrite)
    if options.picture:
        outputs.add(options.picture, "--picture", suffixes=PICTURES)
    file = open_puzzles(options.file, split=options.source_split, whole=False)
    other = open_puzzles(options.against, whole=False) if options.against else None
    with Progress("describe", len(file), "puzzle") as bar:
        census = take_census(file, bar.advance)
    say(f"{file.path}: {file.layout}")
    for name, text in _facts(file, census):
        say(f"{name:12}{text}")
    if other is not None and census.index is not None:
        for name, text in _shared(other, census):
            say(f"{name:12}{text}")
    _print_rules(census)
    if options.picture:
        with outputs:
            num = _draw(file, outputs[options.picture])
        say(f"{options.picture}: {num} of them with the rules that their rows share; unknown cells hatched")


def _facts(file: PuzzleFile, census: Census) -> Iterator[tuple[str, str]]:
    yield "puzzles", f"{census.num:,}"
    if census.num_bad:
        yield "bad", f"{census.num_bad:,} with {BAD_CELL}; not counted below"
    if file.num_left:
        yield "left over", f"{file.num_left} rows that make no puzzle"
    if beside := _beside(file):
        yield "beside", beside
    if file.not_mapped:
        yield "not read", ", ".join(file.not_mapped)
    yield "missing", _missing(census)
    named = zip(VALUE_ATTRIBUTES, census.ranges, strict=True)
    ranges = ", ".join(f"{name} {both[0]}..{both[1]}" if both else f"no {name}" for name, both in named)
    yield "ranges", f"{ranges}; {_fraction(census.empty_cells, census.known_cells)} of the cells are empty"
    if not census.num_whole:
        return
    rates = census.consistency.compute()["rates"]
    yield "C3", f"{_of(rates['c3'])} puzzles have a rule in all rows, {census.num_with_several:,} more than one"
    yield "any valid", f"{_of(rates['any_valid'])} rows follow a rule"
    stated, broken = census.stated.sum(1).tolist()
    yield (
        "stated",
        f"the rule of {stated:,} puzzles, {broken:,} of which do not follow it, and of {census.num_unstated:,} none",
    )
    yield "copies", f"{census.copies} are copies of others"


def _beside(file: PuzzleFile) -> str:
    """Files that were read beside that of the puzzles."""
    return "" if file.path.is_dir() else ", ".join(each.name for each in file.files if each != file.path)


def _missing(census: Census) -> str:
    if not census.unknown_cells:
        return "none"
    cells = f"{census.unknown_cells:,} of {census.known_cells + census.unknown_cells:,} cells are unknown"
    return f"{cells}, in {census.num_with_missing:,} puzzles, which count for nothing below"


def _of(rate: Any) -> str:
    return f"{int(rate.hits):,} of {int(rate.total):,} ({_fraction(int(rate.hits), int(rate.total))})"


def _fraction(part: int, whole: int) -> str:
    return f"{part / whole:.1%}" if whole else "none"


def _shared(other: PuzzleFile, census: Census) -> Iterator[tuple[str, str]]:
    """What of another file stands in the one that was counted."""
    assert census.index is not None
    with Progress("compare", len(other), "puzzle") as bar:
        parts = map(_whole, bar.over(other.chunks(), _num))
        chunks = [leaked(census.index, puzzles) for puzzles in parts if len(puzzles)]
    if chunks:
        yield "leak", f"of {other.path}, {reduce(Copies.plus, chunks)} stand in it, too"
    else:
        why = f"none of its {len(other):,} puzzles is whole and in range"
        yield "leak", f"of {other.path} nothing was compared, because {why}"


def _num(chunk: Chunk) -> int:
    return len(chunk.bad)


def _whole(chunk: Chunk) -> torch.Tensor:
    known = ~chunk.bad if chunk.known is None else ~chunk.bad & chunk.known.flatten(1).all(1)
    return chunk.puzzles[known]


def _print_rules(census: Census) -> None:
    """A table of the rules that hold or are stated."""
    holds = census.consistency.c3_per_rule.tolist()
    stated, broken = census.stated.tolist()
    rows = [(RULES[k].name, holds[k], stated[k], broken[k]) for k in range(len(RULES)) if holds[k] or stated[k]]
    if rows:
        say(f"\n{'rule':22}{'holds':>12}{'stated':>12}{'not followed':>14}")
    for name, held, num_stated, wrong in rows:
        say(f"{name:22}{held:12,}{num_stated:12,}{wrong:14,}")


def _draw(file: PuzzleFile, path: Path) -> int:
    """Draws puzzles from all over ``file``; how many."""
    indices = np.unique(np.linspace(0, len(file) - 1, min(PICTURED, len(file))).round().astype(np.int64))
    chunk = file.look(indices)
    known = torch.ones_like(chunk.puzzles[:, 0], dtype=torch.bool) if chunk.known is None else chunk.known
    found = rule_names(shared_rules(row_rules(chunk.puzzles)))
    whole = known.flatten(1).all(1)
    titles = [
        "bad" if bad else name if full else "with missing cells"
        for name, bad, full in zip(found, chunk.bad.tolist(), whole.tolist(), strict=True)
    ]
    save_picture(render_sheet(chunk.puzzles, COLUMNS, titles=titles, unknown=~known), path)
    return len(indices)


def import_puzzles(options: argparse.Namespace) -> None:
    """Writes the puzzles of a file in the in-house form."""
    outputs = Outputs(overwrite=options.overwrite)
    add_puzzles(outputs, options.out, "--out", suffixes=[".npz"])
    file = open_puzzles(options.file, split=options.source_split, whole=False)
    say(f"read        {len(file):,} puzzles of {file.path}: {file.layout}")
    if beside := _beside(file):
        say(f"beside      {beside}")
    with Progress("check", len(file), "puzzle") as bar:
        good = [~chunk.bad.numpy() for chunk in bar.over(file.chunks(), _num)]
    num = sum(int(of_chunk.sum()) for of_chunk in good)
    if not num:
        raise InputError(f"expected a puzzle whose cells are in their ranges, got none in {file.path}: `genraven "
                         "describe` says what it holds.")  # fmt: skip
    rules = file.rules[np.concatenate(good)]

    def chunks(what: str, of: Any) -> Iterator[NDArray[Any]]:
        with Progress(f"write {what}", len(file), "puzzle") as bar:
            for chunk, mine in zip(bar.over(file.chunks(), _num), good, strict=True):
                yield of(chunk)[mine]

    def known(chunk: Chunk) -> NDArray[np.bool_]:
        mask = torch.ones_like(chunk.puzzles[:, 0], dtype=torch.bool) if chunk.known is None else chunk.known
        return mask.numpy()

    arrays: dict[str, Any] = {
        PUZZLES: ((num, *PUZZLE_SHAPE), np.dtype(np.int8), chunks(PUZZLES, lambda chunk: chunk.puzzles.numpy())),
        RULE_IDS: (rules.shape, rules.dtype, [rules]),
    }
    if file.has_mask:
        arrays[KNOWN] = ((num, GRID, GRID), np.dtype(np.bool_), chunks(KNOWN, known))
    with outputs:
        save_archive(outputs[options.out], arrays)
    say(f"dropped     {counted(len(file) - num, 'puzzle')} with {BAD_CELL}, {counted(file.num_left, 'row')} left over")
    say(f"not mapped  {', '.join(file.not_mapped) or 'nothing'}; rules of {int((rules == UNKNOWN_RULE).sum()):,} "
        "puzzles are not stated")  # fmt: skip
    say(f"{options.out}: {num:,} puzzles; genraven describe {options.out}")
