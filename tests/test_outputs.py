"""What a command writes: nothing is replaced without a word, and what belongs together appears together."""

import errno
import json
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from genraven.errors import InputError
from genraven.outputs import COMMENT, MARK, Outputs, has_keys, has_mark, save_picture, with_suffix


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def write(folder: Path, *files: str, overwrite: bool | None = False, text: str = "new", stale: str = "") -> None:
    outputs = Outputs(overwrite=overwrite)
    paths = [outputs.add(folder / name, f"--{name}") for name in files]
    if stale:
        outputs.add_stale(folder / stale, "what is about --out")
    with outputs:
        for path in paths:
            outputs[path].write_text(text)


def test_all_appear_when_the_block_ends(tmp_path: Path) -> None:
    outputs = Outputs(overwrite=False)
    a, b = outputs.add(tmp_path / "a.npy", "--out"), outputs.add(tmp_path / "new" / "b.png", "--picture")
    with outputs:
        outputs[a].write_text("a")
        outputs[b].write_text("b")
        assert outputs[b].suffix == ".png"
        assert not a.exists() and not b.exists()
    assert (a.read_text(), b.read_text()) == ("a", "b")
    assert names(tmp_path) == ["a.npy", "new"] and names(tmp_path / "new") == ["b.png"]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_none_appears_when_the_block_fails(tmp_path: Path, error: type[BaseException]) -> None:
    (tmp_path / "a").write_text(MARK)
    outputs = Outputs(overwrite=False)
    a, b = outputs.add(tmp_path / "a", "--out"), outputs.add(tmp_path / "b", "--picture")

    def write_half() -> None:
        with outputs:
            outputs[a].write_text("new")
            outputs[b].write_text("half")
            raise error

    with pytest.raises(error):
        write_half()
    assert names(tmp_path) == ["a"] and a.read_text() == MARK


@pytest.mark.parametrize("content", [b"", b"of somebody", bytes(10_000)])
def test_what_is_not_ours_is_replaced_on_demand_only(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a").write_bytes(content)
    with pytest.raises(InputError, match=r"expected --a to be a file that is not there yet, got .*a: name another, or"):
        write(tmp_path, "a")
    with pytest.raises(InputError, match=r"not there yet, got .*a: move it away"):
        write(tmp_path, "a", overwrite=None)
    assert (tmp_path / "a").read_bytes() == content
    write(tmp_path, "a", overwrite=True)
    assert (tmp_path / "a").read_text() == "new"


def test_somebody_who_comes_meanwhile_is_not_replaced(tmp_path: Path) -> None:
    outputs = Outputs(overwrite=False)
    a, b = outputs.add(tmp_path / "a", "--out"), outputs.add(tmp_path / "b", "--picture")

    def write_beside() -> None:
        with outputs:
            for path in (a, b):
                outputs[path].write_text("new")
            b.write_text("of somebody")

    with pytest.raises(InputError, match="not there yet"):
        write_beside()
    assert names(tmp_path) == ["b"] and b.read_text() == "of somebody"


def test_our_files_are_known_by_what_is_in_them(tmp_path: Path) -> None:
    save_picture(Image.new("RGB", (300, 300)), tmp_path / "a.png")
    Image.new("RGB", (3, 3)).save(tmp_path / "b.png")
    (tmp_path / "a.md").write_text("# A page\n" * 9999 + COMMENT)
    (tmp_path / "b.md").write_text("# A page made by genraven\n")
    (tmp_path / "a.json").write_text(json.dumps({"layers": [], "chance": 0.5, "more": 1}))
    (tmp_path / "b.json").write_text(json.dumps({"layers": []}))
    is_ours = has_keys(("layers", "chance"))
    assert [has_mark(tmp_path / name) for name in ("a.png", "b.png", "a.md", "b.md")] == [True, False, True, False]
    assert [is_ours(tmp_path / name) for name in ("a.json", "b.json", "a.md", "none")] == [True, False, False, False]
    assert Image.open(tmp_path / "a.png").size == (300, 300)


def test_what_is_about_the_old_ones_goes_with_them(tmp_path: Path) -> None:
    write(tmp_path, "a", "a.audit", text=MARK)
    write(tmp_path, "a", stale="a.audit")
    assert names(tmp_path) == ["a"]
    (tmp_path / "a.audit").write_text("of somebody")
    with pytest.raises(InputError, match="what is about --out to be a file that is not there yet"):
        write(tmp_path, "b", stale="a.audit")
    assert names(tmp_path) == ["a", "a.audit"]


KILLED = """
import os, sys
from pathlib import Path
import genraven.files
from genraven.outputs import Outputs
folder, rename, left = Path(sys.argv[1]), getattr(Path, sys.argv[2]), int(sys.argv[3])
def counted(self, other):
    global left
    if left == 0:
        os._exit(1)
    left -= 1
    return rename(self, other)
setattr(Path, sys.argv[2], counted)
outputs = Outputs(overwrite=True)
paths = [outputs.add(folder / name, "--out") for name in ("a", "b", "c")]
with outputs:
    for path in paths:
        outputs[path].write_text("new")
"""


@pytest.mark.parametrize(("step", "left"), [(step, left) for step in ("rename", "replace") for left in range(3)])
def test_old_and_new_ones_are_never_there_together(tmp_path: Path, step: str, left: int) -> None:
    """Wherever the process is killed; and then the old ones are there under other names."""
    for name in ("a", "b", "c"):
        (tmp_path / name).write_text("old")
    done = subprocess.run([sys.executable, "-c", KILLED, str(tmp_path), step, str(left)], timeout=60)
    assert done.returncode == 1
    seen = {path.read_text() for path in tmp_path.iterdir() if not path.name.startswith(".")}
    assert len(seen) <= 1
    assert [path.read_text() for path in tmp_path.iterdir()].count("old") == 3


@pytest.mark.parametrize("step", ["rename", "replace"])
def test_a_failure_while_they_are_put_in_place_takes_all_back(
    tmp_path: Path, step: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("a", "b"):
        (tmp_path / name).write_text("old")
    before, calls = getattr(Path, step), list[Path]()

    def fails_once(self: Path, other: Path) -> Path:
        calls.append(self)
        if len(calls) == 2:
            raise PermissionError(errno.EACCES, "Permission denied")
        return before(self, other)

    monkeypatch.setattr(Path, step, fails_once)
    with pytest.raises(PermissionError):
        write(tmp_path, "a", "b", overwrite=True)
    assert names(tmp_path) == ["a", "b"]
    assert {(tmp_path / name).read_text() for name in ("a", "b")} == {"old"}


@pytest.mark.parametrize("mode", [0o600, 0o640, 0o644, 0o664, 0o400])
def test_a_file_keeps_its_mode(tmp_path: Path, mode: int) -> None:
    """And while it is written nobody reads it who could not before."""
    (tmp_path / "a").write_text("old")
    (tmp_path / "a").chmod(mode)
    outputs = Outputs(overwrite=True)
    path = outputs.add(tmp_path / "a", "--out")
    with outputs:
        assert stat.S_IMODE(outputs[path].stat().st_mode) == 0o600
        outputs[path].write_text("new")
    assert stat.S_IMODE(path.stat().st_mode) == mode
    assert path.read_text() == "new"


@pytest.mark.skipif(os.getuid() != 0, reason="gives a file to another user")
def test_a_file_keeps_its_owner(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("old")
    os.chown(tmp_path / "a", 1234, 4321)
    write(tmp_path, "a", overwrite=True)
    found = (tmp_path / "a").stat()
    assert (found.st_uid, found.st_gid) == (1234, 4321)


def test_devices_pipes_and_folders_are_never_replaced(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "folder").mkdir()
    (tmp_path / "null").symlink_to("/dev/null")
    for name in ("pipe", "folder", "null"):
        with pytest.raises(InputError, match="which is not a file"):
            write(tmp_path, name, overwrite=True)
    assert Path("/dev/null").is_char_device()
    assert names(tmp_path) == ["folder", "null", "pipe"]


@pytest.mark.parametrize("length", [240, 251, 255])
def test_long_names_are_written(tmp_path: Path, length: int) -> None:
    name = "é" * (length // 2 - 2) + ".npy"
    write(tmp_path, name, "a")
    write(tmp_path, name, "a", overwrite=True, text="newer")
    assert names(tmp_path) == ["a", name]
    assert (tmp_path / name).read_text() == "newer"


def test_names_that_are_too_long_or_none_are_refused_before_work(tmp_path: Path) -> None:
    outputs = Outputs(overwrite=False)
    refused = {tmp_path / ("é" * 128): "at most 255 bytes for --out, got 256"}
    refused |= {Path(text): "expected --out to be a file, got" for text in (".", "..", "/")}
    for path, said in refused.items():
        with pytest.raises(InputError, match=said) as caught:
            outputs.add(path, "--out")
        assert len(str(caught.value)) < 200
    with pytest.raises(InputError, match="at most 255 bytes for --out, got"):
        outputs.add(with_suffix(tmp_path / f"{'x' * 250}.npy", ".audit.jsonl", "--out"), "--out")
    assert names(tmp_path) == []


def test_names_that_are_no_utf_8_are_written(tmp_path: Path) -> None:
    name = os.fsdecode(b"caf\xe9")
    write(tmp_path, name)
    assert names(tmp_path) == [name]


def test_one_file_is_not_two(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path)
    outputs = Outputs(overwrite=False)
    outputs.add(tmp_path / "a.png", "--out")
    with pytest.raises(InputError, match="for both --out and --picture"):
        outputs.add(tmp_path / "link" / "a.png", "--picture")
    with pytest.raises(InputError, match=r"expected --picture to end in \.png or \.jpg, got"):
        outputs.add(tmp_path / "a.gif", "--picture", suffixes=[".png", ".jpg"])


def test_a_full_disk_is_one_line(tmp_path: Path) -> None:
    outputs = Outputs(overwrite=False)
    outputs.add(tmp_path / "a", "--out")
    with pytest.raises(InputError, match=r"expected room to write .*/a, got No space left on device"), outputs:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    assert names(tmp_path) == []
