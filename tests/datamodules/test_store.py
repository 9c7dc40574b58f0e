import errno
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
import warnings
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from datamodules import GenRAVENDataModule, store
from datamodules.batches import SharedBlocks, StreamPool
from datamodules.store import generated_source, open_index, open_set
from genraven.errors import InputError
from genraven.files import UNFINISHED
from genraven.locks import NO_LOCKS, locked
from genraven.metrics.memorization import fingerprints
from genraven.puzzles.corrupt import Corruption, CorruptionContext, corruption
from genraven.puzzles.generate import BLOCK, generate
from genraven.signals import Preempted, noted_signals

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
        generated_source(4, 0, Corruption(missing=0.1)),
        generated_source(4, 0, Corruption(missing=0.2)),
        generated_source(4, 0, Corruption(missing_panels=0.1)),
    ]
    for source in sources:
        open_set(source, (2,), tmp_path, verify=True)
    assert len(visible(tmp_path)) == 2 * len(sources)


def test_a_new_corruption_is_one_field_and_its_set_shares_no_file(tmp_path: Path) -> None:
    def turn(rows: Tensor, fraction: float, at: CorruptionContext) -> Tensor:
        assert fraction > 0, "where there is none of it, nothing is asked of it"
        chosen = torch.from_numpy(at.draws.below(1000, (len(rows),)) < fraction * 1000)
        return torch.where(chosen.view(-1, 1, 1, 1, 1), rows.flip(2), rows)

    @dataclass(frozen=True)
    class More(Corruption):
        turned: float = corruption(most=0.9, change=turn)

    with pytest.raises(InputError, match=r"corruption.turned to be a fraction from 0 to 0.9, got 1"):
        More(turned=1.0).check()
    noisy = {"cells": 0.1, "exceptions": 0.1, "missing": 0.1}
    made = {}
    for name, settings in {"clean": {}, "noisy": noisy, "turned": {"turned": 0.5}, "more": {"turned": 0.6}}.items():
        source = generated_source(16, 0, More(**settings))
        made[name] = np.array(open_set(source, (2,), tmp_path, verify=True)[0])
    assert len(visible(tmp_path)) == 8, "a file and a note each"
    assert len(source.name) < 40
    clean, before = (generated_source(16, 0, Corruption(**settings)) for settings in ({}, noisy))
    assert np.array_equal(open_set(clean, (2,), tmp_path, verify=True)[0], made["clean"])
    assert np.array_equal(open_set(before, (2,), tmp_path, verify=True)[0], made["noisy"])
    assert len(visible(tmp_path)) == 8, "no set that has nothing of it is made again"
    rows = [puzzles.reshape(16, 3, 3, 3, 3, 3) for puzzles in (made["clean"], made["turned"])]
    is_turned = (rows[0] != rows[1]).reshape(16, -1).any(1)
    assert 0 < is_turned.sum() < 16
    assert np.array_equal(rows[1][is_turned], rows[0][is_turned][..., ::-1, :])


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


def test_what_a_killed_process_left_of_a_file_is_removed(tmp_path: Path) -> None:
    open_generated(tmp_path)
    path = next(tmp_path.glob("*.npy"))
    path.unlink()
    mine, other = (tmp_path / f".{name}{UNFINISHED}abc.npy" for name in (path.name, "v9-other.npy"))
    mine.write_bytes(b"half")
    other.write_bytes(b"of a process that may be at work")
    open_generated(tmp_path)
    assert path.exists() and other.exists() and not mine.exists()


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


@pytest.mark.usefixtures("at_once")
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


def test_a_cache_folder_that_cannot_be_made_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match=r"data\.cache_dir") as caught:
        open_generated(tmp_path / "file" / "cache")
    assert "\n" not in str(caught.value)


@pytest.mark.timeout(60)
@pytest.mark.parametrize("number", sorted(NO_LOCKS), ids=errno.errorcode.get)
def test_a_file_system_without_locks_keeps_sets_and_streams(
    number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*arguments: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr("fcntl.flock", refuse)
    maps = open_generated(tmp_path)
    assert np.array_equal(maps[0], generate(RULES[0], 0, len(maps[0])).numpy())
    pool = StreamPool((3,), 0, CLEAN, shared=SharedBlocks(tmp_path, 0, 2))
    assert np.array_equal(pool.take(0, np.arange(5))[0], generate(3, 0, 5).numpy())


@pytest.mark.parametrize("number", [errno.EACCES, errno.EROFS, errno.EIO], ids=errno.errorcode.get)
def test_a_lock_that_cannot_be_made_is_one_line(number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a cache that is read-only, or somebody else's: of the set, and of the index beside it."""
    source = generated_source(12, 0, CLEAN)
    open_set(source, RULES, tmp_path, verify=True)
    look = os.open

    def refuse(path: Any, *more: Any, **named: Any) -> int:
        if str(path).endswith(".lock"):
            raise OSError(number, os.strerror(number), str(path))
        return look(path, *more, **named)

    monkeypatch.setattr(os, "open", refuse)
    open_set(source, RULES, tmp_path, verify=True)  # all is there
    for make in (lambda: open_index(source, RULES, tmp_path, verify=True),
                 lambda: open_set(source, (1,), tmp_path, verify=True)):  # fmt: skip
        with pytest.raises(InputError, match=r"got .*\.lock'\): set data\.cache_dir or GENRAVEN_CACHE\.$"):
            make()


@pytest.mark.timeout(60)
def test_a_signal_is_heeded_while_another_process_makes_the_data(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    monkeypatch.setattr(store, "rank_zero_info", said.append)
    source = generated_source(12, 0, CLEAN)
    lock = tmp_path / f"v{store.FORMAT}-{source.name}.lock"
    with locked(lock, lambda note: 0), noted_signals():
        threading.Timer(0.5, signal.raise_signal, [signal.SIGTERM]).start()
        with pytest.raises(Preempted, match="signal SIGTERM"):
            open_set(source, RULES, tmp_path, verify=True)
    assert said == [f"waiting for {lock}: another process makes the same data"]
    assert visible(tmp_path) == []


def test_a_signal_is_heeded_while_data_is_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    blocks: list[tuple[int, int]] = []

    def make(rule: int, start: int, count: int) -> torch.Tensor:
        if not blocks:
            os.kill(os.getpid(), signal.SIGUSR2)
            time.sleep(0.1)  # until the main thread has noted it
        blocks.append((rule, start))
        return generate(rule, start, BLOCK)[:count]

    monkeypatch.setattr(store, "num_cpus", lambda: 1)
    source = store.PuzzleSource("made", {}, make, 2 * BLOCK)
    with noted_signals(), pytest.raises(Preempted, match="signal SIGUSR2"):
        open_set(source, RULES, tmp_path, verify=True)
    assert blocks == [(RULES[0], 0)]
    assert not [name for name in visible(tmp_path) if "unfinished" in name]
    assert len(open_set(source, RULES, tmp_path, verify=True)[1]) == 2 * BLOCK


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


# Whose it is ----------------------------------------------------------------------------------------------------------


def doctored(folder: Path, name: str) -> Path:
    """A file of the cache with other contents, and the checksum that fits, as whoever may write there can have them."""
    (path,) = folder.glob(name)
    array = np.load(path)
    np.save(path, np.zeros_like(array))
    path.with_suffix(".json").write_text(
        json.dumps(json.loads(path.with_suffix(".json").read_text()) | {"sha256": store._checksum(path)})
    )
    return path


@pytest.mark.parametrize("mode", [0o777, 0o707])
def test_a_cache_that_others_may_write_is_not_believed(tmp_path: Path, mode: int) -> None:
    open_generated(tmp_path / "cache")
    (tmp_path / "cache").chmod(mode)
    for verify in (True, False):
        with pytest.raises(InputError, match=r"nobody else may write, got .*cache, which everybody may: `chmod go-w`"):
            open_generated(tmp_path / "cache", verify=verify)
        with pytest.raises(InputError, match="nobody else may write"):
            open_index(generated_source(12, 0, CLEAN), RULES, tmp_path / "cache", verify=verify)
    with pytest.raises(InputError, match="nobody else may write"):
        SharedBlocks(tmp_path / "cache" / "stream", 0, 2)


@pytest.mark.parametrize("which", ["*rule02*.npy", "*rule02*.json"])
@pytest.mark.parametrize("verify", [True, False])
def test_a_file_that_others_may_write_is_made_again(tmp_path: Path, which: str, verify: bool) -> None:
    open_generated(tmp_path)
    doctored(tmp_path, "*rule02*.npy")
    (path,) = tmp_path.glob(which)
    path.chmod(0o666)
    with pytest.warns(UserWarning, match="somebody else may have written it"):
        maps = open_generated(tmp_path, verify=verify)
    assert np.array_equal(maps[0], generate(2, 0, 12).numpy())
    assert path.stat().st_mode & 0o022 == 0


@pytest.mark.skipif(os.getuid() != 0, reason="gives a file to another user")
def test_a_file_of_somebody_elses_is_made_again(tmp_path: Path) -> None:
    open_generated(tmp_path)
    os.chown(doctored(tmp_path, "*rule02*.npy"), 12345, 12345)
    with pytest.warns(UserWarning, match="somebody else may have written it"):
        maps = open_generated(tmp_path, verify=False)
    assert np.array_equal(maps[0], generate(2, 0, 12).numpy())


def test_files_are_closed_to_others_whatever_the_umask(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        open_generated(tmp_path / "cache")
        open_index(generated_source(12, 0, CLEAN), RULES, tmp_path / "cache", verify=True)
    finally:
        os.umask(before)
    written = [*(tmp_path / "cache").glob("*.npy"), *(tmp_path / "cache").glob("*.json")]
    assert len(written) == 2 * (2 + 4)
    assert not [path for path in [*written, tmp_path / "cache"] if path.stat().st_mode & 0o022]
    open_generated(tmp_path / "cache")


@pytest.mark.parametrize("verify", [True, False])
def test_an_index_is_of_the_set_beside_it(tmp_path: Path, verify: bool) -> None:
    """One of another set, by the same names, is made again: novel C3 would be another."""
    source = generated_source(12, 0, CLEAN)
    for folder, seed in ((tmp_path / "other", 1), (tmp_path / "own", 0)):
        made = replace(generated_source(12, seed, CLEAN), depends=source.depends)
        open_index(made, RULES, folder, verify=True)
    for path in (tmp_path / "other").glob("*-rules*"):
        path.replace(tmp_path / "own" / path.name)
    index = open_index(source, RULES, tmp_path / "own", verify=verify)
    rows = fingerprints(generate(2, 0, 12))["rows"]
    assert index.contains("rows", rows).all()
