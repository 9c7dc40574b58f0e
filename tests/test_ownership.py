"""Who may write a file or a folder."""

import grp
import os
import pwd
from pathlib import Path

import pytest

from genraven.errors import InputError
from genraven.ownership import is_mine, other_writers, private_folder

needs_root = pytest.mark.skipif(os.getuid() != 0, reason="gives files to other users")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "file"
    path.touch(0o600)
    return path


@pytest.mark.parametrize(("mode", "who"), [(0o600, None), (0o644, None), (0o755, None), (0o646, "everybody")])
def test_modes(file: Path, mode: int, who: str | None) -> None:
    file.chmod(mode)
    assert other_writers(file) == who
    assert is_mine(file) == (who is None)


def test_a_group_of_this_user_alone_is_nobody_else(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file.chmod(0o664)
    me = pwd.getpwuid(os.geteuid()).pw_name
    groups = {
        ("x", me, ()): None,
        ("x", me, (me,)): None,
        ("x", me, ("you",)): f"group {me}",
        ("x", "us", ()): "group us",
    }
    for (_, name, members), who in groups.items():
        group = grp.struct_group((name, "x", os.getegid(), list(members)))
        monkeypatch.setattr(grp, "getgrgid", lambda number, group=group: group)
        assert other_writers(file) == who


@needs_root
def test_a_file_of_somebody_else_is_not_mine(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    os.chown(file, 12345, 0)
    assert other_writers(file) == "user 12345, whose it is"
    monkeypatch.setattr(os, "geteuid", lambda: 12345)
    assert other_writers(file) is None
    os.chown(file, 0, 0)  # who may write anything anyway
    assert other_writers(file) is None


def test_a_link_and_a_pipe_are_not_mine(file: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(file)
    os.mkfifo(tmp_path / "pipe")
    assert [is_mine(tmp_path / name) for name in ("file", "link", "pipe", "missing")] == [True, False, False, False]


def test_a_folder_is_made_for_this_user_alone(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        folder = private_folder(tmp_path / "a" / "b", "--option")
    finally:
        os.umask(before)
    assert folder.stat().st_mode & 0o777 == 0o700
    folder.chmod(0o777)
    with pytest.raises(InputError, match=r"nobody else may write, got .*b, which everybody may: .* or set --option\.$"):
        private_folder(folder, "--option")
