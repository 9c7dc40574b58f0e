"""What lies in a file: named arrays, mapped where they can be, recognised by their first bytes and never run.

Sizes are checked before anything of that size is read: an array is no larger than its file, or, where it is compressed,
than ``MOST_UNPACKED``, as are all arrays together that an ``Allowance`` is asked for.
"""

import math
import pickle
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from genraven.bounded import open_regular
from genraven.errors import InputError

SAVE_ARRAYS = "save the array itself with numpy.save, numpy.savez or torch.save"
MOST_UNPACKED = 4 << 30
"""Bytes that compressed arrays may have, of a file or of all files of a folder."""
_MOST_MEMBERS = 10_000  # of an archive
_PIECE = 1 << 20  # bytes unpacked at once: what an archive says of a member's size may be a lie
_MOST_PICKLE = 4 << 20  # what describes the tensors of a .pt file, and takes fifty times as much to read
_LOCAL_HEADER = struct.Struct("<26xHH")  # of a zip member: lengths of its name and of what follows it
_NUMPY, _ZIP = b"\x93NUMPY", b"PK"
_PICKLE = b"\x80"
_OLD_PT = b"\x80\x02\x8a\x0al\xfc"  # of the number that such files begin with, itself pickled


@dataclass(frozen=True)
class Entry:
    """An array of a file, not read yet, or something else that stands there."""

    name: str
    """Key in an archive; empty for the only array of a file."""
    shape: tuple[int, ...]
    dtype: str
    load: Callable[[], NDArray[Any]]
    """The array, read-only; a memory map where it is not compressed."""
    unpacked: int = 0
    """Bytes of memory that it takes when it is loaded; none of a map."""
    is_array: bool = True
    """False of what else stands in a .pt file, which loads as nothing."""


class Allowance:
    """What may still be unpacked of arrays that are in memory together."""

    def __init__(self) -> None:
        self._left = MOST_UNPACKED

    def take(self, entries: Iterable[Entry], path: Path) -> None:
        """Allows ``entries`` of the file ``path`` to be loaded; raises InputError where they are too much."""
        self._left -= sum(entry.unpacked for entry in entries)
        if self._left < 0:
            raise _refusal(path, f"its arrays, with those before it, unpack to more than {MOST_UNPACKED / 2**30:g} "
                           "GiB: save them uncompressed, to be mapped")  # fmt: skip


def read_entries(path: Path) -> list[Entry]:
    """The arrays of an .npy, .npz or .pt file.

    Raises:
        InputError: no such file, none of these, damaged, or one that would have to be run to be read.
    """
    try:
        with open_regular(path) as file:
            start = file.read(len(_NUMPY))
        for magic, read in _CONTAINERS.items():
            if start.startswith(magic):
                return read(path)
    except OSError as error:
        raise _refusal(path, error.strerror or str(error), "check the path and who may read it") from None
    except (zipfile.BadZipFile, zlib.error, EOFError, struct.error) as error:
        raise _refusal(path, f"it is truncated or damaged: {error}") from None
    if start.startswith(_PICKLE):
        raise _refusal(path, "a pickle, which is not run")
    raise _refusal(path, "it is neither" if start else "it is empty")


def _refusal(path: Path, reason: str, instead: str = SAVE_ARRAYS) -> InputError:
    return InputError(f"expected an .npy, .npz or .pt file of plain arrays, got {path} ({' '.join(reason.split())}): "
                      f"{instead}.")  # fmt: skip


# numpy ----------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Header:
    shape: tuple[int, ...]
    is_fortran: bool
    dtype: np.dtype[Any]
    size: int
    """Bytes of the header itself."""

    @property
    def num_bytes(self) -> int:
        return math.prod(self.shape) * self.dtype.itemsize

    @property
    def order(self) -> Any:
        return "F" if self.is_fortran else "C"


def _read_header(file: IO[bytes], size: int, path: Path, name: str) -> _Header:
    """The header of the array that begins in ``file`` and has ``size`` bytes together with it."""
    start = file.tell()
    readers = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
    try:
        shape, is_fortran, dtype = readers[np.lib.format.read_magic(file)](file)
        header = _Header(shape, is_fortran, dtype, file.tell() - start)
    except (OSError, zipfile.BadZipFile, zlib.error):
        raise
    except Exception as error:  # numpy parses it as Python's literals, with all that this can raise
        raise _refusal(path, f"{name or 'its array'} has no header that can be read: {error}") from None
    if dtype.hasobject:
        raise _refusal(path, f"{name or 'its array'} is a pickle of objects, which is not run")
    if min(shape, default=0) < 0 or header.num_bytes != size - header.size:
        raise _refusal(path, f"{name or 'its array'}, {dtype} of {shape}, takes {header.num_bytes} bytes, but "
                       f"{max(0, size - header.size)} are there: it is truncated or damaged")  # fmt: skip
    return header


def _read_npy(path: Path) -> list[Entry]:
    return [_mapped("", path, 0, path.stat().st_size)]


def _mapped(name: str, path: Path, start: int, size: int) -> Entry:
    if start + size > path.stat().st_size:
        raise _refusal(path, f"{name} reaches beyond the end: it is truncated or damaged")
    with path.open("rb") as file:
        file.seek(start)
        header = _read_header(file, size, path, name)

    def load() -> NDArray[Any]:
        if not header.num_bytes:  # which cannot be mapped
            return np.empty(header.shape, header.dtype)
        return np.memmap(path, header.dtype, "r", start + header.size, header.shape, header.order)

    return Entry(name, header.shape, str(header.dtype), load)


def _read_zip(path: Path) -> list[Entry]:
    with zipfile.ZipFile(path) as archive:
        members = archive.infolist()
        if len(members) > _MOST_MEMBERS:
            raise _refusal(path, f"an archive of {len(members):,} members, at most {_MOST_MEMBERS:,} are looked at")
        if any(Path(member.filename).name == "data.pkl" for member in members):
            return _read_pt(path, members)
        arrays = [member for member in members if member.filename.endswith(".npy")]
        if not arrays:
            raise _refusal(path, "an archive without an array")
        return [_member(archive, path, member) for member in arrays]


def _member(archive: zipfile.ZipFile, path: Path, member: zipfile.ZipInfo) -> Entry:
    name = member.filename.removesuffix(".npy")
    if member.flag_bits & 1:
        raise _refusal(path, f"{name} is encrypted")
    if member.compress_type == zipfile.ZIP_STORED:
        with path.open("rb") as file:
            file.seek(member.header_offset)
            lengths = _LOCAL_HEADER.unpack(file.read(_LOCAL_HEADER.size))
        return _mapped(name, path, member.header_offset + _LOCAL_HEADER.size + sum(lengths), member.file_size)
    if member.file_size > MOST_UNPACKED:
        raise _refusal(path, f"{name} unpacks to {member.file_size / 2**30:.1f} GiB, at most "
                       f"{MOST_UNPACKED / 2**30:g} are read: save it uncompressed, to be mapped")  # fmt: skip
    if member.compress_type != zipfile.ZIP_DEFLATED:  # others unpack a piece of any size at once
        raise _refusal(path, f"{name} is compressed in another way than numpy compresses")
    with archive.open(member) as packed:
        header = _read_header(packed, member.file_size, path, name)

    def load() -> NDArray[Any]:
        try:
            with zipfile.ZipFile(path) as again, again.open(member) as file:
                content = b"".join(iter(lambda: file.read(_PIECE), b""))
        except (OSError, zipfile.BadZipFile, zlib.error, EOFError) as error:
            raise _refusal(path, f"{name} is truncated or damaged: {error}") from None
        if len(content) != member.file_size:
            raise _refusal(path, f"{name} is shorter than the archive says")
        return np.ndarray(header.shape, header.dtype, content, header.size, order=header.order)

    return Entry(name, header.shape, str(header.dtype), load, member.file_size)


# torch ----------------------------------------------------------------------------------------------------------------


def unlike_torch(members: list[zipfile.ZipInfo]) -> str | None:
    """Why an archive of these members is none that torch.save writes; None where it may be one.

    Its members are never compressed, and what describes the tensors takes less than they do.
    """
    if any(member.compress_type != zipfile.ZIP_STORED for member in members):
        return "a .pt archive that is compressed"
    large = (member for member in members if member.filename.endswith(".pkl") and member.file_size > _MOST_PICKLE)
    if (member := next(large, None)) is not None:
        return f"{member.filename} has {member.file_size} bytes: it holds other things than tensors"
    return None


def _read_pt(path: Path, members: list[zipfile.ZipInfo]) -> list[Entry]:
    if reason := unlike_torch(members):
        raise _refusal(path, reason)
    return _load_tensors(path, mmap=True)


def _read_old_pt(path: Path) -> list[Entry]:
    """Tensors of what torch.save wrote before it wrote archives."""
    if path.stat().st_size > MOST_UNPACKED:
        raise _refusal(path, f"an old .pt file of more than {MOST_UNPACKED / 2**30:g} GiB, which cannot be mapped")
    return _load_tensors(path, mmap=False)


def _load_tensors(path: Path, *, mmap: bool) -> list[Entry]:
    try:
        content = torch.load(path, map_location="cpu", weights_only=True, mmap=mmap)
    except pickle.UnpicklingError:
        raise _refusal(path, "a pickle of other things than tensors, which is not run") from None
    except OSError:
        raise
    except Exception as error:  # what a damaged file makes of the restricted unpickler is not foreseeable
        raise _refusal(
            path, f"it is truncated or damaged: {str(error).splitlines()[0] if str(error) else ''}"
        ) from None
    tensors = {"": content} if isinstance(content, Tensor) else content
    if not isinstance(tensors, dict) or not all(isinstance(name, str) for name in tensors):
        raise _refusal(path, f"a {type(content).__name__}, neither a tensor nor a dict of them")
    return [
        _of_tensor(name, value, path) if isinstance(value, Tensor) else _of_value(name, value)
        for name, value in tensors.items()
    ]


def _of_value(name: str, value: object) -> Entry:
    """What stands beside tensors: an array where it is a list of numbers or names, else nothing that can be read."""
    array = np.empty((), object)
    if isinstance(value, list | tuple):
        with suppress(ValueError, TypeError, OverflowError):  # ragged, or of several kinds
            found = np.asarray(value)
            array = found if found.dtype.kind in "biufU" else array
    is_array = array.dtype.kind != "O"
    kind = str(array.dtype) if is_array else type(value).__name__
    return Entry(name, array.shape, kind, lambda: array, is_array=is_array)


def _of_tensor(name: str, tensor: Tensor, path: Path) -> Entry:
    # A tensor may be expanded to any size from a number or two.
    if tensor.numel() * tensor.element_size() > path.stat().st_size:
        raise _refusal(path, f"{name or 'its tensor'} of {tuple(tensor.shape)} is larger than the file: save a clone")
    try:
        array = tensor.detach().numpy()
    except (TypeError, RuntimeError) as error:  # sparse, quantised, bfloat16, without content
        raise _refusal(path, f"{name or 'its tensor'} is no plain array: {str(error).splitlines()[0]}") from None
    return Entry(name, array.shape, str(array.dtype), lambda: array)


_CONTAINERS: dict[bytes, Callable[[Path], list[Entry]]] = {
    _NUMPY: _read_npy, _ZIP: _read_zip, _OLD_PT: _read_old_pt,
}  # fmt: skip
