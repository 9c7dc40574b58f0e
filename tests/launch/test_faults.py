"""What a file system does to a run: what it says, what it leaves, and that it goes on."""

import json
import os
import shutil
import struct
import subprocess
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tiny import assert_same_run, fault, fit, leftovers, steps

from genraven.signals import REQUEUE
from launch.cli import main
from launch.runs.folder import RunFolder, find_checkpoint, is_whole

FINISHED, BAD_INPUT = 0, 2


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that nothing happened to."""
    run = tmp_path_factory.mktemp("whole") / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GENRAVEN_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))
        assert main(fit(run)) == FINISHED
    return run


@pytest.fixture(scope="module")
def stopped(tmp_path_factory: pytest.TempPathFactory, whole: Path) -> Path:
    """A run that was stopped at step 12, with checkpoints of 10 and 12."""
    run = tmp_path_factory.mktemp("stopped") / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GENRAVEN_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))
        assert main(fit(run, *fault("SignalInStep", step=11))) == REQUEUE
    assert steps(run) == [10, 12]
    return run


@pytest.fixture
def run(stopped: Path, tmp_path: Path) -> Path:
    """A copy of the stopped run, to break."""
    shutil.copytree(stopped, tmp_path / "run")
    return tmp_path / "run"


def one_error(capsys: pytest.CaptureFixture[str]) -> str:
    """The line that a refused command prints."""
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("genraven: error:")]
    assert len(lines) == 1
    return lines[0]


def tear(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def empty(path: Path) -> None:
    path.write_bytes(b"")


def flip(path: Path) -> None:
    """One bit in the middle of a tensor; the file still opens."""
    with zipfile.ZipFile(path) as archive:
        largest = max(archive.infolist(), key=lambda entry: entry.file_size)
    data = bytearray(path.read_bytes())
    data[largest.header_offset + 64 + largest.file_size // 2] ^= 1
    path.write_bytes(data)


def remove(path: Path) -> None:
    path.unlink()


def other_file(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("note.txt", "a zip, but no checkpoint")


@pytest.mark.parametrize("damage", [tear, empty, flip, remove, other_file])
def test_a_broken_checkpoint_is_named_and_passed_over(
    damage: Callable[[Path], None], run: Path, whole: Path, recwarn: pytest.WarningsRecorder
) -> None:
    newest = run / "checkpoints" / "step-00000012.ckpt"
    damage(newest)
    assert find_checkpoint(run).name == "step-00000010.ckpt"
    named = [str(warning.message) for warning in recwarn if "incomplete or corrupt" in str(warning.message)]
    assert len(named) == (damage is not remove)
    assert all(str(newest) in message for message in named)
    assert main(fit(run)) == FINISHED
    assert_same_run(run, whole)
    assert json.loads((run / "summary.json").read_text())["restarts"][0]["step"] == 10


def test_a_flipped_byte_in_any_entry_of_a_checkpoint_is_seen(run: Path) -> None:
    """In each tensor and in the pickle."""
    path = run / "checkpoints" / "step-00000012.ckpt"
    good = path.read_bytes()
    assert is_whole(path)
    with zipfile.ZipFile(path) as archive:
        entries = [entry for entry in archive.infolist() if entry.file_size]
    for entry in entries:
        name_length, extra_length = struct.unpack_from("<HH", good, entry.header_offset + 26)  # of its own header
        place = entry.header_offset + 30 + name_length + extra_length + entry.file_size // 2
        path.write_bytes(good[:place] + bytes([good[place] ^ 1]) + good[place + 1 :])
        assert not is_whole(path), entry.filename


def test_the_best_is_gone_on_from_when_no_step_is_whole(run: Path, whole: Path) -> None:
    for path in (run / "checkpoints").glob("step-*.ckpt"):
        tear(path)
    assert RunFolder(run).newest_whole() == run / "checkpoints" / "best.ckpt"
    assert main(fit(run)) == FINISHED
    assert_same_run(run, whole)


def test_without_any_checkpoint_a_run_begins_anew(run: Path, whole: Path) -> None:
    shutil.rmtree(run / "checkpoints")
    assert main(fit(run)) == FINISHED
    assert_same_run(run, whole)


def test_what_a_killed_save_left_is_removed(run: Path, whole: Path) -> None:
    strays = [run / "checkpoints" / ".step-00000015.ckpt.unfinished-abc.ckpt", run / ".summary.json.unfinished-x.json"]
    for stray in strays:
        stray.write_bytes(b"half")
    assert main(fit(run)) == FINISHED
    assert leftovers(run) == []
    assert_same_run(run, whole)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 4 MB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(disk)]
    if os.geteuid() or subprocess.run(command, capture_output=True).returncode:
        pytest.skip("mounting a tmpfs needs root")
    yield disk
    subprocess.run(["umount", "-l", str(disk)], check=True)


def fill(disk: Path, leave: int) -> Path:
    """A file that leaves ``leave`` bytes free."""
    filler, free = disk / "filler", shutil.disk_usage(disk).free
    filler.write_bytes(bytes(free - leave))
    return filler


@pytest.mark.parametrize(("leave", "saved"), [(100_000, [10, 12]), (0, [10, 12])])
def test_a_full_disk_ends_the_run_with_a_usable_checkpoint(
    leave: int, saved: list[int], stopped: Path, whole: Path, small_disk: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """In the middle of a save, and from the beginning."""
    run = small_disk / "run"
    shutil.copytree(stopped, run)
    filler = fill(small_disk, leave)
    assert main(fit(run)) == BAD_INPUT
    assert "make room" in one_error(capsys)
    assert steps(run) == saved
    assert is_whole(find_checkpoint(run))
    assert leftovers(run) == []
    filler.unlink()
    assert main(fit(run)) == FINISHED
    assert_same_run(run, whole)


def test_a_disk_that_is_too_small_for_the_training_set_is_said(
    small_disk: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cache = small_disk / "cache"
    data = ["--data.samples_per_rule", "20000", "--data.cache_dir", str(cache)]
    assert main(fit(tmp_path / "run", *data)) == BAD_INPUT
    assert "expected a cache folder with room that can be written" in one_error(capsys)
    assert not [*cache.glob("*.npy"), *cache.glob(".*npy")]


@pytest.mark.parametrize("name", ["tensorboard", "checkpoints"])
def test_a_folder_that_cannot_be_written(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = tmp_path / "run"
    run.mkdir()
    (run / name).write_text("in the way")
    assert main(fit(run)) == BAD_INPUT
    assert f"expected a folder that can be written, got {run / name}" in one_error(capsys)
    assert not (run / "config.yaml").exists()


def test_a_file_system_that_is_lost(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Its folders are gone from one save to the next."""
    assert main(fit(run, *fault("LoseFolder", step=14))) == BAD_INPUT
    message = one_error(capsys)
    assert "expected room to write step-00000015.ckpt" in message or "expected a run folder" in message
