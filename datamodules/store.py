"""Finite training sets on disk: one memory-mapped file per rule, made once, verified each time it is opened.

A checksum beside a file says that it is whole, not who wrote it: files are believed only in a folder that nobody else
may write, and only where they are this user's own; an index only beside the set that it was made of.
"""

import hashlib
import json
import math
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field, fields, is_dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning.pytorch.utilities import rank_zero_info, rank_zero_only, rank_zero_warn
from numpy.typing import NDArray
from torch import Tensor

from genraven.bounded import read_json
from genraven.errors import InputError
from genraven.files import appears_whole, remove_unfinished
from genraven.locks import locked
from genraven.metrics.memorization import INDEXED, TrainingIndex, whole
from genraven.ownership import is_mine, private_folder
from genraven.process import num_cpus
from genraven.progress import Progress
from genraven.puzzles import layout
from genraven.puzzles.corrupt import Corruption, corrupted
from genraven.puzzles.generate import BLOCK, generate
from genraven.puzzles.spec import NUM_PANELS, NUM_ROWS
from genraven.signals import leave_if_asked

SETTINGS = "data.cache_dir or GENRAVEN_CACHE"
BYTES_EACH = math.prod(layout.SHAPE_WITH_MISSING) + 8 * (1 + NUM_ROWS + NUM_ROWS * NUM_PANELS + 1)
"""Of a puzzle and its hashes, about."""
FORMAT = 1  # of the files; part of every file's name
Maker = Callable[[int, int, int], Tensor]
"""(rule, start, count) -> (count, 3, 9, 9) int8 puzzles, 4 channels with missing cells; start: a multiple of BLOCK."""


@dataclass(frozen=True)
class PuzzleSource:
    """Where the puzzles of a training set come from."""

    kind: str
    """Begins the names of its files."""
    depends: Mapping[str, object]
    """All that its puzzles depend on beside rule and number, by name: what ``make`` is made of."""
    make: Maker
    samples_per_rule: int
    counts: Mapping[int, int] = field(default_factory=dict)
    """Puzzles of the rules that have another number of them."""
    has_missing: bool = False
    """Can their cells be missing?"""

    @property
    def name(self) -> str:
        """Begins the names of its files, which no set that is made otherwise shares."""
        return f"{self.kind}-{digest_of(self.depends)}"

    def num(self, rule: int) -> int:
        """Puzzles of ``rule``."""
        return self.counts.get(rule, self.samples_per_rule)


def generated_source(samples_per_rule: int, seed: int, corruption: Corruption) -> PuzzleSource:
    """The first ``samples_per_rule`` training puzzles of each rule."""

    def make(rule: int, start: int, count: int) -> Tensor:
        # A whole block, so that a smaller set is the beginning of a larger one when it is corrupted, too.
        puzzles = generate(rule, start, BLOCK, seed=seed)
        return corrupted(puzzles, corruption, seed=seed, rule=rule, start=start)[:count]

    depends = {"seed": seed, "corruption": corruption}
    return PuzzleSource("generated", depends, make, samples_per_rule, has_missing=corruption.hides_cells)


def digest_of(depends: object) -> str:
    """16 hex digits of all that something kept in a file depends on.

    Args:
        depends: numbers, words, and mappings, sequences and dataclasses of such, of which each field counts; of a
            corruption each fraction above 0, so that a new kind of it changes nothing where it is not used.
    """
    return hashlib.sha256(json.dumps(_as_json(depends), sort_keys=True).encode()).hexdigest()[:16]


def _as_json(value: object) -> object:
    if isinstance(value, Corruption):
        return _as_json(value.fractions)
    if is_dataclass(value) and not isinstance(value, type):
        return {item.name: _as_json(getattr(value, item.name)) for item in fields(value)}
    if isinstance(value, Mapping):
        return {str(key): _as_json(one) for key, one in value.items()}
    if isinstance(value, tuple | list):
        return [_as_json(one) for one in value]
    return value


def open_set(
    source: PuzzleSource, rules: tuple[int, ...], folder: Path, *, verify: bool, most_bytes: int | None = None
) -> list[NDArray[np.int8]]:
    """Memory maps (n, 3 or, with missing cells, 4, 9, 9), one for each of ``rules``. Absent files are made first.

    They are mapped copy-on-write, so that nothing done to them reaches the files.

    Safe when many processes call it together: a lock lets one of them make a file, and files appear by renaming.

    Args:
        verify: compare each file with its checksum; a broken one is named and made again.
        most_bytes: that may be made, the index included; None for any number.

    Raises:
        InputError: the folder cannot be written, the source is bad, or more would have to be made.
        Preempted: a signal that is noted asks to stop; what is made so far, and whole, stays.
    """
    _check_folder(folder)
    paths = _set_paths(source, rules, folder)
    with data_progress("verify", sum(map(source.num, rules)), shown=verify) as bar:
        each = bar.over(zip(rules, paths, strict=True), lambda one: source.num(one[0]))
        missing = [(rule, path) for rule, path in each if not _is_whole(path, verify=verify)]
    if missing:
        _check_size(source, [rule for rule, _ in missing], most_bytes)
        with _locked(folder / f"v{FORMAT}-{source.name}.lock") as is_held:
            jobs = [(rule, path) for rule, path in missing if not _is_whole(path, verify=True)]
            for _, path in jobs if is_held else ():  # of a process that was killed
                remove_unfinished(folder, path.name)
            _make_files(source, jobs)
    return [np.load(path, mmap_mode="c", allow_pickle=False) for path in paths]


def _set_paths(source: PuzzleSource, rules: tuple[int, ...], folder: Path) -> list[Path]:
    return [folder / f"v{FORMAT}-{source.name}-rule{rule:02d}-n{source.num(rule)}.npy" for rule in rules]


def _check_size(source: PuzzleSource, rules: list[int], most_bytes: int | None) -> None:
    """Raises InputError where the puzzles of ``rules`` and their index take more than ``most_bytes``."""
    needed = sum(map(source.num, rules)) * BYTES_EACH
    if most_bytes is not None and needed > most_bytes:
        raise InputError(f"expected a training set of at most {most_bytes / 2**30:g} GiB to make for this model, got "
                         f"{needed / 2**30:.1f} GiB: set GENRAVEN_CACHE to a folder that has it, or raise "
                         "--training-set-gib of `genraven evaluate`.")  # fmt: skip


def _check_folder(folder: Path) -> None:
    """Raises InputError where the cache folder cannot be made, or is not this user's alone."""
    try:
        private_folder(folder, SETTINGS)
    except OSError as error:
        raise InputError(f"expected a cache folder with room that can be written, got {folder} ({error}): set "
                         f"{SETTINGS}.") from error  # fmt: skip


@contextmanager
def _locked(path: Path) -> Iterator[bool]:
    """Holds the lock ``path``, in whose folder files are made within the block; says so when another process has it.

    Where the file system has no locks several may make the same: files appear by renaming.

    Yields:
        Is it held? Not where there are no locks.

    Raises:
        InputError: the folder cannot be made or written.
        Preempted: a signal that is noted asks to stop.
    """
    said = False

    def wait(note: str) -> float:
        nonlocal said
        leave_if_asked()
        if not said:
            rank_zero_info(f"waiting for {path}: another process makes the same data")
        said = True
        return math.inf

    try:
        with locked(path, wait) as is_held:
            yield is_held
    except OSError as error:
        raise InputError(f"expected a cache folder with room that can be written, got {path.parent} ({error}): set "
                         f"{SETTINGS}.") from error  # fmt: skip


def _is_whole(path: Path, *, verify: bool, of: str | None = None) -> bool:
    """Is ``path`` a file of ours, made of the set whose digest is ``of`` where it was made of one?"""
    note = path.with_suffix(".json")
    if not (path.exists() and note.exists()):
        return False
    if not (is_mine(path) and is_mine(note)):
        rank_zero_warn(f"{path} is not trusted, because somebody else may have written it: it is made again.")
        return False
    noted = _noted(path)
    if noted.get("of") != of:
        return False
    if not verify:
        return True
    whole = noted.get("sha256") == _checksum(path)
    if not whole:
        rank_zero_warn(f"{path} is broken, because its checksum differs from the recorded one: it is made again.")
    return whole


def _noted(path: Path) -> dict[str, Any]:
    """What is said of ``path``: its checksum, and that of the set it was made of."""
    try:
        found = read_json(path.with_suffix(".json"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _content(paths: list[Path]) -> str:
    """The digest of a set, of the checksums of its files."""
    return hashlib.sha256("\n".join(str(_noted(path).get("sha256")) for path in paths).encode()).hexdigest()


def _checksum(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _make_files(source: PuzzleSource, jobs: list[tuple[int, Path]]) -> None:
    if not jobs:
        return
    total = sum(source.num(rule) for rule, _ in jobs)
    rank_zero_info(f"making {total} puzzles of {len(jobs)} rules in {jobs[0][1].parent}")
    with data_progress("data", total) as bar, ThreadPoolExecutor(num_cpus()) as pool:
        made = [pool.submit(_make_file, source, rule, path, bar.advance) for rule, path in jobs]
        try:
            for file in made:
                file.result()
        except BaseException as error:
            pool.shutdown(wait=True, cancel_futures=True)
            if isinstance(error, InputError):  # of the source: none of its files stays
                for _, path in jobs:
                    path.unlink(missing_ok=True)
                    path.with_suffix(".json").unlink(missing_ok=True)
            raise


def data_progress(what: str, total: int, *, shown: bool = True) -> Progress:
    """Shown by the first process, as all that is said of data."""
    return Progress(what, total, "puzzle", shown=shown and getattr(rank_zero_only, "rank", 0) == 0)


def _make_file(source: PuzzleSource, rule: int, path: Path, advance: Callable[[int], Any]) -> None:
    shape = (source.num(rule), *(layout.SHAPE_WITH_MISSING if source.has_missing else layout.PUZZLE_SHAPE))
    with appears_whole(path, mine=True) as temporary:
        with temporary.open("wb") as file:  # not memory-mapped: there a full disk is a signal that nobody catches
            np.lib.format.write_array_header_1_0(file, {"descr": "|i1", "fortran_order": False, "shape": shape})
            for start in range(0, shape[0], BLOCK):
                count = min(BLOCK, shape[0] - start)
                leave_if_asked()
                file.write(source.make(rule, start, count).to(torch.int8).numpy().tobytes())
                advance(count)
        checksum = _checksum(temporary)
    _note(path, checksum)


def _note(path: Path, checksum: str, of: str | None = None) -> None:
    """Says that ``path`` is whole, and of which set it was made."""
    with appears_whole(path.with_suffix(".json"), mine=True) as temporary:
        temporary.write_text(json.dumps({"sha256": checksum} | ({"of": of} if of else {})))


def open_index(
    source: PuzzleSource, rules: tuple[int, ...], folder: Path, *, verify: bool, most_bytes: int | None = None
) -> TrainingIndex:
    """Hashes of all puzzles, rows and panels of a set, memory-mapped; made once, after ``open_set`` has made the set.

    Args:
        source: of the set.
        rules: ids.
        folder: of the files.
        verify: as for ``open_set``.
        most_bytes: the same.
    """
    nums = [(rule, source.num(rule)) for rule in rules]
    stem = f"v{FORMAT}-{source.name}-rules{digest_of(nums)}"
    paths = {level: folder / f"{stem}-{level}.npy" for level in INDEXED}
    _check_folder(folder)
    files = _set_paths(source, rules, folder)
    if not all(_is_whole(path, verify=verify, of=_content(files)) for path in paths.values()):
        with _locked(folder / f"{stem}.lock"):
            maps = open_set(source, rules, folder, verify=False, most_bytes=most_bytes)
            if not all(_is_whole(path, verify=True, of=_content(files)) for path in paths.values()):
                _make_index(maps, paths, of=_content(files))
    return TrainingIndex(**{level: torch.from_numpy(np.load(path, mmap_mode="c")) for level, path in paths.items()})


def _make_index(maps: list[NDArray[np.int8]], paths: dict[str, Path], *, of: str) -> None:
    total = sum(map(len, maps))
    with data_progress("index", total) as bar, ThreadPoolExecutor(num_cpus()) as pool:

        def advance(num: int) -> None:
            leave_if_asked()
            bar.advance(num)

        work = pool.map(lambda puzzles: TrainingIndex.build(torch.from_numpy(puzzles), advance), maps)
        index = TrainingIndex.union(list(work))
    for level, path in paths.items():
        with appears_whole(path, mine=True) as temporary:
            with temporary.open("wb") as file:
                np.save(file, getattr(index, level).numpy())
            checksum = _checksum(temporary)
        _note(path, checksum, of)


def num_whole(maps: list[NDArray[np.int8]]) -> tuple[int, int]:
    """Of sets with missing cells (n, 4, 9, 9): how many puzzles, and how many rows, have none."""
    totals = np.zeros(2, np.int64)
    for puzzles in maps:
        for chunk in torch.from_numpy(puzzles).split(BLOCK):
            is_whole = whole(chunk[:, -1].bool())
            totals += [int(is_whole[level].sum()) for level in ("puzzles", "rows")]
    return int(totals[0]), int(totals[1])
