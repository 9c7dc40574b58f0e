"""Small files that anybody may have written, such as those of a run folder: read within bounds, and never waited for.

A few hundred bytes of YAML can stand for gigabytes, a few thousand brackets for more nesting than a stack holds, and to
open a pipe is to wait for its writer. Imports nothing heavy.
"""

import errno
import json
import os
import stat
from io import BufferedReader
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import yaml

MOST_BYTES = 64 << 20
"""The largest small file that is read, in bytes."""
MOST_YAML_BYTES = 1 << 17
"""Of one in YAML, which is parsed a hundred times as slowly as JSON."""
MOST_VALUES = 1_000_000
"""Of one in JSON: values and the collections that they are in; what they take is some 100 bytes each."""
MOST_YAML_VALUES = 50_000
MOST_DEPTH = 64
"""The deepest nesting of collections that is read."""


class OutOfBounds(ValueError):
    """The file is larger, deeper or of more values than such a file ever is."""


def open_regular(path: Path) -> BufferedReader:
    """``path`` opened to read its bytes.

    Raises:
        OSError: it cannot be read, or is no regular file: a folder, a pipe, a device.
    """
    _check_regular(path.stat().st_mode, path)  # before it is opened, which some devices take for a request
    handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        _check_regular(os.fstat(handle).st_mode, path)
    except OSError:
        os.close(handle)
        raise
    return os.fdopen(handle, "rb")


def _check_regular(mode: int, path: Path) -> None:
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    if not stat.S_ISREG(mode):
        raise OSError(errno.EINVAL, "Not a regular file", str(path))


def read_text(path: Path, most_bytes: int = MOST_BYTES) -> str:
    """The text of a small file in UTF-8.

    Raises:
        OSError: it cannot be read, or is no regular file.
        ValueError: it is no text, or larger than ``most_bytes``.
    """
    with open_regular(path) as file:
        content = file.read(most_bytes + 1)
    if len(content) > most_bytes:
        raise OutOfBounds(f"larger than {most_bytes:,} bytes")
    try:
        return content.decode("utf-8").replace("\r\n", "\n")
    except UnicodeDecodeError:
        raise ValueError("it is no text in UTF-8") from None


def read_json(path: Path) -> Any:
    """What a small JSON file holds.

    Raises:
        OSError: it cannot be read, or is no regular file.
        ValueError: it is no JSON, or out of bounds.
    """
    return parse_json(read_text(path))


def parse_json(text: str) -> Any:
    """What a JSON text holds.

    Raises:
        ValueError: it is no JSON, or out of bounds.
    """
    # Each value but the first of a collection follows a comma, and each collection begins with a bracket.
    if sum(map(text.count, ",[{")) > MOST_VALUES:
        raise OutOfBounds(f"more than {MOST_VALUES:,} values")
    try:
        found = json.loads(text)
    except RecursionError:
        raise OutOfBounds(f"more than {MOST_DEPTH} collections within each other") from None
    _check_depth(found)
    return found


def _check_depth(tree: Any) -> None:
    level, depth = [tree], 0
    while level := [value for value in level if isinstance(value, dict | list)]:
        if depth == MOST_DEPTH:
            raise OutOfBounds(f"more than {MOST_DEPTH} collections within each other")
        level = [inner for value in level for inner in (value.values() if isinstance(value, dict) else value)]
        depth += 1


def read_yaml(path: Path, *, as_text: bool = False) -> Any:
    """What a small YAML file holds, of the types that YAML itself has.

    Args:
        path: of the file.
        as_text: give numbers, dates and the like as they are written.

    Raises:
        OSError: it cannot be read, or is no regular file.
        ValueError: it is no YAML, or out of bounds, each alias counted for all that it stands for; in one line.
    """
    import yaml

    text = read_text(path, MOST_YAML_BYTES)
    try:
        loader = (yaml.BaseLoader if as_text else yaml.SafeLoader)(text)
        node = loader.get_single_node()
        if node is None:
            return None
        _measure(node, 0, {})
        return loader.construct_document(node)
    except OutOfBounds:
        raise
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
        raise ValueError(f"{place}{error.problem or error.context}") from None
    except RecursionError:
        raise OutOfBounds(f"more than {MOST_DEPTH} collections within each other") from None
    except Exception as error:  # what a tag makes of a text that is none of its kind is not foreseeable
        raise ValueError(" ".join(str(error).split()) or type(error).__name__) from None


def _measure(node: "yaml.Node", depth: int, known: dict[int, tuple[int, int]]) -> tuple[int, int]:
    """How many values ``node`` stands for, and how deep they are nested; of those ``known``, noted before.

    What is within itself is deeper than any bound.
    """
    import yaml

    if depth > MOST_DEPTH:
        raise OutOfBounds(f"more than {MOST_DEPTH} collections within each other")
    if id(node) not in known:
        inner: list[yaml.Node] = []
        if isinstance(node, yaml.MappingNode):
            inner = [part for pair in node.value for part in pair]
        elif isinstance(node, yaml.SequenceNode):
            inner = node.value
        sizes = [_measure(part, depth + 1, known) for part in inner]
        known[id(node)] = 1 + sum(size for size, _ in sizes), 1 + max((height for _, height in sizes), default=0)
    size, height = known[id(node)]
    if size > MOST_YAML_VALUES:
        raise OutOfBounds(f"more than {MOST_YAML_VALUES:,} values")
    if depth + height > MOST_DEPTH + 1:
        raise OutOfBounds(f"more than {MOST_DEPTH} collections within each other")
    return size, height
