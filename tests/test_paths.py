"""Paths as users write them."""

from pathlib import Path

import pytest

from genraven.errors import InputError
from genraven.paths import default_cache_dir, user_path


@pytest.mark.parametrize("text", ["a/b", "/a/~/b", "./~", "a~", "x/y~"])
def test_other_paths_are_what_they_say(text: str) -> None:
    assert user_path(text) == Path(text)


def test_a_tilde_is_home(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    assert user_path("~") == Path("/home/me")
    assert user_path("~/a/../b") == Path("/home/me/a/../b")
    assert user_path(Path("~") / "a") == Path("/home/me/a")


@pytest.mark.parametrize("value", ["", None])
def test_without_a_home_in_the_environment_it_is_that_of_the_account(
    value: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    account = Path("~root").expanduser()
    monkeypatch.setattr("os.getuid", lambda: 0)
    monkeypatch.delenv("HOME", raising=False)
    if value is not None:
        monkeypatch.setenv("HOME", value)
    assert user_path("~/a") == user_path("~root/a") == account / "a"


@pytest.mark.parametrize(
    ("text", "said"), [("", "an empty text"), ("~nobody-has-this-name/a", "~nobody-has-this-name")]
)
def test_no_path_at_all(text: str, said: str) -> None:
    with pytest.raises(InputError, match=said):
        user_path(text)


def test_an_account_that_is_not_known(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a container that runs under somebody's number; a cache that is named needs no home."""
    monkeypatch.setattr("os.getuid", lambda: 2**31 - 2)
    monkeypatch.delenv("HOME", raising=False)
    monkeypatch.setenv("GENRAVEN_CACHE", "/cache")
    assert default_cache_dir() == Path("/cache")
    monkeypatch.delenv("GENRAVEN_CACHE")
    with pytest.raises(InputError, match=r"^expected a home folder for the cache, got none: set data\.cache_dir or"):
        default_cache_dir()


@pytest.mark.parametrize(
    ("value", "folder"),
    [("/cache", "/cache"), ("~/cache", "/home/me/cache"), ("", "/home/me/.cache/genraven"),
     (None, "/home/me/.cache/genraven")],
)  # fmt: skip
def test_the_cache_folder_is_named_by_the_environment(
    value: str | None, folder: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    monkeypatch.delenv("GENRAVEN_CACHE")
    if value is not None:
        monkeypatch.setenv("GENRAVEN_CACHE", value)
    assert default_cache_dir() == Path(folder)
