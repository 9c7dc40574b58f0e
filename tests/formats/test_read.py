"""Files are made here by numpy and torch alone, in loops where the readers have tables."""

import os
import pickle
import tracemalloc
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from genraven.errors import InputError
from genraven.formats.puzzles import PuzzleFile
from genraven.formats.read import open_puzzles, read_mask, read_open_puzzles, read_puzzles, source_digest
from genraven.puzzles.generate import generate
from genraven.puzzles.masks import last_panel_mask
from genraven.puzzles.spec import RULES as ALL_RULES

NUM = 2
SPLIT_3 = [rule for rule in range(40) if rule not in (3, 10, 29, 31, 37)]
STEMS = [
    *(f"{a}_{r}" for a in range(3) for r in range(10)),
    *(f"3_{r}" for r in range(7)),
    *(f"4_{r}" for r in (7, 8, 9)),
]


@cache
def puzzles_of(rule: int, num: int = NUM) -> NDArray[np.int8]:
    return generate(rule, 0, num, seed=1).numpy()


def rows_of(puzzles: NDArray[Any]) -> NDArray[Any]:
    """(3 n, 3, 9, 3) from (n, 3, 9, 9)."""
    rows = [
        [[p[:, 3 * row + k // 3, 3 * panel + k % 3] for k in range(9)] for panel in range(3)]
        for p in puzzles
        for row in range(3)
    ]
    return np.array(rows)


def slabs(rules: list[int]) -> NDArray[Any]:
    return np.stack([rows_of(puzzles_of(rule)) for rule in rules])


PUZZLES = np.concatenate([puzzles_of(rule) for rule in range(40)])
RULES = np.repeat(np.arange(40), NUM)
PUBLISHED = slabs(list(range(40)))
RULE_NAMES = [rule.name for rule in ALL_RULES]


def tensor(array: NDArray[Any]) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(array))


def beside(path: Path) -> None:
    np.save(path, PUZZLES.astype(np.int32))
    np.save(path.with_suffix(".rules.npy"), RULES)


def folder(path: Path) -> None:
    path.mkdir()
    for rule, stem in enumerate(STEMS):
        np.save(path / f"{stem}.npy", PUBLISHED[rule].astype(np.int64))


def folder_of_archives(path: Path) -> None:
    path.mkdir()
    for rule, stem in enumerate(STEMS):
        np.savez(path / f"{stem}.npz", puzzles=puzzles_of(rule), rules=[rule, -1])


def folder_of_tensors(path: Path) -> None:
    path.mkdir()
    for rule, stem in enumerate(STEMS):
        torch.save(tensor(PUBLISHED[rule]), path / f"{stem}.pt")


EVERY = list(range(40))
GOOD: dict[str, tuple[str, Callable[[Path], Any], list[int]]] = {
    "published": ("all.npy", lambda path: np.save(path, PUBLISHED.astype(np.int64)), EVERY),
    "published, floats": ("all.npy", lambda path: np.save(path, PUBLISHED.astype(np.float32)), EVERY),
    "published, half floats": ("all.npy", lambda path: np.save(path, PUBLISHED.astype(np.float16)), EVERY),
    "published, fortran": ("all.npy", lambda path: np.save(path, np.asfortranarray(PUBLISHED)), EVERY),
    "published npz": ("all.npz", lambda path: np.savez(path, attr_all=PUBLISHED), EVERY),
    "published pt": ("all.pt", lambda path: torch.save(tensor(PUBLISHED.astype(np.float64)), path), EVERY),
    "published pt, transposed": (
        "all.pt",
        lambda path: torch.save(tensor(PUBLISHED.swapaxes(0, 1)).transpose(0, 1), path),
        EVERY,
    ),
    "puzzles with rules": ("own.npz", lambda path: np.savez_compressed(path, puzzles=PUZZLES, rules=RULES), EVERY),
    "puzzles with floats as rules": (
        "own.npz",
        lambda path: np.savez(path, puzzles=PUZZLES, rules=RULES.astype(np.float64)),
        EVERY,
    ),
    "puzzles and rules as tensors": (
        "own.pt",
        lambda path: torch.save({"puzzles": tensor(PUZZLES), "rules": tensor(RULES)}, path),
        EVERY,
    ),
    "puzzles as a tensor and ids in a list": (
        "own.pt",
        lambda path: torch.save({"puzzles": tensor(PUZZLES), "rules": RULES.tolist()}, path),
        EVERY,
    ),
    "puzzles as a tensor and names in a list": (
        "own.pt",
        lambda path: torch.save({"x": tensor(PUZZLES), "rules": [RULE_NAMES[rule] for rule in RULES]}, path),
        EVERY,
    ),
    "puzzles with rules beside": ("own.npy", beside, EVERY),
    "puzzles without rules": ("own.npy", lambda path: np.save(path, PUZZLES), [-1] * 40),
    "rows with rules": ("own.npz", lambda path: np.savez(path, x=PUBLISHED.reshape(-1, 3, 9, 3), rules=RULES), EVERY),
    "folder": ("aR", folder, EVERY),
    "folder of tensors": ("aR", folder_of_tensors, EVERY),
    "folder of archives with rules": ("aR", folder_of_archives, EVERY),
    "split in the name": ("train_inputs_new_split3.pt", lambda p: torch.save(tensor(slabs(SPLIT_3)), p), SPLIT_3),
    "split that the puzzles tell": ("train_inputs.npy", lambda path: np.save(path, slabs(SPLIT_3)), SPLIT_3),
}


def contents(file: PuzzleFile) -> tuple[NDArray[np.int8], list[int]]:
    chunks = list(file.chunks())
    assert not any(chunk.bad.any() for chunk in chunks)
    assert all(chunk.puzzles.dtype == torch.int8 for chunk in chunks)
    return torch.cat([c.puzzles for c in chunks]).numpy(), torch.cat([c.rules for c in chunks]).tolist()


@pytest.mark.parametrize("kind", GOOD)
def test_a_file_gives_the_puzzles_and_rules_put_in(tmp_path: Path, kind: str) -> None:
    name, write, rules = GOOD[kind]
    write(tmp_path / name)
    file = open_puzzles(tmp_path / name)
    puzzles, stated = contents(file)
    expected = PUZZLES if rules[0] == -1 else np.concatenate([puzzles_of(rule) for rule in rules])
    assert stated == file.rules.tolist() == np.repeat(rules, NUM).tolist()
    assert np.array_equal(puzzles, expected)
    assert len(file) == len(expected)
    assert file.not_mapped == []
    last = len(expected) - 1
    for indices in ([0, 1, 5, 6, 7, last], [last, 0, 7, 5, 0, 6], [1, 3, 2, 4], [4, 4, 6]):  # in any order, and again
        some = np.array(indices)
        assert np.array_equal(file.read(some).puzzles.numpy(), expected[some])
        assert np.array_equal(file.look(some).puzzles.numpy(), expected[some])
        assert file.read(some).rules.tolist() == np.repeat(rules, NUM)[some].tolist()


def test_what_is_no_array_of_a_tensor_file_is_named(tmp_path: Path) -> None:
    torch.save({"x": tensor(PUZZLES), "note": "mine", "sizes": {"a": 1}, "ragged": [[1], [1, 2]]}, tmp_path / "own.pt")
    assert open_puzzles(tmp_path / "own.pt").not_mapped == ["note", "ragged", "sizes"]
    for name, said in (
        ("rules", r"rules \(B,\) as ids or names, got dict"),
        ("known", "known cells as bool .* got dict"),
    ):
        torch.save({"x": tensor(PUZZLES), name: {"a": 1}}, tmp_path / "own.pt")
        with pytest.raises(InputError, match=said):
            open_puzzles(tmp_path / "own.pt")


def test_known_cells_may_be_a_list_of_a_tensor_file(tmp_path: Path) -> None:
    known = np.ones((len(PUZZLES), 9, 9), bool)
    known[3, 4, 5] = False
    torch.save({"puzzles": tensor(PUZZLES), "known": known.tolist()}, tmp_path / "own.pt")
    assert open_puzzles(tmp_path / "own.pt").has_missing


def test_a_file_of_a_folder_that_states_another_rule_is_refused(tmp_path: Path) -> None:
    (tmp_path / "aR").mkdir()
    np.savez(tmp_path / "aR" / "0_3.npz", puzzles=puzzles_of(3), rules=[3, 4])
    with pytest.raises(
        InputError, match=r"expected puzzles of \S+, as the file's name says, got the rule \S+ stated in"
    ):
        open_puzzles(tmp_path / "aR")


def test_nothing_is_read_of_cells_that_are_to_be_written(tmp_path: Path) -> None:
    """Neither what stands there nor whether it is known; elsewhere both are looked at."""
    puzzles, known = PUZZLES.copy(), np.ones((len(PUZZLES), 9, 9), bool)
    puzzles[:, :, 6:, 6:], known[0, 6:, 6:] = 99, False
    np.savez(tmp_path / "own.npz", puzzles=puzzles, known=known)
    read, mask = read_open_puzzles(tmp_path / "own.npz", last_panel_mask)
    assert torch.equal(mask, last_panel_mask(len(PUZZLES)))
    assert np.array_equal(read.numpy(), np.where(mask.unsqueeze(1), 0, PUZZLES))
    with pytest.raises(InputError, match=r"got \[99, 99, 99\] at \[1, 6, 6\]"):  # of puzzle 0 they are unknown
        read_puzzles(tmp_path / "own.npz")
    known[2, 0, 0] = False
    np.savez(tmp_path / "own.npz", puzzles=puzzles, known=known)
    with pytest.raises(InputError, match=r"missing cells in puzzle 2 of .*own\.npz"):
        read_open_puzzles(tmp_path / "own.npz", last_panel_mask)


def test_names_of_rules_do_as_well(tmp_path: Path) -> None:
    np.savez(tmp_path / "own.npz", puzzles=PUZZLES[:2], rules=np.array(["position.xor", "shape.constant"]), noise=[1.0])
    file = open_puzzles(tmp_path / "own.npz")
    assert file.rules.tolist() == [37, 0]
    assert file.not_mapped == ["noise"]


@pytest.mark.parametrize("name", ["1_4.npy", "0_0.pt", "4_9.npz"])
def test_a_file_is_told_by_what_is_in_it_and_not_by_its_name(tmp_path: Path, name: str) -> None:
    write = {".npy": np.save, ".npz": np.savez, ".pt": lambda path, array: torch.save(tensor(array), path)}
    write[Path(name).suffix](tmp_path / name, puzzles_of(37))
    assert open_puzzles(tmp_path / name).rules.tolist() == [-1] * NUM


def test_corrupted_puzzles_do_not_speak_against_a_name(tmp_path: Path) -> None:
    """Half of them follow no rule, the others that of the file."""
    puzzles = puzzles_of(3, 8).copy()
    puzzles[::2] = np.roll(puzzles[::2], 1, axis=-1)
    folder_with(rule0_3=puzzles)(tmp_path / "aR")
    assert open_puzzles(tmp_path / "aR").rules.tolist() == [3] * 8


@pytest.mark.parametrize("in_order", [True, False])
def test_many_puzzles_are_read_in_parts(tmp_path: Path, in_order: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a puzzle takes while it is read, some 4 kB, is taken by few at once."""
    monkeypatch.setattr("genraven.formats.puzzles.CHUNK", 1 << 9)
    num = 1 << 13
    np.save(tmp_path / "own.npy", np.resize(PUZZLES, (num, 3, 9, 9)).astype(np.int64))
    index = np.arange(num) if in_order else np.random.default_rng(0).permutation(num)
    file = open_puzzles(tmp_path / "own.npy")
    tracemalloc.start()
    puzzles = file.read(index).puzzles
    peak = tracemalloc.get_traced_memory()[1]  # of numpy's arrays
    tracemalloc.stop()
    assert peak < 1000 * num
    assert np.array_equal(puzzles.numpy(), PUZZLES[index % len(PUZZLES)])


def test_a_split_is_given_by_an_option_where_the_puzzles_do_not_show_it(tmp_path: Path) -> None:
    np.save(tmp_path / "noise.npy", np.zeros((35, 6, 3, 9, 3), np.int8))
    with pytest.raises(InputError, match="its puzzles do not show which rules are left out"):
        open_puzzles(tmp_path / "noise.npy")
    assert open_puzzles(tmp_path / "noise.npy", split="split3").rules.tolist() == np.repeat(SPLIT_3, 2).tolist()


def test_a_name_that_the_puzzles_contradict_is_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "train_inputs_split4.npy", slabs(SPLIT_3))
    with pytest.raises(InputError, match="rules that split4 leaves in, got puzzles of split3"):
        open_puzzles(tmp_path / "train_inputs_split4.npy")
    assert open_puzzles(tmp_path / "train_inputs_split4.npy", split="split3").rules[0] == 0


# Missing cells --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("as_rows", [False, True])
def test_unknown_cells_are_known_to_be_and_may_hold_anything(tmp_path: Path, as_rows: bool) -> None:
    known = np.ones((len(PUZZLES), 9, 9), bool)
    known[3, 4, 7] = known[3, 8, 0] = False
    corrupted = PUZZLES.astype(np.float64)
    corrupted[3, :, 4, 7], corrupted[3, :, 8, 0] = np.nan, 99
    cells = rows_of(corrupted) if as_rows else corrupted
    np.savez(tmp_path / "own.npz", puzzles=cells, rules=RULES, known=known)
    chunk = open_puzzles(tmp_path / "own.npz").read(np.arange(len(PUZZLES)))
    assert chunk.known is not None
    assert np.array_equal(chunk.known.numpy(), known)
    assert np.array_equal(chunk.puzzles.numpy(), np.where(known[:, None], PUZZLES, 0))
    with pytest.raises(InputError, match=r"missing cells in puzzle 3 of .*own\.npz"):
        read_puzzles(tmp_path / "own.npz")


# Bad files ------------------------------------------------------------------------------------------------------------


def with_cell(*cell: float, dtype: type = np.float64) -> Callable[[Path], None]:
    def write(path: Path) -> None:
        data = PUBLISHED.astype(dtype)
        data[7, 5, 2, 8] = cell
        np.save(path, data)

    return write


def puzzle_with_cell(*cell: int) -> Callable[[Path], None]:
    def write(path: Path) -> None:
        data = PUZZLES.astype(np.int64)
        data[2, :, 4, 7] = cell
        np.save(path, data)

    return write


def archive(**arrays: Any) -> Callable[[Path], None]:
    def write(path: Path) -> None:
        with path.open("wb") as file:
            np.savez(file, **arrays)

    return write


def saved(array: Any) -> Callable[[Path], None]:
    return lambda path: np.save(path, array)


def folder_with(**arrays: Any) -> Callable[[Path], None]:
    def write(path: Path) -> None:
        path.mkdir()
        for name, array in arrays.items():
            np.save(path / f"{name.removeprefix('rule')}.npy", array)

    return write


def twice(path: Path) -> None:
    path.mkdir()
    np.save(path / "0_1.npy", PUBLISHED[1])
    torch.save(tensor(PUBLISHED[1]), path / "0_1.pt")


class Trap:
    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.marker),)


def trapped_folder(path: Path) -> None:
    path.mkdir()
    (path / "0_1.npy").write_bytes(pickle.dumps(Trap(path.with_name("executed"))))


def trapped_rules(path: Path) -> None:
    np.save(path, PUZZLES)
    objects = np.array([Trap(path.with_name("executed"))] * len(PUZZLES), dtype=object)
    np.save(path.with_suffix(".rules.npy"), objects, allow_pickle=True)


BAD: dict[str, tuple[Callable[[Path], Any], str]] = {
    "missing": (lambda path: None, "No such file"),
    "scalar": (saved(np.int8(3)), "int8 of shape ()"),
    "one puzzle": (saved(PUZZLES[0]), "shape (3, 9, 9)"),
    "tokens": (saved(PUZZLES.reshape(80, 81, 3)), "shape (80, 81, 3)"),
    "39 rules": (saved(PUBLISHED[:39]), "shape (39, 6, 3, 9, 3)"),
    "bool": (saved(PUZZLES > 0), "bool of shape"),
    "complex": (saved(PUZZLES.astype(np.complex64)), "complex64"),
    "words": (saved(np.array(["a"])), "<U1"),
    "five rows": (saved(PUBLISHED[:, :5]), "multiple of 3 rows, got 5"),
    "no rows": (saved(PUBLISHED[:, :0]), "at least one puzzle, got none"),
    "no puzzles": (saved(PUZZLES[:0]), "at least one puzzle, got none"),
    "shape 7": (with_cell(7, 0, 0), "got [7.0, 0.0, 0.0] at [5, 2, 8] (row, panel, cell) of rule 7 of"),
    "size 10": (with_cell(0, 10, 0, dtype=np.int32), "got [0, 10, 0] at"),
    "color -2": (with_cell(0, 0, -2, dtype=np.int8), "got [0, 0, -2] at"),
    "256 more": (with_cell(258, 0, 0, dtype=np.int64), "got [258, 0, 0] at"),
    "half empty": (with_cell(3, -1, 4, dtype=np.int8), "got [3, -1, 4] at"),
    "a half": (with_cell(3, 0.5, 4), "got [3.0, 0.5, 4.0] at"),
    "nan": (with_cell(3, np.nan, 4), "got [3.0, nan, 4.0] at"),
    "infinite": (with_cell(3, np.inf, 4, dtype=np.float16), "got [3.0, inf, 4.0] at"),
    "huge": (with_cell(3, 2**62, 4, dtype=np.int64), "got [3, 4611686018427387904, 4] at"),
    "empty as 255": (saved(PUBLISHED.astype(np.uint8)), "got [255, 255, 255] at"),
    "cell of a puzzle": (puzzle_with_cell(7, 0, 0), "got [7, 0, 0] at [2, 4, 7] (puzzle, row, column) of"),
    "two arrays": (archive(a=PUZZLES, b=PUZZLES), "got 2 in"),
    "rules alone": (archive(rules=RULES), "got 0 in"),
    "too few rules": (archive(puzzles=PUZZLES, rules=RULES[:-1]), "rules of each of the 80 puzzles"),
    "rule 40": (archive(puzzles=PUZZLES, rules=RULES + 1), "got 40 at 78 of the rules"),
    "half a rule": (archive(puzzles=PUZZLES, rules=RULES / 2), "got 0.5 at 2 of the rules"),
    "no rule": (archive(puzzles=PUZZLES, rules=np.array(["shape.xnor"] * 80)), "'shape.xnor'"),
    "rules in a table": (archive(puzzles=PUZZLES, rules=RULES[:, None]), "int64 of shape (80, 1)"),
    "rules beside slabs": (archive(puzzles=PUBLISHED, rules=RULES), "no rules beside an array that is ordered by rule"),
    "mask of integers": (archive(puzzles=PUZZLES, known=np.ones((80, 9, 9), np.int8)), "known cells as bool"),
    "mask of channels": (archive(puzzles=PUZZLES, known=PUZZLES > 0), "known cells as bool"),
    "too short a mask": (archive(puzzles=PUZZLES, known=np.ones((79, 9, 9), bool)), "known of each of the 80"),
    "empty folder": (folder_with(), "one file for each rule"),
    "folder of others": (folder_with(rows=PUBLISHED[0]), "one file for each rule"),
    "folder of slabs": (folder_with(rule0_1=PUBLISHED), "rows or puzzles of one rule, got published"),
    "folder of rules twice": (twice, "a second one of 0_1"),
    "folder of another rule": (folder_with(rule0_1=PUBLISHED[37]), "shape.progression-2, as the file's name says"),
    "trapped folder": (trapped_folder, "0_1.npy (a pickle, which is not run)"),
    "trapped rules": (trapped_rules, "a pickle of objects, which is not run"),
}


@pytest.mark.parametrize("kind", BAD)
def test_bad_files_are_refused_in_one_line(tmp_path: Path, kind: str) -> None:
    write, said = BAD[kind]
    path = tmp_path / "puzzles.npy"
    write(path)
    with pytest.raises(InputError) as caught:
        read_puzzles(path)
    message = str(caught.value)
    assert said in message
    assert str(path.with_suffix("")) in message
    assert "\n" not in message
    assert not (tmp_path / "executed").exists()


@pytest.mark.parametrize("name", ["x_split10.npy", "x_split33.npy"])
def test_a_split_that_there_is_not_is_refused(tmp_path: Path, name: str) -> None:
    np.save(tmp_path / name, slabs(SPLIT_3))
    with pytest.raises(InputError, match=f"got '{name[2:-4]}' in the name of"):
        open_puzzles(tmp_path / name)


@pytest.mark.parametrize("dtype", [np.int8, np.int16, np.int64, np.float32])
def test_puzzles_come_back_as_they_were_saved(tmp_path: Path, dtype: type) -> None:
    np.save(tmp_path / "puzzles.npy", PUZZLES.astype(dtype))
    read = read_puzzles(tmp_path / "puzzles.npy")
    assert read.dtype == torch.int8
    assert np.array_equal(read.numpy(), PUZZLES)
    read[0] = 0  # a tensor of its own, which may be written
    assert np.array_equal(read_puzzles(tmp_path / "puzzles.npy").numpy(), PUZZLES)


@pytest.mark.parametrize("mask", [np.eye(9) > 0, np.stack([np.eye(9) > 0, np.ones((9, 9)) > 0])])
def test_masks_of_all_or_of_each(tmp_path: Path, mask: NDArray[np.bool_]) -> None:
    np.save(tmp_path / "mask.npy", mask)
    assert np.array_equal(read_mask(tmp_path / "mask.npy", 2).numpy(), np.broadcast_to(mask, (2, 9, 9)))
    np.save(tmp_path / "mask.npy", mask.astype(np.int8))
    with pytest.raises(InputError, match=r"bool array \(9, 9\) or \(3, 9, 9\), got int8"):
        read_mask(tmp_path / "mask.npy", 3)


# What a run remembers -------------------------------------------------------------------------------------------------


def test_a_digest_is_of_all_that_counts_wherever_it_lies(tmp_path: Path) -> None:
    for place in ("here", "there"):
        (tmp_path / place).mkdir()
        beside(tmp_path / place / "own.npy")
        folder(tmp_path / place / "aR")
    digests = {path: source_digest(path) for path in sorted(tmp_path.glob("*/*")) if "rules" not in path.name}
    assert len(digests) == 4
    assert len(set(digests.values())) == 2
    np.save(tmp_path / "here" / "own.rules.npy", RULES[::-1])
    np.save(tmp_path / "here" / "aR" / "4_9.npy", PUBLISHED[39][::-1])
    (tmp_path / "there" / "aR" / "readme.txt").touch()
    for path, before in digests.items():
        assert (source_digest(path) == before) == ("there" in path.parts)
