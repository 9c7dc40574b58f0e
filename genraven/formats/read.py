"""From a path to its puzzles: which arrays of a file mean what, recognised by names and shapes.

B puzzles. Their array is in one of ``LAYOUTS``; rules (B,) and a mask of known cells (B, 9, 9) stand in the same file
under ``rules`` and ``known``, or beside NAME.npy as NAME.rules.npy and NAME.known.npy.
"""

import hashlib
import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from genraven.bounded import open_regular
from genraven.errors import InputError
from genraven.formats.containers import Allowance, Entry, read_entries
from genraven.formats.names import check_rule, kept_rules, rule_in_name, split_of
from genraven.formats.puzzles import UNKNOWN_RULE, Part, PuzzleFile
from genraven.puzzles import layout
from genraven.puzzles.spec import GRID, HELD_OUT_SPLITS, NUM_ROWS, NUM_RULES, NUM_STUDY_RULES, RULE_ID, RULES
from genraven.run_folder import is_run

PUZZLES, RULE_IDS, KNOWN = "puzzles", "rules", "known"  # names of arrays
RAVEN = {"image", "target"}  # arrays of each file of that data set
_SPLIT = "split"
_NUM_KEPT = NUM_STUDY_RULES - len(HELD_OUT_SPLITS["split0"])


@dataclass(frozen=True)
class _Found:
    """The arrays of a file."""

    path: Path
    cells: NDArray[Any]
    rules: NDArray[np.int64] | None
    known: NDArray[np.bool_] | None
    split: str | None
    """The split that an option states."""


@dataclass(frozen=True)
class Layout:
    """A way that an array of puzzles is written."""

    name: str
    shape: str
    fits: Callable[[tuple[int, ...]], bool]
    parts: Callable[[_Found], list[Part]]


def open_puzzles(path: Path, *, split: str | None = None, whole: bool = True) -> PuzzleFile:
    """The puzzles of a file, or of a folder of one file for each rule.

    Args:
        path: of an .npy, .npz or .pt file, or of a folder.
        split: whose rules a file of 35 leaves out; default: the one in its name, or that its puzzles tell.
        whole: refuse a file whose last rows make no puzzle.

    Raises:
        InputError: another file, another layout, no puzzle, or rules that are none.
    """
    file = _open_folder(path) if path.is_dir() else _open_file(path, split, Allowance())
    if split is not None and not file.layout.startswith(_SPLIT):
        raise InputError(f"expected an array of {_NUM_KEPT} rules with the split that it leaves out ({split}), got "
                         f"{file.layout} in {path}: leave the split out.")  # fmt: skip
    if whole and file.num_left:
        part = next(part for part in file.parts if part.num_left)
        raise InputError(f"expected a multiple of {NUM_ROWS} rows, got {len(part.cells)} in {part.where}: three "
                         "neighbouring rows make a puzzle; `genraven import` leaves the last ones out.")  # fmt: skip
    if not len(file):
        raise InputError(f"expected at least one puzzle, got none in {path}: `genraven generate` writes some.")
    return file


def read_puzzles(path: Path) -> Tensor:
    """All puzzles (B, 3, 9, 9) int8 of a file.

    Raises:
        InputError: as ``open_puzzles``; a cell is out of its range, or unknown.
    """
    return read_open_puzzles(path, lambda num: torch.zeros(num, GRID, GRID, dtype=torch.bool))[0]


def read_open_puzzles(path: Path, mask_of: Callable[[int], Tensor]) -> tuple[Tensor, Tensor]:
    """All puzzles (B, 3, 9, 9) int8 of a file, and which of their cells are to be written: these are 0, whatever
    stands there.

    Args:
        path: of the file.
        mask_of: makes (B, 9, 9) bool of a number of puzzles, true where a cell is to be written.

    Raises:
        InputError: as ``open_puzzles``; a cell that is not to be written is out of its range, or unknown.
    """
    file = open_puzzles(path)
    mask, parts, start = mask_of(len(file)), list[Part](), 0
    for part in file.parts:
        given = ~mask[start : start + len(part)].numpy()
        parts.append(replace(part, known=given if part.known is None else given & part.known))
        start += len(part)
    chunk = replace(file, parts=parts).read(np.arange(len(file)))
    assert chunk.known is not None
    if (missing := ~(chunk.known | mask).flatten(1).all(1)).any():
        raise InputError(f"expected whole puzzles, got missing cells in puzzle {int(missing.nonzero()[0])} of {path}: "
                         "give whole ones, and say which cells to write by --mask where the command has "
                         "it.")  # fmt: skip
    return chunk.puzzles, mask


def side_files(path: Path) -> dict[str, Path]:
    """Files beside ``path`` that hold arrays of it, by the names of these."""
    beside = {name: path.with_name(f"{path.stem}.{name}.npy") for name in (RULE_IDS, KNOWN)}
    return {name: file for name, file in beside.items() if os.path.isfile(file)}  # noqa: PTH113  # also too long a name


def read_mask(path: Path, num: int) -> Tensor:
    """(num, 9, 9) bool: which cells to write.

    Raises:
        InputError: another file, shape or type.
    """
    wanted = f"a bool array ({GRID}, {GRID}) or ({num}, {GRID}, {GRID})"
    entry = _only_entry(path, wanted)
    if entry.dtype != "bool" or entry.shape not in ((GRID, GRID), (num, GRID, GRID)):
        raise InputError(f"expected {wanted}, got {entry.dtype} of {entry.shape} in {path}: true is a cell to write.")
    return torch.from_numpy(np.array(entry.load())).expand(num, GRID, GRID)


def source_files(path: Path, *, split: str | None = None) -> list[Path]:
    """All files that the puzzles of ``path`` depend on.

    Raises:
        InputError: as ``open_puzzles``.
    """
    return open_puzzles(path, split=split, whole=False).files


def source_digest(path: Path, *, split: str | None = None) -> str:
    """64 hex digits of the content of all ``source_files``; the same wherever they lie.

    Raises:
        InputError: as ``open_puzzles``.
    """
    total = hashlib.sha256()
    for file in source_files(path, split=split):
        name = file.name.removeprefix(path.stem) if not path.is_dir() else file.name
        with open_regular(file) as content:
            total.update(f"{name} {hashlib.file_digest(content, 'sha256').hexdigest()}\n".encode())
    return total.hexdigest()


# One file -------------------------------------------------------------------------------------------------------------


def _open_file(path: Path, split: str | None, allowance: Allowance) -> PuzzleFile:
    entries = {entry.name: entry for entry in read_entries(path)}
    files = [path]
    for name, beside in side_files(path).items():
        if name not in entries:
            entries[name] = _only_entry(beside, f"an array of {name}")
            files.append(beside)
    main = _main_entry(path, entries)
    form = _layout_of(main, path)
    allowance.take([main, *(entries[name] for name in (RULE_IDS, KNOWN) if name in entries)], path)
    cells = main.load()
    rules = _rules(entries[RULE_IDS], path) if RULE_IDS in entries else None
    known = _known(entries[KNOWN], path) if KNOWN in entries else None
    found = _Found(path, cells, rules, known, split)
    parts = form.parts(found)
    file = PuzzleFile(
        path,
        f"{form.name}, {main.dtype} {main.shape}",
        parts,
        files,
        sorted(entries.keys() - {main.name, RULE_IDS, KNOWN}),
    )
    for name, array in ((RULE_IDS, rules), (KNOWN, known)):
        if array is not None and len(array) != len(file):
            raise InputError(f"expected {name} of each of the {len(file)} puzzles of {path}, got {len(array)}: mend "
                             "the file.")  # fmt: skip
    return file


def _main_entry(path: Path, entries: dict[str, Entry]) -> Entry:
    """The array of puzzles: by name, else the only one that is neither rules nor mask."""
    if PUZZLES in entries:
        return entries[PUZZLES]
    if RAVEN & entries.keys() == RAVEN:
        raise InputError(f"expected puzzles as numbers, got pictures of RAVEN or I-RAVEN in {path}: what stands in its "
                         "panels is in the .xml beside it; write shapes, sizes and colors into an array.")  # fmt: skip
    others = [entry for name, entry in entries.items() if name not in (RULE_IDS, KNOWN) and entry.is_array]
    if len(others) != 1:
        raise InputError(f"expected one array of puzzles, or one that is named {PUZZLES}, got {len(others)} in {path} "
                         f"({', '.join(sorted(entries)) or 'no array'}): give the array of puzzles that "
                         "name.")  # fmt: skip
    return others[0]


def _only_entry(path: Path, wanted: str) -> Entry:
    entries = [entry for entry in read_entries(path) if entry.is_array]
    if len(entries) != 1:
        raise InputError(f"expected {wanted}, got {len(entries)} arrays in {path}: save one with numpy.save.")
    return entries[0]


def _layout_of(entry: Entry, path: Path) -> Layout:
    fitting = next((form for form in LAYOUTS if form.fits(entry.shape)), None)
    if fitting is None or np.dtype(entry.dtype).kind not in "iuf":
        known = ", ".join(form.shape for form in LAYOUTS)
        raise InputError(f"expected integers, or floats that are whole, of shape {known}, got {entry.dtype} of shape "
                         f"{entry.shape} in {path}: convert it to one of these layouts.")  # fmt: skip
    return fitting


def _rules(entry: Entry, path: Path) -> NDArray[np.int64]:
    """(B,) ids from ids or names."""
    array = entry.load()
    if array.ndim != 1 or array.dtype.kind not in "iufU":
        raise InputError(f"expected rules (B,) as ids or names, got {entry.dtype} of shape {entry.shape} in {path}: "
                         "mend the file.")  # fmt: skip
    if array.dtype.kind == "U":
        names, indices = np.unique(array, return_inverse=True)
        wrong = [str(name) for name in names if name not in RULE_ID]
        if wrong:
            raise InputError(f"expected names of rules, got {wrong[0]!r} in the rules of {path}: `genraven rules` "
                             "lists them.")  # fmt: skip
        return np.array([RULE_ID[str(name)] for name in names], np.int64)[indices]
    wrong = (array != np.floor(array)) | (array < UNKNOWN_RULE) | (array >= NUM_RULES)
    if wrong.any():
        place = int(np.flatnonzero(wrong)[0])
        raise InputError(f"expected rules 0..{NUM_RULES - 1}, or {UNKNOWN_RULE} where it is unknown, got "
                         f"{array[place].item()} at {place} of the rules of {path}: mend the file.")  # fmt: skip
    return array.astype(np.int64)


def _known(entry: Entry, path: Path) -> NDArray[np.bool_]:
    if entry.dtype != "bool" or entry.shape[1:] != (GRID, GRID):
        raise InputError(f"expected known cells as bool (B, {GRID}, {GRID}), got {entry.dtype} of shape {entry.shape} "
                         f"in {path}: true is a cell that is known.")  # fmt: skip
    return entry.load()


def _together(found: _Found) -> list[Part]:
    """One part, with rules beside it or none."""
    rules = UNKNOWN_RULE if found.rules is None else found.rules
    return [Part(found.cells, rules, str(found.path), found.known)]


def _by_rule(found: _Found, ids: list[int]) -> list[Part]:
    """A part for each rule, along the first axis."""
    if found.rules is not None:
        raise InputError(f"expected no rules beside an array that is ordered by rule, got some for {found.path}: "
                         "remove them.")  # fmt: skip
    n = found.cells.shape[1] // NUM_ROWS
    masks = [None if found.known is None else found.known[i * n : (i + 1) * n] for i in range(len(ids))]
    return [Part(found.cells[i], rule, f"rule {rule} of {found.path}", masks[i]) for i, rule in enumerate(ids)]


def _split_parts(found: _Found) -> list[Part]:
    split = split_of(found.path, found.cells, found.split)
    return _by_rule(found, kept_rules(split))


LAYOUTS: tuple[Layout, ...] = (
    Layout("puzzles", f"(B, 3, {GRID}, {GRID})", lambda s: s[1:] == layout.PUZZLE_SHAPE, _together),
    Layout("rows", "(rows, 3, 9, 3)", lambda s: s[1:] == layout.ROW_SHAPE, _together),
    Layout("published", f"({NUM_STUDY_RULES}, rows, 3, 9, 3)",
           lambda s: s[0:1] == (NUM_STUDY_RULES,) and s[2:] == layout.ROW_SHAPE,
           lambda found: _by_rule(found, list(range(NUM_STUDY_RULES)))),
    Layout(_SPLIT, f"({_NUM_KEPT}, rows, 3, 9, 3)",
           lambda s: s[0:1] == (_NUM_KEPT,) and s[2:] == layout.ROW_SHAPE, _split_parts),
)  # fmt: skip
"""The readers of arrays; the first whose shape fits reads it."""


# Folders --------------------------------------------------------------------------------------------------------------


def _open_folder(path: Path) -> PuzzleFile:
    try:
        inside = sorted(file for file in path.iterdir() if file.suffix in (".npy", ".npz", ".pt"))
    except OSError as error:
        raise InputError(f"expected a folder that can be read, got {path} ({error.strerror}).") from None
    named = [(rule, file) for file in inside if (rule := rule_in_name(file)) is not None]
    if not named and is_run(path):
        raise InputError(f"expected puzzles, got the run folder {path}: name a file of puzzles there, and the run "
                         "where the command asks for it.")  # fmt: skip
    if not named:
        raise InputError("expected a folder of one file for each rule, named 0_0.npy (attribute, relation) and so on, "
                         f"got {path} without such files: give the path of a file, or of a folder inside.")  # fmt: skip
    if len({rule for rule, _ in named}) < len(named):
        twice = next(file for i, (rule, file) in enumerate(named) if any(rule == other for other, _ in named[:i]))
        raise InputError(f"expected one file for each rule, got a second one of {twice.stem}, {twice}: remove it.")
    allowance = Allowance()
    opened = [_open_file(file, None, allowance) for _, file in sorted(named)]
    return PuzzleFile(
        path,
        f"folder of {len(opened)} rules, {opened[0].layout}",
        [_of_rule(rule, file, content) for (rule, file), content in zip(sorted(named), opened, strict=True)],
        [name for file in opened for name in file.files],
        [file.name for file in inside if file not in [name for f in opened for name in f.files]],
    )


def _of_rule(rule: int, path: Path, content: PuzzleFile) -> Part:
    """The puzzles of the file of ``rule`` in a folder."""
    if len(content.parts) != 1:
        raise InputError(f"expected the rows or puzzles of one rule, got {content.layout} in {path}: give the path of "
                         "this file instead of the folder's.")  # fmt: skip
    if others := sorted({*content.rules.tolist()} - {rule, UNKNOWN_RULE}):
        raise InputError(f"expected puzzles of {RULES[rule].name}, as the file's name says, got the rule "
                         f"{RULES[others[0]].name} stated in {path}: mend its rules or its name, or give its own "
                         "path.")  # fmt: skip
    check_rule(rule, content.parts[0])
    return replace(content.parts[0], rules=rule)
