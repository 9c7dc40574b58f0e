"""Finite training sets on disk: one memory-mapped file per rule, made once, verified each time it is opened."""

import hashlib
import json
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from filelock import FileLock
from lightning.pytorch.utilities import rank_zero_info, rank_zero_warn
from numpy.typing import NDArray
from torch import Tensor
from tqdm import tqdm

from genraven.errors import InputError
from genraven.files import appears_whole, check_cells, read_array
from genraven.metrics.memorization import LEVELS, TrainingIndex
from genraven.puzzles import layout
from genraven.puzzles.corrupt import Corruption, corrupt
from genraven.puzzles.generate import BLOCK, generate
from genraven.puzzles.spec import NUM_ATTRIBUTES, NUM_CELLS, NUM_PANELS, NUM_ROWS, NUM_RULES

FORMAT = 1  # of the files; part of every file's name
Maker = Callable[[int, int, int], Tensor]
"""(rule, start, count) -> (count, 3, 9, 9) int8 puzzles; start is a multiple of BLOCK."""


@dataclass(frozen=True)
class PuzzleSource:
    """Where the puzzles of a training set come from."""

    name: str
    """Begins the names of its files: says all that its puzzles depend on beside rule and number."""
    make: Maker
    samples_per_rule: int


def generated_source(samples_per_rule: int, seed: int, corruption: Corruption) -> PuzzleSource:
    """The first ``samples_per_rule`` training puzzles of each rule."""

    def make(rule: int, start: int, count: int) -> Tensor:
        # A whole block, so that a smaller set is the beginning of a larger one when it is corrupted, too.
        puzzles = generate(rule, start, BLOCK, seed=seed)
        return (corrupt(puzzles, corruption, seed=seed, key=(rule, start)) if corruption else puzzles)[:count]

    return PuzzleSource(f"generated-seed{seed}{_suffix(corruption)}", make, samples_per_rule)


def published_source(path: Path, samples_per_rule: int | None, seed: int, corruption: Corruption) -> PuzzleSource:
    """The puzzles of a file in the published layout (40, rows, 3, 9, 3), three neighbouring rows making a puzzle.

    Raises:
        InputError: no such file, a pickle, another shape or dtype, or fewer puzzles than ``samples_per_rule``.
    """
    wanted = f"a .npy file of integers of shape ({NUM_RULES}, rows, {NUM_PANELS}, {NUM_CELLS}, {NUM_ATTRIBUTES})"
    data = read_array(path, f"data.source to be {wanted}")
    shape = (data.shape[0], *data.shape[2:]) if data.ndim == 5 else ()
    if data.dtype.kind not in "iu" or shape != (NUM_RULES, NUM_PANELS, NUM_CELLS, NUM_ATTRIBUTES):
        raise InputError(f"expected data.source to be {wanted}, got {data.dtype} of shape {data.shape} in {path}: "
                         "convert it to the published layout.")  # fmt: skip
    if data.shape[1] % NUM_ROWS or not data.shape[1]:
        raise InputError(f"expected data.source to have a multiple of {NUM_ROWS} rows, got {data.shape[1]} in {path}: "
                         "three neighbouring rows make a puzzle.")  # fmt: skip
    available = data.shape[1] // NUM_ROWS
    if samples_per_rule is not None and samples_per_rule > available:
        raise InputError(f"expected at most the {available} puzzles per rule that {path} holds, got samples_per_rule "
                         f"{samples_per_rule}: lower it, or set it to null to take all.")  # fmt: skip

    def make(rule: int, start: int, count: int) -> Tensor:
        rows = np.array(data[rule, start * NUM_ROWS : (start + count) * NUM_ROWS])
        check_cells(rows, f"rule {rule} (row after {start * NUM_ROWS}, panel, cell) in {path}")
        puzzles = layout.rows_to_puzzles(torch.from_numpy(rows.astype(np.int8)).unflatten(0, (-1, NUM_ROWS)))
        return corrupt(puzzles, corruption, seed=seed, key=(rule, start)) if corruption else puzzles

    stat = path.stat()
    identity = hashlib.sha256(f"{path.resolve()} {stat.st_size} {stat.st_mtime_ns}".encode()).hexdigest()[:12]
    suffix = f"-seed{seed}{_suffix(corruption)}" if corruption else ""
    return PuzzleSource(f"file-{identity}{suffix}", make, samples_per_rule or available)


def _suffix(corruption: Corruption) -> str:
    return f"-cells{corruption.cells:g}-exceptions{corruption.exceptions:g}" if corruption else ""


def open_set(source: PuzzleSource, rules: tuple[int, ...], folder: Path, *, verify: bool) -> list[NDArray[np.int8]]:
    """Memory maps (samples_per_rule, 3, 9, 9), one for each of ``rules``; what is missing is made first.

    They are mapped copy-on-write, so that nothing done to them reaches the files.

    Safe when many processes call it together: a lock lets one of them make a file, and files appear by renaming.

    Args:
        verify: compare each file with its checksum; a broken one is named and made again.

    Raises:
        InputError: the folder cannot be written, or the source is bad.
    """
    paths = [folder / f"v{FORMAT}-{source.name}-rule{rule:02d}-n{source.samples_per_rule}.npy" for rule in rules]
    missing = [(rule, path) for rule, path in zip(rules, paths, strict=True) if not _is_whole(path, verify=verify)]
    if missing:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with FileLock(folder / f"v{FORMAT}-{source.name}.lock"):
                _make_files(source, [(rule, path) for rule, path in missing if not _is_whole(path, verify=True)])
        except OSError as error:
            raise InputError(f"expected a cache folder with room that can be written, got {folder} ({error}): "
                             "set data.cache_dir or GENRAVEN_CACHE.") from error  # fmt: skip
    return [np.load(path, mmap_mode="c", allow_pickle=False) for path in paths]


def _is_whole(path: Path, *, verify: bool) -> bool:
    note = path.with_suffix(".json")
    if not (path.exists() and note.exists()):
        return False
    if not verify:
        return True
    try:
        expected = json.loads(note.read_text())["sha256"]
    except (ValueError, KeyError, TypeError):
        expected = None
    whole = expected == _checksum(path)
    if not whole:
        rank_zero_warn(f"{path} is broken: its checksum is not the one noted. It is made again.")
    return whole


def _checksum(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _make_files(source: PuzzleSource, jobs: list[tuple[int, Path]]) -> None:
    if not jobs:
        return
    rank_zero_info(f"Making {source.samples_per_rule} puzzles for each of {len(jobs)} rules in {jobs[0][1].parent}")
    total = len(jobs) * source.samples_per_rule
    with tqdm(total=total, unit="puzzle", unit_scale=True, desc="data") as bar, ThreadPoolExecutor(num_cpus()) as pool:
        made = [pool.submit(_make_file, source, rule, path, bar.update) for rule, path in jobs]
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


def _make_file(source: PuzzleSource, rule: int, path: Path, advance: Callable[[int], Any]) -> None:
    shape = (source.samples_per_rule, *layout.PUZZLE_SHAPE)
    with appears_whole(path) as temporary:
        data = np.lib.format.open_memmap(temporary, "w+", np.int8, shape)
        for start in range(0, len(data), BLOCK):
            count = min(BLOCK, len(data) - start)
            data[start : start + count] = source.make(rule, start, count).numpy()
            advance(count)
        data.flush()
        del data
        checksum = _checksum(temporary)
    _note(path, checksum)


def _note(path: Path, checksum: str) -> None:
    """Says that ``path`` is whole."""
    with appears_whole(path.with_suffix(".json")) as temporary:
        temporary.write_text(json.dumps({"sha256": checksum}))


def open_index(source: PuzzleSource, rules: tuple[int, ...], folder: Path, *, verify: bool) -> TrainingIndex:
    """Hashes of all puzzles, rows and panels of a set, memory-mapped; made once, after ``open_set`` has made the set.

    Args:
        source: of the set.
        rules: ids.
        folder: of the files.
        verify: as for ``open_set``.
    """
    selection = hashlib.sha256(repr(rules).encode()).hexdigest()[:12]
    stem = f"v{FORMAT}-{source.name}-n{source.samples_per_rule}-rules{selection}"
    paths = {level: folder / f"{stem}-{level}.npy" for level in LEVELS}
    if not all(_is_whole(path, verify=verify) for path in paths.values()):
        with FileLock(folder / f"{stem}.lock"):
            if not all(_is_whole(path, verify=True) for path in paths.values()):
                _make_index(open_set(source, rules, folder, verify=False), paths)
    return TrainingIndex(**{level: torch.from_numpy(np.load(path, mmap_mode="c")) for level, path in paths.items()})


def _make_index(maps: list[NDArray[np.int8]], paths: dict[str, Path]) -> None:
    total = sum(map(len, maps))
    with tqdm(total=total, unit="puzzle", unit_scale=True, desc="index") as bar, ThreadPoolExecutor(num_cpus()) as pool:
        work = pool.map(lambda puzzles: TrainingIndex.build(torch.from_numpy(puzzles), bar.update), maps)
        index = TrainingIndex.union(list(work))
    for level, path in paths.items():
        with appears_whole(path) as temporary:
            with temporary.open("wb") as file:
                np.save(file, getattr(index, level).numpy())
            checksum = _checksum(temporary)
        _note(path, checksum)


def num_cpus() -> int:
    """CPUs that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1  # macOS and Windows
