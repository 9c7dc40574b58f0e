"""Files that appear whole or not at all, and that are read wherever they come from."""

import ast
import os
import stat
from pathlib import Path

import pytest

from genraven.errors import InputError
from genraven.files import appears_whole, folder_appears_whole, writable_folder


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("old", [None, "old"])
def test_a_file_appears_when_the_block_ends(tmp_path: Path, old: str | None) -> None:
    path = tmp_path / "result.json"
    if old is not None:
        path.write_text(old)
    with appears_whole(path) as temporary:
        temporary.write_text("new")
        assert temporary.parent == tmp_path  # renaming works within one file system
        assert temporary.suffix == ".json"
        assert (path.read_text() if path.exists() else None) == old
    assert path.read_text() == "new"
    assert stat.S_IMODE(path.stat().st_mode) == 0o644
    assert names(tmp_path) == ["result.json"]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
@pytest.mark.parametrize("old", [None, "old"])
def test_an_exception_leaves_the_old_file_and_nothing_else(
    tmp_path: Path, error: type[BaseException], old: str | None
) -> None:
    path = tmp_path / "result.json"
    if old is not None:
        path.write_text(old)

    def write_half() -> None:
        with appears_whole(path) as temporary:
            temporary.write_text("half")
            raise error

    with pytest.raises(error):
        write_half()
    assert names(tmp_path) == ([] if old is None else ["result.json"])
    assert old is None or path.read_text() == old


def test_a_folder_appears_when_the_block_ends(tmp_path: Path) -> None:
    folder = tmp_path / "new" / "result"
    with folder_appears_whole(folder, "--out") as temporary:
        (temporary / "a").write_text("a")
        assert not folder.exists()
    assert names(folder) == ["a"]
    assert stat.S_IMODE(folder.stat().st_mode) == 0o755
    assert names(folder.parent) == ["result"]
    with pytest.raises(InputError, match="not there yet"), folder_appears_whole(folder, "--out"):
        pass


@pytest.mark.parametrize("umask", [0o002, 0o022, 0o077])
def test_files_and_folders_are_open_to_whom_the_umask_allows(tmp_path: Path, umask: int) -> None:
    before = os.umask(umask)
    try:
        with appears_whole(tmp_path / "kept.json") as temporary:
            temporary.write_text("written into")
        with appears_whole(tmp_path / "made.json") as temporary:
            temporary.unlink()
            os.close(os.open(temporary, os.O_CREAT | os.O_WRONLY, 0o600))  # as some writers do
        with folder_appears_whole(tmp_path / "result", "--out") as folder:
            (folder / "weights").touch(0o600)
            (folder / "inner").mkdir(0o700)
        assert os.umask(umask) == umask
    finally:
        os.umask(before)
    for name in ("kept.json", "made.json", "result/weights"):
        assert stat.S_IMODE((tmp_path / name).stat().st_mode) == 0o666 & ~umask, name
    for name in ("result", "result/inner"):
        assert stat.S_IMODE((tmp_path / name).stat().st_mode) == 0o777 & ~umask, name


@pytest.mark.parametrize("may_group", [True, False])
def test_a_file_of_a_group_stays_open_to_it(may_group: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where another of the group writes it, who cannot give it its owner."""

    def chown(path: Path, owner: int, group: int) -> None:
        if owner != -1 or not may_group:
            raise PermissionError

    monkeypatch.setattr("os.chown", chown)
    (path := tmp_path / "a").touch()
    path.chmod(0o664)
    with appears_whole(path) as temporary:
        temporary.write_text("new")
    assert (path.read_text(), path.stat().st_mode & 0o777) == ("new", 0o664 if may_group else 0o604)


@pytest.mark.parametrize(("error", "seen"), [(OSError(28, "No space left"), InputError), (ValueError(), ValueError)])
def test_a_folder_that_fails_leaves_nothing(tmp_path: Path, error: Exception, seen: type[Exception]) -> None:
    def write_half() -> None:
        with folder_appears_whole(tmp_path / "result", "--out") as temporary:
            (temporary / "a").write_text("a")
            raise error

    with pytest.raises(seen):
        write_half()
    assert names(tmp_path) == []


def test_writers_of_one_file_do_not_meet(tmp_path: Path) -> None:
    path = tmp_path / "result.json"
    with appears_whole(path) as first, appears_whole(path) as second:
        first.write_text("first")
        second.write_text("second")
        assert first != second
    assert path.read_text() == "first"  # the outer block ends last
    assert names(tmp_path) == ["result.json"]


def test_a_folder_is_made_or_refused_by_the_option_to_change(tmp_path: Path) -> None:
    assert writable_folder(tmp_path / "a" / "b", "--out").is_dir()
    assert names(tmp_path / "a" / "b") == []
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match=r"got .*file/below .*: set --out to another\.") as caught:
        writable_folder(tmp_path / "file" / "below", "--out")
    assert "\n" not in str(caught.value)


def test_tensors_of_any_device_are_read_on_any() -> None:
    """What a GPU wrote cannot be read where there is none, unless it is said where it goes."""
    root, loads = Path(__file__).parents[1], 0
    rooms = ("genraven", "datamodules", "lightning_modules", "callbacks", "launch")
    for path in (path for room in rooms for path in (root / room).rglob("*.py")):
        for call in ast.walk(ast.parse(path.read_text())):
            if isinstance(call, ast.Call) and ast.unparse(call.func) == "torch.load":
                loads += 1
                assert "map_location" in {keyword.arg for keyword in call.keywords}, f"{path}:{call.lineno}"
    assert loads
