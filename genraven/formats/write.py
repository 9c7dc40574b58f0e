"""Puzzles written in each of the layouts that ``read`` knows.

G rules, n puzzles of each.
"""

import zipfile
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from genraven.errors import InputError
from genraven.files import folder_appears_whole
from genraven.formats.names import kept_rules, rule_stem, split_named
from genraven.formats.read import KNOWN, PUZZLES, RULE_IDS, side_files
from genraven.outputs import Outputs
from genraven.puzzles import layout
from genraven.puzzles.spec import NUM_STUDY_RULES


class Writer(NamedTuple):
    """How puzzles get into a file."""

    suffixes: tuple[str, ...]
    """That its name may have, the usual one first; an empty one for a folder."""
    rules: Callable[[Path], list[int] | None]
    """The rules that it holds; None for any."""
    write: Callable[[Path, Tensor, tuple[int, ...]], str]
    """Writes puzzles (G, n, 3, 9, 9) int8 of G rules, a folder whole or not at all; what it wrote, in words."""
    holds_missing: bool = False
    """Does it also write puzzles with missing cells (G, n, 4, 9, 9)?"""
    makes_folder: bool = False
    """Or a file?"""


def add_puzzles(outputs: Outputs, path: Path, option: str, suffixes: Sequence[str] = ()) -> None:
    """Declares a file of puzzles, as ``Outputs.add``.

    Raises:
        InputError: it cannot be written, or a file beside it would be read as rules or known cells of its puzzles.
    """
    outputs.add(path, option, suffixes=suffixes)
    for name, beside in side_files(path).items():
        raise InputError(f"expected {option} without a file of {name} of other puzzles beside it, got {path} and "
                         f"{beside}: move that away, or choose another name.")  # fmt: skip


def save_array(path: Path, array: NDArray[Any]) -> None:
    """Writes ``array``: as a tensor where the name ends in .pt."""
    with path.open("wb") as file:
        if path.suffix.lower() == ".pt":
            torch.save(torch.from_numpy(array), file)
        else:
            np.save(file, array)


def save_archive(path: Path, arrays: dict[str, tuple[tuple[int, ...], np.dtype[Any], Iterable[NDArray[Any]]]]) -> None:
    """Writes an uncompressed .npz, each array of a shape and type from its chunks.

    So it is larger than memory if need be, and can be mapped.
    """
    with zipfile.ZipFile(path, "w") as archive:
        for name, (shape, dtype, chunks) in arrays.items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as file:
                header = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": shape}
                np.lib.format.write_array_header_1_0(file, header)
                for chunk in chunks:
                    file.write(np.ascontiguousarray(chunk, dtype).data)


def _rows(puzzles: Tensor) -> NDArray[np.int8]:
    """(G, 3 n, 3, 9, 3) from puzzles (G, n, 3, 9, 9)."""
    return layout.puzzles_to_rows(puzzles.flatten(0, 1)).view(len(puzzles), -1, *layout.ROW_SHAPE).numpy()


def _write_puzzles(path: Path, puzzles: Tensor, ids: tuple[int, ...]) -> str:
    return _save(path, puzzles.flatten(0, 1).numpy())


def _write_rows(path: Path, puzzles: Tensor, ids: tuple[int, ...]) -> str:
    return _save(path, _rows(puzzles))


def _save(path: Path, array: NDArray[Any]) -> str:
    save_array(path, array)
    return f"{array.shape} {array.dtype}"


def _write_archive(path: Path, puzzles: Tensor, ids: tuple[int, ...]) -> str:
    cells, unknown = layout.split_missing(puzzles.flatten(0, 1))
    together, rules = cells.numpy(), np.repeat(np.array(ids, np.int64), puzzles.shape[1])
    arrays = {PUZZLES: together, RULE_IDS: rules} | ({} if unknown is None else {KNOWN: (~unknown).numpy()})
    save_archive(path, {name: (array.shape, array.dtype, [array]) for name, array in arrays.items()})
    missing = "" if unknown is None else f", {int(unknown.sum()):,} of {unknown.numel():,} cells unknown"
    return f"puzzles {together.shape} {together.dtype} and their rules{missing}"


def _write_folder(path: Path, puzzles: Tensor, ids: tuple[int, ...]) -> str:
    rows = _rows(puzzles)
    with folder_appears_whole(path, "--out") as folder:
        for rule, of_rule in zip(ids, rows, strict=True):
            np.save(folder / f"{rule_stem(rule)}.npy", of_rule)
    return f"a file of {rows.shape[1:]} {rows.dtype} for each rule"


def _split_rules(path: Path) -> list[int]:
    split = split_named(path)
    if split is None:
        raise InputError(f"expected the split whose rules are left out in the name of the file, got {path}: name it "
                         "such as train_inputs_new_split0.pt.")  # fmt: skip
    return kept_rules(split)


ARRAYS = (".npy", ".pt")
"""Suffixes of files of one array."""
FILES = (*ARRAYS, ".npz")
"""Suffixes of files, which no folder has."""
WRITERS: dict[str, Writer] = {
    "puzzles": Writer(ARRAYS, lambda path: None, _write_puzzles),
    "npz": Writer((".npz",), lambda path: None, _write_archive, holds_missing=True),
    "published": Writer(ARRAYS, lambda path: list(range(NUM_STUDY_RULES)), _write_rows),
    "folder": Writer(("",), lambda path: None, _write_folder, makes_folder=True),
    "split": Writer(ARRAYS, _split_rules, _write_rows),
}
