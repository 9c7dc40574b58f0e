"""Reading and writing files that a user names: nothing half written, nothing executable read."""

import os
import secrets
import shutil
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from genraven.errors import InputError
from genraven.puzzles import layout
from genraven.puzzles.spec import EMPTY, GRID, NUM_VALUES

UNFINISHED = ".unfinished-"  # in names of temporary files
PICTURES = (".png", ".jpg", ".webp")


def _beside(path: Path) -> Path:
    """A new name beside ``path``."""
    return path.with_name(f".{path.name}{UNFINISHED}{secrets.token_hex(4)}{path.suffix}")


@contextmanager
def appears_whole(path: Path) -> Iterator[Path]:
    """A temporary path beside ``path`` that takes its place when the block ends well, and is removed when not.

    It may be read and written by whom the umask, or the folder's own default, allows to.
    """
    temporary = _beside(path)
    # Made here: to ask for the umask is to set it, for all threads; and some writers make files for the owner only.
    handle = os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666)
    mode = stat.S_IMODE(os.fstat(handle).st_mode)
    os.close(handle)
    try:
        yield temporary
        temporary.chmod(mode)
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def folder_appears_whole(folder: Path, option: str) -> Iterator[Path]:
    """A temporary folder beside ``folder`` that takes its place when the block ends well, and is removed when not.

    It and the files in it are open to those whom the umask allows.

    Raises:
        InputError: ``folder`` is there already, or cannot be written; ``option`` is named as what to change.
    """
    if folder.exists():
        raise InputError(f"expected a folder that is not there yet, got {folder}: set {option}, or remove it.")
    parent = writable_folder(folder.absolute().parent, option)
    temporary = _beside(parent / folder.name)
    try:
        temporary.mkdir()
        yield temporary
        mode = stat.S_IMODE(temporary.stat().st_mode)
        for path in temporary.rglob("*"):
            path.chmod(mode if path.is_dir() else mode & 0o666)
        temporary.rename(folder)
    except OSError as error:
        raise InputError(
            f"expected a folder that can be written, got {folder} ({error.strerror}): set {option}."
        ) from None
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def remove_unfinished(folder: Path) -> None:
    """Removes the temporary files that ``appears_whole`` left in ``folder`` when its process was killed."""
    for path in folder.glob(f".*{UNFINISHED}*"):
        path.unlink(missing_ok=True)


def writable_folder(folder: Path, option: str) -> Path:
    """``folder``, made if missing.

    Raises:
        InputError: it cannot be made or written; ``option`` is named as what to change.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise InputError(
            f"expected a folder that can be written, got {folder} ({error.strerror}): set {option}."
        ) from None
    return folder


def check_outputs(array: Path, picture: Path | None) -> None:
    """Raises InputError unless both can be written: folders, a picture's suffix, two different files."""
    if picture is not None and picture.suffix.lower() not in PICTURES:
        raise InputError(f"expected --picture to end in {' or '.join(PICTURES)}, got {picture}: rename it.")
    if picture is not None and picture.absolute() == array.absolute():
        raise InputError(f"expected two files, got {array} for both --out and --picture: rename one.")
    for path, option in ((array, "--out"), (picture, "--picture")):
        if path is not None:
            writable_folder(path.absolute().parent, option)


def read_array(path: Path, wanted: str) -> NDArray[Any]:
    """The memory-mapped array of an .npy file.

    Raises:
        InputError: no such file, a pickle, an archive or no array at all.
    """
    try:
        data = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        reason = (
            error.strerror if isinstance(error, OSError) and error.strerror else "it is no plain array, or a pickle"
        )
        raise InputError(f"expected {wanted}, got {path} ({reason}): save an integer array with numpy.save.") from None
    if not isinstance(data, np.ndarray):
        raise InputError(f"expected {wanted}, got {path} (an .npz archive): save one integer array with numpy.save.")
    return data


def check_cells(cells: NDArray[Any], where: str) -> None:
    """Raises InputError at the first of ``cells`` (..., 3) out of its range, or empty in some channels only."""
    bad = ((cells < EMPTY) | (cells >= np.array(NUM_VALUES))).any(-1)
    bad |= (cells == EMPTY).any(-1) & (cells != EMPTY).any(-1)
    if bad.any():
        place = np.argwhere(bad)[0]
        ranges = ", ".join(f"{EMPTY}..{n - 1}" for n in NUM_VALUES)
        raise InputError(
            f"expected cells of shape, size, color in {ranges}, with {EMPTY} in all three or in none; got "
            f"{cells[tuple(place)].tolist()} at {place.tolist()} of {where}: mend the file."
        )


def read_puzzles(path: Path) -> Tensor:
    """(B, 3, 9, 9) int8 puzzles from an .npy file of integers.

    Raises:
        InputError: not such a file, another shape or dtype, or a cell out of its range.
    """
    wanted = f"an .npy file of integer puzzles (B, 3, {GRID}, {GRID})"
    data = read_array(path, wanted)
    if data.dtype.kind not in "iu" or data.shape[1:] != layout.PUZZLE_SHAPE:
        raise InputError(f"expected {wanted}, got {data.dtype} of shape {data.shape} in {path}: "
                         "`genraven generate` writes such files.")  # fmt: skip
    if not len(data):
        raise InputError(f"expected at least one puzzle, got none in {path}: `genraven generate` writes some.")
    check_cells(np.moveaxis(data, 1, -1), f"the puzzles (puzzle, row, column) in {path}")
    return torch.from_numpy(np.array(data, dtype=np.int8))
