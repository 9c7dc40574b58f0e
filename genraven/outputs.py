"""What a command writes: nothing is replaced without a word, and what belongs together appears together.

A file of ours is known by what is in it: pages and pictures have a mark, of other formats whoever writes them knows
how. Arrays have no place for one, so that they are replaced with ``--overwrite`` only.
"""

import errno
import os
import stat
from collections.abc import Callable, Collection, Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from genraven.bounded import open_regular, read_json
from genraven.errors import InputError
from genraven.files import Unfinished, beside, most_letters, writable_folder

if TYPE_CHECKING:
    from PIL import Image

MARK = "written by genraven, which may replace it"
"""Stands near the beginning or the end of a page or a picture of ours."""
COMMENT = f"<!-- {MARK} -->\n"
PICTURES = (".png", ".jpg", ".webp")
_NEAR = 1 << 12  # bytes
NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EIO)
IsOurs = Callable[[Path], bool]


def has_mark(path: Path) -> bool:
    """Is it a page or a picture that we made?"""
    with suppress(OSError), open_regular(path) as file:
        ends = file.read(_NEAR)
        file.seek(max(0, os.fstat(file.fileno()).st_size - _NEAR))
        return MARK.encode() in ends or MARK.encode() in file.read(_NEAR)
    return False


def has_keys(names: Collection[str]) -> IsOurs:
    """Whether a file is JSON with these ``names``, which only files of ours have together."""

    def is_ours(path: Path) -> bool:
        with suppress(OSError, ValueError):
            found = read_json(path)
            return isinstance(found, dict) and {*names} <= found.keys()
        return False

    return is_ours


def save_picture(picture: "Image.Image", path: Path) -> None:
    """Writes ``picture`` in the format of the end of ``path``; a PNG with our mark."""
    from PIL.PngImagePlugin import PngInfo

    about = PngInfo()
    about.add_text("Software", MARK)
    more: dict[str, Any] = {"pnginfo": about} if path.suffix.lower() == ".png" else {}
    picture.save(path, **more)


def with_suffix(path: Path, suffix: str, option: str) -> Path:
    """``path``, the value of ``option``, with another end; raises InputError where it has no name."""
    _check_name(path, option)
    return path.with_suffix(suffix)


def _check_name(path: Path, option: str) -> None:
    if path.name in ("", ".."):
        raise InputError(f"expected {option} to be a file, got {path}: name one.")
    most, bytes_of = most_letters(path.absolute().parent), len(os.fsencode(path.name))
    if bytes_of > most:
        raise InputError(f"expected a name of at most {most} bytes for {option}, got {bytes_of}, {path.name[:40]}...: "
                         "choose a shorter one.")  # fmt: skip


@dataclass(frozen=True)
class _Place:
    path: Path
    option: str
    is_ours: IsOurs
    is_written: bool

    def check(self, overwrite: bool | None) -> None:
        """Raises InputError where another's file stands."""
        try:
            mode = self.path.lstat().st_mode
        except (FileNotFoundError, NotADirectoryError):
            return
        except OSError as error:
            raise InputError(f"expected {self.option} to be a file that can be written, got {self.path} "
                             f"({error.strerror}): name another.") from None  # fmt: skip
        if not (self.path.is_file() or (stat.S_ISLNK(mode) and not self.path.exists())):
            raise InputError(f"expected {self.option} to be a file, got {self.path}, which is not a file: name "
                             "another.")  # fmt: skip
        if not (overwrite or self.is_ours(self.path)):
            remedy = "move it away" if overwrite is None else "name another, or give --overwrite to replace it"
            raise InputError(f"expected {self.option} to be a file that is not there yet, got {self.path}: {remedy}.")


class Outputs:
    """The files of one command: declared and checked before work begins, and put in place after it.

    Within ``with outputs:`` ``outputs[path]`` is where to write the file that is to be ``path``. At the end of the
    block all take their places, or none does. Old and new ones are never there together, not even for a moment.

    Args:
        overwrite: whether files that are not ours may be replaced; None where the command has no option for it.
    """

    def __init__(self, *, overwrite: bool | None) -> None:
        self.overwrite = overwrite
        self._places: dict[Path, _Place] = {}
        self._files: dict[Path, Unfinished] = {}

    def add(self, path: Path, option: str, *, is_ours: IsOurs = has_mark, suffixes: Iterable[str] = ()) -> Path:
        """``path``, declared to be written.

        Args:
            path: of the file.
            option: that names it, or from which its name follows.
            is_ours: whether what stands there is a file of this kind that we made.
            suffixes: of which its name must have one; none for any.

        Raises:
            InputError: it cannot be written there, is declared already, or another's file stands there.
        """
        if suffixes and path.suffix.lower() not in suffixes:
            raise InputError(f"expected {option} to end in {' or '.join(suffixes)}, got {path}: rename it.")
        _check_name(path, option)
        self._declare(_Place(path, option, is_ours, is_written=True))
        writable_folder(path.absolute().parent, option)
        return path

    def add_stale(self, path: Path, option: str, *, is_ours: IsOurs = has_mark) -> None:
        """Declares that ``path``, if it is there, is about what is replaced, and goes with it.

        Raises:
            InputError: it is another's file.
        """
        self._declare(_Place(path, option, is_ours, is_written=False))

    def _declare(self, place: _Place) -> None:
        key = place.path.absolute().parent.resolve() / place.path.name
        if (other := self._places.get(key)) is not None:
            raise InputError(f"expected two files, got {place.path} for both {other.option} and {place.option}: rename "
                             "one.")  # fmt: skip
        self._places[key] = place
        place.check(self.overwrite)

    def __getitem__(self, path: Path) -> Path:
        return self._files[path].path

    def __enter__(self) -> "Outputs":
        for place in self._places.values():
            if place.is_written:
                self._files[place.path] = Unfinished(place.path)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if isinstance(error, OSError) and error.errno in NO_ROOM:
                raise self._refusal(error) from error
            if kind is None:
                for file in self._files.values():
                    file.finish()
                for place in self._places.values():  # somebody may have come meanwhile
                    place.check(self.overwrite)
                self._put_in_place()
        finally:
            for file in self._files.values():
                file.remove()
            self._files = {}

    def _refusal(self, error: OSError) -> InputError:
        named = ", ".join(str(place.path) for place in self._places.values() if place.is_written)
        return InputError(f"expected room to write {named}, got {error.strerror}: make room, or name another folder.")

    def _put_in_place(self) -> None:
        """First the old ones go aside, then the new ones come; all is as it was before where that fails."""
        aside: dict[Path, Path] = {}
        placed: list[Path] = []
        try:
            for place in self._places.values():
                if os.path.lexists(place.path):
                    aside[place.path] = beside(place.path)
                    place.path.rename(aside[place.path])
            for file in self._files.values():
                placed.append(file.place)
                file.put_in_place()
        except BaseException:
            for path in placed:
                path.unlink(missing_ok=True)
            for path, old in aside.items():
                if os.path.lexists(old):
                    old.rename(path)
            raise
        for old in aside.values():
            with suppress(OSError):
                old.unlink()
