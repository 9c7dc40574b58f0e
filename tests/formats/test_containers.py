import io
import os
import pickle
import struct
import tracemalloc
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from genraven.errors import InputError
from genraven.formats import containers
from genraven.formats.containers import read_entries
from genraven.formats.read import open_puzzles
from genraven.puzzles.generate import generate

DATA = np.arange(24, dtype=np.int16).reshape(2, 3, 4)


def arrays(path: Path) -> dict[str, NDArray[Any]]:
    return {entry.name: entry.load() for entry in read_entries(path) if entry.is_array}


GOOD: dict[str, tuple[Callable[[Path], Any], str]] = {
    "npy": (lambda path: np.save(path.open("wb"), DATA), ""),
    "fortran order": (lambda path: np.save(path.open("wb"), np.asfortranarray(DATA)), ""),
    "npy of version 2": (lambda path: np.lib.format.write_array(path.open("wb"), DATA, (2, 0)), ""),
    "npz": (lambda path: np.savez(path.open("wb"), a=DATA), "a"),
    "compressed npz": (lambda path: np.savez_compressed(path.open("wb"), a=DATA), "a"),
    "pt": (lambda path: torch.save(torch.from_numpy(DATA), path), ""),
    "pt of a dict": (lambda path: torch.save({"a": torch.from_numpy(DATA), "epoch": 3}, path), "a"),
    "pt of a parameter": (
        lambda path: torch.save(torch.nn.Parameter(torch.from_numpy(DATA.astype(np.float32))), path),
        "",
    ),
    "old pt": (lambda path: torch.save(torch.from_numpy(DATA), path, _use_new_zipfile_serialization=False), ""),
}


@pytest.mark.parametrize("kind", GOOD)
@pytest.mark.parametrize("name", ["data.npy", "data.pt", "data"])
def test_content_tells_the_container_and_not_the_name(tmp_path: Path, kind: str, name: str) -> None:
    write, key = GOOD[kind]
    write(tmp_path / name)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        read = arrays(tmp_path / name)
    assert list(read) == [key]
    assert np.array_equal(read[key], DATA)


@pytest.mark.parametrize("kind", ["npy", "fortran order", "npz"])
def test_what_is_not_compressed_is_mapped(tmp_path: Path, kind: str) -> None:
    GOOD[kind][0](tmp_path / "data")
    assert all(isinstance(array, np.memmap) for array in arrays(tmp_path / "data").values())


def test_an_empty_array_is_read(tmp_path: Path) -> None:
    np.save(tmp_path / "data.npy", DATA[:0])
    np.savez(tmp_path / "data.npz", a=DATA[:0])
    assert arrays(tmp_path / "data.npy")[""].shape == arrays(tmp_path / "data.npz")["a"].shape == (0, 3, 4)


# Damaged, and worse ---------------------------------------------------------------------------------------------------


class Trap:
    """Makes a folder when it is unpickled."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.marker),)


def trap(path: Path) -> Trap:
    return Trap(path.with_name("executed"))


def objects(path: Path) -> NDArray[Any]:
    return np.array([trap(path)], dtype=object)


def cut(write: Callable[[Path], Any], num: int) -> Callable[[Path], Any]:
    def write_short(path: Path) -> None:
        write(path)
        path.write_bytes(path.read_bytes()[:-num])

    return write_short


def flipped(write: Callable[[Path], Any], place: int) -> Callable[[Path], Any]:
    def write_other(path: Path) -> None:
        write(path)
        content = bytearray(path.read_bytes())
        content[place] ^= 0xFF
        path.write_bytes(content)

    return write_other


def npy(header: bytes) -> bytes:
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header


def huge_header(path: Path) -> None:
    path.write_bytes(
        npy(b"{'descr': '<i8', 'fortran_order': False, 'shape': (40, 1000000000000, 3, 9, 3)}") + b"0" * 99
    )


def bomb(path: Path) -> None:
    """An archive of 200 kB that unpacks to 200 MB."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        header = npy(b"{'descr': '|i1', 'fortran_order': False, 'shape': (200000000,)}")
        archive.writestr("puzzles.npy", header + bytes(200_000_000))


def lying_member(path: Path) -> None:
    """A compressed member that is longer than the archive says."""
    np.savez_compressed(path.open("wb"), a=np.zeros(4000, np.int8))
    content = path.read_bytes()
    size, shorter = struct.pack("<I", 4128), struct.pack("<I", 1000)
    path.write_bytes(content.replace(size, shorter))


def endless_member(path: Path) -> None:
    """A stored member that claims more bytes than the file has, as its own header does."""
    header = npy(b"{'descr': '|i1', 'fortran_order': False, 'shape': (99999999,)}")
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a.npy", header + bytes(10))
    size, larger = struct.pack("<I", len(header) + 10), struct.pack("<I", len(header) + 99999999)
    path.write_bytes(path.read_bytes().replace(size, larger))


def compressed_pt(path: Path) -> None:
    plain = io.BytesIO()
    torch.save(torch.zeros(9), plain)
    with zipfile.ZipFile(plain) as old, zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as new:
        for name in old.namelist():
            new.writestr(name, old.read(name))


def other_method(path: Path) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_BZIP2) as archive:
        archive.writestr("a.npy", npy(b"{'descr': '|i1', 'fortran_order': False, 'shape': (10,)}") + bytes(10))


def many_members(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        for number in range(10_001):
            archive.writestr(f"{number}.npy", b"")


def script(path: Path) -> None:
    torch.jit.save(torch.jit.script(torch.nn.Linear(2, 2)), str(path))


BAD: dict[str, tuple[Callable[[Path], Any], str]] = {
    "missing": (lambda path: None, "No such file"),
    "folder": (lambda path: path.mkdir(), "directory"),
    "empty": (lambda path: path.touch(), "it is empty"),
    "text": (lambda path: path.write_text("1 2 3"), "it is neither"),
    "pickle": (lambda path: path.write_bytes(pickle.dumps(trap(path))), "not run"),
    "pickled array": (lambda path: path.write_bytes(pickle.dumps(DATA)), "not run"),
    "objects in npy": (lambda path: np.save(path.open("wb"), objects(path), allow_pickle=True), "a pickle of objects"),
    "objects in npz": (lambda path: np.savez(path.open("wb"), a=objects(path)), "a is a pickle of objects"),
    "objects in compressed npz": (lambda path: np.savez_compressed(path.open("wb"), a=objects(path)), "a is a pickle"),
    "code in pt": (lambda path: torch.save({"a": trap(path)}, path), "not run"),
    "code in old pt": (lambda path: torch.save(trap(path), path, _use_new_zipfile_serialization=False), "not run"),
    "module in pt": (lambda path: torch.save(torch.nn.Linear(2, 2), path), "not run"),
    "script": (script, "a .pt archive that is compressed"),
    "list in pt": (lambda path: torch.save([torch.zeros(3)], path), "a list, neither a tensor nor a dict"),
    "truncated npy": (cut(GOOD["npy"][0], 5), "takes 48 bytes, but 43 are there"),
    "longer npy": (lambda path: GOOD["npy"][0](path) or path.write_bytes(path.read_bytes() + b"0"), "but 49 are there"),
    "truncated header": (cut(GOOD["npy"][0], 100), "no header that can be read"),
    "truncated npz": (cut(GOOD["npz"][0], 5), "truncated or damaged"),
    "truncated pt": (cut(GOOD["pt"][0], 5), "truncated or damaged"),
    "truncated old pt": (cut(GOOD["old pt"][0], 5), "truncated or damaged"),
    "flipped byte in compressed npz": (flipped(GOOD["compressed npz"][0], 60), "truncated or damaged"),
    "header of code": (lambda path: path.write_bytes(npy(b"__import__('os').mkdir('executed')")), "no header that can"),
    "nested header": (lambda path: path.write_bytes(npy(b"(" * 9000)), "no header that can be read"),
    "negative shape": (
        lambda path: path.write_bytes(
            npy(b"{'descr': '|i1', 'fortran_order': False, 'shape': (-1, -9)}") + b"123456789"
        ),
        "(-1, -9)",
    ),
    "huge header": (huge_header, "takes 25920000000000000 bytes, but 99 are there"),
    "bomb": (bomb, "puzzles unpacks to 0.2 GiB, at most"),
    "packed by another method": (other_method, "compressed in another way"),
    "archive of very many": (many_members, "an archive of 10,001 members"),
    "member longer than told": (lying_member, "Bad CRC-32"),
    "member beyond the end": (endless_member, "truncated or damaged"),
    "archive without arrays": (lambda path: zipfile.ZipFile(path, "w").close(), "an archive without an array"),
    "archive of text": (lambda path: zipfile.ZipFile(path, "w").writestr("a.txt", "1"), "an archive without an array"),
    "compressed pt": (compressed_pt, "a .pt archive that is compressed"),
    "expanded tensor": (lambda path: torch.save(torch.zeros(1).expand(10**6, 10**6), path), "larger than the file"),
    "sparse tensor": (lambda path: torch.save(torch.eye(3).to_sparse(), path), "no plain array"),
    "bfloat16 tensor": (lambda path: torch.save(torch.zeros(3, dtype=torch.bfloat16), path), "no plain array"),
    "tensor without content": (lambda path: torch.save(torch.zeros(3, device="meta"), path), "no plain array"),
}


@pytest.mark.parametrize("kind", BAD)
def test_what_is_damaged_is_refused_in_one_line_and_nothing_is_run(
    tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(containers, "MOST_UNPACKED", 1 << 20)
    write, said = BAD[kind]
    path = tmp_path / "data"
    write(path)
    with pytest.raises(InputError) as caught:
        arrays(path)
    message = str(caught.value)
    assert said in message
    assert str(path) in message
    assert "\n" not in message
    assert not (tmp_path / "executed").exists()


@pytest.mark.parametrize("load", [pickle.load, lambda file: torch.load(file, weights_only=False)])
def test_the_traps_would_go_off(tmp_path: Path, load: Callable[[Any], Any]) -> None:
    path = tmp_path / "data"
    if load is pickle.load:
        path.write_bytes(pickle.dumps(trap(path)))
    else:
        torch.save(trap(path), path)
    with path.open("rb") as file:
        load(file)
    assert (tmp_path / "executed").exists()


def test_what_is_unpacked_is_bounded_together(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of one file, and of all files of a folder; an array that nobody asks for is not unpacked."""
    puzzles = generate(0, 0, 4).numpy()
    monkeypatch.setattr(containers, "MOST_UNPACKED", 3 * (puzzles.nbytes + 128))
    np.savez_compressed(tmp_path / "a.npz", puzzles=puzzles, rules=np.zeros(4, "<U150"), other=np.zeros(2900, np.int8))
    with pytest.raises(InputError, match=r"a\.npz .*with those before it, unpack to more than"):
        open_puzzles(tmp_path / "a.npz")
    np.savez_compressed(tmp_path / "b.npz", puzzles=puzzles, rules=np.zeros(4, int), other=np.zeros(2900, np.int8))
    assert len(open_puzzles(tmp_path / "b.npz")) == 4
    (tmp_path / "folder").mkdir()
    for number in range(4):
        np.savez_compressed(tmp_path / "folder" / f"0_{number}.npz", generate(number, 0, 4).numpy())
        if number < 3:
            assert len(open_puzzles(tmp_path / "folder")) == 4 * (number + 1)
    with pytest.raises(InputError, match=r"0_3\.npz .*with those before it, unpack to more than"):
        open_puzzles(tmp_path / "folder")


@pytest.mark.parametrize("size", [1000, 1 << 20])
def test_an_archive_that_lies_about_a_size_is_not_unpacked_beyond_it(tmp_path: Path, size: int) -> None:
    """200 MB of zeros that are said to be few: no more than a piece of them is in memory."""
    header = npy(f"{{'descr': '|i1', 'fortran_order': False, 'shape': ({size},)}}".ljust(118).encode())
    content = header + bytes(200_000_000)
    with zipfile.ZipFile(tmp_path / "a.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.npy", content)
    told, lie = struct.pack("<I", len(content)), struct.pack("<I", len(header) + size)
    (tmp_path / "a.npz").write_bytes((tmp_path / "a.npz").read_bytes().replace(told, lie))
    del content
    tracemalloc.start()
    with pytest.raises(InputError, match="truncated or damaged"):
        arrays(tmp_path / "a.npz")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 20_000_000


def test_a_pipe_and_a_device_are_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.npy")
    for path in (tmp_path / "pipe.npy", Path("/dev/zero")):
        with pytest.raises(InputError, match="Not a regular file"):
            open_puzzles(path)
    np.save(tmp_path / "own.npy", generate(0, 0, 2).numpy())
    os.mkfifo(tmp_path / "own.rules.npy")
    assert len(open_puzzles(tmp_path / "own.npy")) == 2
