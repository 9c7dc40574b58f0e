"""Small files that anybody may have written: in bounds, and never waited for."""

import os
import resource
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from genraven import bounded
from genraven.bounded import open_regular, read_json, read_text, read_yaml

Reader = Callable[[Path], Any]


def written(folder: Path, name: str, text: str) -> Path:
    path = folder / name
    path.write_text(text)
    return path


def bomb(levels: int) -> str:
    """Aliases of aliases: 9 to the power of ``levels`` values."""
    lines = ["a0: &a0 {k: v}"]
    for i in range(1, levels):
        lines.append(f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]")
    return "\n".join(lines) + "\n"


def merge_bomb(levels: int) -> str:
    """Merge keys of merge keys, which a parser copies as it builds."""
    lines = ["a0: &a0 {k: v, l: w}"]
    for i in range(1, levels):
        lines.append(f"a{i}: &a{i} {{<<: [{', '.join([f'*a{i - 1}'] * 9)}]}}")
    return "\n".join(lines) + "\n"


@pytest.mark.parametrize(
    ("read", "name", "text"),
    [
        (read_json, "deep.json", "[" * 100_000),
        (read_json, "deep.json", "[" * 900 + "]" * 900),
        (read_json, "deep.json", '{"a":' * 900 + "1" + "}" * 900),
        (read_json, "many.json", "[" + "[]," * bounded.MOST_VALUES + "1]"),
        (read_json, "none.json", "{"),
        (read_json, "digits.json", "9" * 10_000),
        (read_yaml, "deep.yaml", "[" * 5000),
        (read_yaml, "deep.yaml", "[" * 90 + "]" * 90),
        (read_yaml, "long.yaml", "- 1\n" * 100_000),
        (read_yaml, "bomb.yaml", bomb(8)),
        (read_yaml, "bomb.yaml", merge_bomb(8)),
        (read_yaml, "itself.yaml", "a: &a [*a]"),
        (read_yaml, "tower.yaml", "".join(f"a{i}: &a{i} [*a{i - 1}]\n" if i else "a0: &a0 [1]\n" for i in range(90))),
        (read_yaml, "tag.yaml", "a: !!int ''"),
        (read_yaml, "tag.yaml", "a: !!bool maybe"),
        (read_yaml, "tag.yaml", "a: !!timestamp x"),
        (read_yaml, "tag.yaml", "a: !!python/object/apply:os.system [ls]"),
        (read_yaml, "two.yaml", "a: 1\n---\nb: 2\n"),
        (read_yaml, "control.yaml", "a: \x00"),
    ],
)
def test_what_is_out_of_bounds_is_one_line(tmp_path: Path, read: Reader, name: str, text: str) -> None:
    path = written(tmp_path, name, text)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(ValueError, match=".") as caught:
        read(path)
    assert "\n" not in str(caught.value)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 150_000  # kB


def test_what_is_in_bounds_is_read(tmp_path: Path) -> None:
    text = "base: &b {lr: 1.0e-3}\nmore: {<<: *b, steps: 7}\nwhen: 12:00:00\n"
    path = written(tmp_path, "a.yaml", text)
    assert read_yaml(path) == {"base": {"lr": 1e-3}, "more": {"lr": 1e-3, "steps": 7}, "when": 43200}
    assert read_yaml(path, as_text=True)["when"] == "12:00:00"
    assert read_yaml(written(tmp_path, "none.yaml", "# nothing\n")) is None
    assert read_json(written(tmp_path, "a.json", '{"a": [1, {"b": null}], "c": "[[,,"}')) == {
        "a": [1, {"b": None}], "c": "[[,,"
    }  # fmt: skip
    nested = "[" * bounded.MOST_DEPTH + "]" * bounded.MOST_DEPTH
    assert read_json(written(tmp_path, "b.json", nested)) == read_yaml(written(tmp_path, "b.yaml", nested))


@pytest.mark.parametrize("read", [read_json, read_yaml, read_text, open_regular])
def test_what_is_no_file_is_not_waited_for(tmp_path: Path, read: Reader) -> None:
    os.mkfifo(pipe := tmp_path / "pipe")
    (link := tmp_path / "link").symlink_to(pipe)
    for path in (pipe, link, tmp_path, Path("/dev/zero"), tmp_path / "missing"):
        with pytest.raises(OSError, match=".") as caught:
            read(path)
        assert caught.value.strerror


def test_a_mistake_in_yaml_has_a_place(tmp_path: Path) -> None:
    (path := tmp_path / "a.yaml").write_text("a: [1\nb: {")
    with pytest.raises(ValueError, match=r"^line 2, column 2: expected ',' or '\]', but got ':'$"):
        read_yaml(path)
