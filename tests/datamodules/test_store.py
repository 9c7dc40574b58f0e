import io
import os
import pickle
import re
import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from datamodules import GenRAVENDataModule, store
from datamodules.store import generated_source, open_set, published_source
from genraven.errors import InputError
from genraven.puzzles import layout
from genraven.puzzles.corrupt import Corruption
from genraven.puzzles.generate import BLOCK, generate

ROOT = Path(__file__).parents[2]
CLEAN = Corruption()
RULES = (2, 33)


def open_generated(folder: Path, num: int = 12, *, verify: bool = True) -> list[NDArray[np.int8]]:
    return open_set(generated_source(num, 0, CLEAN), RULES, folder, verify=verify)


def visible(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if path.suffix != ".lock") if folder.exists() else []


def snapshot(folder: Path) -> dict[str, tuple[int, int]]:
    return {name: ((folder / name).stat().st_ino, (folder / name).stat().st_mtime_ns) for name in visible(folder)}


@pytest.mark.parametrize("num", [1, 12, BLOCK + 5])
def test_a_finite_set_is_its_first_puzzles_memory_mapped(tmp_path: Path, num: int) -> None:
    maps = open_generated(tmp_path / "new" / "folder", num)
    for rule, puzzles in zip(RULES, maps, strict=True):
        assert isinstance(puzzles, np.memmap)
        assert (puzzles.dtype, puzzles.shape) == (np.int8, (num, 3, 9, 9))
        assert np.array_equal(puzzles, generate(rule, 0, num).numpy())


@pytest.mark.parametrize("verify", [True, False])
def test_a_second_opening_makes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, verify: bool) -> None:
    open_generated(tmp_path)
    before = snapshot(tmp_path)
    monkeypatch.setattr(store, "generate", lambda *args, **kwargs: pytest.fail("made again"))
    open_generated(tmp_path, verify=verify)
    assert snapshot(tmp_path) == before
    assert len(before) == 2 * len(RULES)


def test_sets_that_differ_share_no_file(tmp_path: Path) -> None:
    sources = [
        generated_source(4, 0, CLEAN),
        generated_source(5, 0, CLEAN),
        generated_source(4, 1, CLEAN),
        generated_source(4, 0, Corruption(cells=0.1)),
        generated_source(4, 0, Corruption(cells=0.2)),
        generated_source(4, 0, Corruption(exceptions=0.1)),
    ]
    for source in sources:
        open_set(source, (2,), tmp_path, verify=True)
    assert len(visible(tmp_path)) == 2 * len(sources)


@pytest.mark.parametrize("place", [0, 70, -1])
def test_a_broken_byte_is_named_and_its_file_alone_made_again(tmp_path: Path, place: int) -> None:
    open_generated(tmp_path)
    paths = sorted(tmp_path.glob("*.npy"))
    before = snapshot(tmp_path)
    content = bytearray(paths[0].read_bytes())
    content[place] ^= 1
    paths[0].write_bytes(content)
    with pytest.warns(UserWarning, match=re.escape(str(paths[0]))):
        maps = open_generated(tmp_path)
    for rule, puzzles in zip(RULES, maps, strict=True):
        assert np.array_equal(puzzles, generate(rule, 0, 12).numpy())
    changed = {name for name, stat in snapshot(tmp_path).items() if stat != before[name]}
    assert changed == {paths[0].name, paths[0].with_suffix(".json").name}


@pytest.mark.parametrize("note", [b"", b"{}", b'{"sha256": "0"}', b"\xff"])
def test_a_broken_note_is_mended(tmp_path: Path, note: bytes) -> None:
    open_generated(tmp_path)
    path = next(tmp_path.glob("*.json"))
    path.write_bytes(note)
    with pytest.warns(UserWarning, match="is broken"):
        open_generated(tmp_path)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        open_generated(tmp_path)


def test_a_file_without_its_note_is_made_again(tmp_path: Path) -> None:
    open_generated(tmp_path)
    path = next(tmp_path.glob("*.npy"))
    path.with_suffix(".json").unlink()
    path.write_bytes(b"half")
    maps = open_generated(tmp_path, verify=False)
    assert [len(puzzles) for puzzles in maps] == [12, 12]


def test_leftover_temporary_files_are_not_taken(tmp_path: Path) -> None:
    open_generated(tmp_path / "whole")
    folder = tmp_path / "left"
    folder.mkdir()
    for path in (tmp_path / "whole").glob("v*"):  # as appears_whole names them, with wrong content
        (folder / f".{path.name}.abc123{path.suffix}").write_bytes(b"half written")
    left = set(visible(folder))
    maps = open_generated(folder)
    assert np.array_equal(maps[0], generate(RULES[0], 0, 12).numpy())
    assert set(visible(folder)) == left | set(visible(tmp_path / "whole"))


def test_a_maker_that_fails_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(rule: int, start: int, count: int, **_: Any) -> torch.Tensor:
        if start:
            raise RuntimeError("killed")
        return generate(rule, start, count)

    monkeypatch.setattr(store, "generate", fails)
    with pytest.raises(RuntimeError, match="killed"):
        open_generated(tmp_path, BLOCK + 1)
    assert visible(tmp_path) == []


def test_processes_that_open_together_make_each_file_once(tmp_path: Path) -> None:
    folder, log = tmp_path / "cache", tmp_path / "log"
    script = Path(__file__).with_name("open_together.py")
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, str(script), str(folder), str(log)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    blocks = [(rule, start, BLOCK) for rule in (0, 17) for start in (0, BLOCK)]
    made = [tuple(map(int, line.split())) for line in log.read_text().splitlines()]
    assert sorted(made) == blocks
    assert len(visible(folder)) == 2 * 2


# The published layout -------------------------------------------------------------------------------------------------


def published(num: int = 4) -> NDArray[np.int64]:
    """(40, 3 * num, 3, 9, 3): ``num`` validation puzzles of each rule."""
    puzzles = [layout.puzzles_to_rows(generate(rule, 0, num, split="val")).flatten(0, 1) for rule in range(40)]
    return torch.stack(puzzles).numpy().astype(np.int64)


def save(path: Path, data: NDArray[Any]) -> Path:
    np.save(path, data)
    return path


@pytest.mark.parametrize("dtype", [np.int8, np.int16, np.int64])
@pytest.mark.parametrize("num", [None, 3])
def test_a_source_gives_the_puzzles_put_in(tmp_path: Path, dtype: type, num: int | None) -> None:
    path = save(tmp_path / "source.npy", published().astype(dtype))
    maps = open_set(published_source(path, num, 0, CLEAN), (0, 21, 39), tmp_path / "cache", verify=True)
    for rule, puzzles in zip((0, 21, 39), maps, strict=True):
        assert isinstance(puzzles, np.memmap)
        assert np.array_equal(puzzles, generate(rule, 0, num or 4, split="val").numpy())


def test_a_source_that_changed_is_read_anew(tmp_path: Path) -> None:
    data = published()
    path = save(tmp_path / "source.npy", data)
    open_set(published_source(path, None, 0, CLEAN), (5,), tmp_path / "cache", verify=True)
    save(path, data[:, ::-1])
    os.utime(path, ns=(1, 1))
    maps = open_set(published_source(path, None, 0, CLEAN), (5,), tmp_path / "cache", verify=True)
    assert not np.array_equal(maps[0], generate(5, 0, 4, split="val").numpy())


class Trap:
    """Makes a folder when unpickled."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.marker),)


def raw_pickle(path: Path) -> None:
    path.write_bytes(pickle.dumps(Trap(path.with_name("executed"))))


def object_array(path: Path) -> None:
    np.save(path, np.array([Trap(path.with_name("executed"))], dtype=object), allow_pickle=True)


def archive(path: Path) -> None:
    buffer = io.BytesIO()
    np.savez(buffer, data=published())
    path.write_bytes(buffer.getvalue())


def with_cell(cell: tuple[int, int, int]) -> Callable[[Path], None]:
    def write(path: Path) -> None:
        data = published()
        data[7, 11, 2, 8] = cell
        np.save(path, data)

    return write


BAD_SOURCES: dict[str, tuple[Callable[[Path], None], str]] = {
    "missing": (lambda path: None, "No such file"),
    "folder": (lambda path: path.mkdir(), "directory"),
    "empty file": (lambda path: path.touch(), "no plain array"),
    "truncated": (lambda path: path.write_bytes(save(path, published()).read_bytes()[:-10]) and None, "no plain array"),
    "text": (lambda path: path.write_text("1 2 3") and None, "a pickle"),
    "pickle": (raw_pickle, "a pickle"),
    "pickled objects": (object_array, "a pickle"),
    "archive": (archive, "npz"),
    "scalar": (lambda path: np.save(path, np.int8(3)), "shape ()"),
    "39 rules": (lambda path: np.save(path, published()[:39]), "shape (39, 12, 3, 9, 3)"),
    "puzzles": (lambda path: np.save(path, generate(0, 0, 4).numpy()), "shape (4, 3, 9, 9)"),
    "float": (lambda path: np.save(path, published().astype(np.float32)), "float32"),
    "bool": (lambda path: np.save(path, published() > 0), "bool"),
    "eleven rows": (lambda path: np.save(path, published()[:, :11]), "multiple of 3 rows, got 11"),
    "no rows": (lambda path: np.save(path, published()[:, :0]), "multiple of 3 rows, got 0"),
    "shape 7": (with_cell((7, 0, 0)), "[7, 0, 0]"),
    "size 10": (with_cell((0, 10, 0)), "[0, 10, 0]"),
    "color -2": (with_cell((0, 0, -2)), "[0, 0, -2]"),
    "256 more": (with_cell((258, 0, 0)), "[258, 0, 0]"),
    "half empty": (with_cell((3, -1, 4)), "[3, -1, 4]"),
}


@pytest.mark.parametrize("kind", BAD_SOURCES)
def test_a_bad_source_is_refused_in_one_line(tmp_path: Path, kind: str) -> None:
    write, said = BAD_SOURCES[kind]
    path = tmp_path / "source.npy"
    write(path)
    with pytest.raises(InputError) as caught:
        open_set(published_source(path, None, 0, CLEAN), (7,), tmp_path / "cache", verify=True)
    message = str(caught.value)
    assert "\n" not in message
    assert said in message
    assert str(path) in message
    assert not (tmp_path / "executed").exists()
    assert visible(tmp_path / "cache") == []


def test_the_traps_would_go_off(tmp_path: Path) -> None:
    raw_pickle(tmp_path / "source.npy")
    pickle.loads((tmp_path / "source.npy").read_bytes())
    assert (tmp_path / "executed").exists()


def test_asking_for_more_than_a_source_holds_is_refused(tmp_path: Path) -> None:
    path = save(tmp_path / "source.npy", published())
    with pytest.raises(InputError, match="at most the 4 puzzles per rule .* got samples_per_rule 5"):
        published_source(path, 5, 0, CLEAN)


def test_a_cache_folder_that_cannot_be_made_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match=r"data\.cache_dir") as caught:
        open_generated(tmp_path / "file" / "cache")
    assert "\n" not in str(caught.value)


def test_a_broken_index_is_named_and_made_again(tmp_path: Path, recwarn: pytest.WarningsRecorder) -> None:
    """A changed hash says of a memorised puzzle that it is new."""
    data = GenRAVENDataModule(samples_per_rule=20, rules=[0, 17], held_out="none", cache_dir=str(tmp_path))
    data.prepare_data()
    (path,) = tmp_path.glob("*-rows.npy")
    good = path.read_bytes()
    path.write_bytes(good[:-1] + bytes([good[-1] ^ 1]))
    GenRAVENDataModule(samples_per_rule=20, rules=[0, 17], held_out="none", cache_dir=str(tmp_path)).prepare_data()
    assert path.read_bytes() == good
    assert [str(w.message) for w in recwarn if f"{path} is broken" in str(w.message)]
