"""Run folders in which anything may stand: the report and the table of runs say what they can."""

import json
import os
import shutil
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote_to_bytes, urlsplit

import pytest
from markdown_it import MarkdownIt

from genraven.outputs import COMMENT
from launch.cli import main

WRONG: tuple[Any, ...] = (
    None, True, -1, 0, 1e300, float("nan"), float("inf"), 10**400, "", "x", "a\nb\x1b[2J$\\foo$/../<b>|[x](y)", [],
    [[]], {}, {"a": {"b": []}}, ["x", 1], {"x": "y"},
)  # fmt: skip
FILES = ("summary.json", "evaluation.json")


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory, study_run: Callable[[str, Path], Path]) -> Path:
    """Some runs of the study."""
    folder = tmp_path_factory.mktemp("runs")
    for name in ("100-r0-gpt2", "100-r1-gpt2", "100-r0-mdm", "400-r0-gpt2"):
        study_run(name, folder / name)
    return folder


def places(tree: Any, depth: int = 3) -> list[tuple[str | int, ...]]:
    """The keys that lead to each value, of long lists to the first alone."""
    if not depth or not isinstance(tree, dict | list) or not tree:
        return [()]
    items = list(tree.items() if isinstance(tree, dict) else enumerate(tree[:1]))
    return [(), *((key, *rest) for key, value in items for rest in places(value, depth - 1))]


def put(tree: Any, place: tuple[str | int, ...], value: Any) -> Any:
    if not place:
        return value
    tree[place[0]] = put(tree[place[0]], place[1:], value)
    return tree


def said_of(runs: Path, out: Path, capsys: pytest.CaptureFixture[str]) -> str:
    for command in (["status", str(runs)], ["report", str(runs), "--out", str(out / "report.html")]):
        assert main(command) == 0
    said = capsys.readouterr()
    assert not [char for char in said.out + said.err if not char.isprintable() and char not in "\n"]
    return said.out


@pytest.mark.parametrize("file", FILES)
@pytest.mark.parametrize("turn", [0, 7])
def test_a_value_of_any_kind_ends_nothing(
    file: str, turn: int, runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Another one in the place of every value, each in a run of its own, beside runs that are whole."""
    shutil.copytree(runs, tmp_path / "runs")
    whole = (runs / "100-r0-gpt2" / file).read_text()
    for i, place in enumerate(places(json.loads(whole))):
        shutil.copytree(runs / "100-r0-gpt2", tmp_path / "runs" / f"{i}")
        broken = put(json.loads(whole), place, WRONG[(i + turn) % len(WRONG)])
        (tmp_path / "runs" / f"{i}" / file).write_text(json.dumps(broken))
    assert "400-r0-gpt2" in said_of(tmp_path / "runs", tmp_path, capsys)


BROKEN = ("[" * 5000 + "]" * 5000, "a: &a [x]\nb: &b [*a, *a]\nc: [*b, *b]", "{", "\x00", "[1]", "\x1b[2J")
OTHERS = (
    "config.yaml",
    "curve.csv",
    "calibration.json",
    "job/spec.json",
    "job/refused.txt",
    "loggers.json",
    "run.lock",
)


def test_broken_files_and_pipes_end_nothing(runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Nor is a pipe waited for, which has no writer."""
    shutil.copytree(runs, tmp_path / "runs")
    for number, text in enumerate(BROKEN):
        run = Path(shutil.copytree(runs / "100-r0-gpt2", tmp_path / "runs" / f"{number}"))
        for name in OTHERS:
            (run / name).parent.mkdir(exist_ok=True)
            (run / name).write_text(text)
    for name in (*FILES, *OTHERS):
        run = Path(shutil.copytree(runs / "100-r0-gpt2", tmp_path / "runs" / f"no-{Path(name).stem}"))
        (run / name).unlink(missing_ok=True)
        (run / name).parent.mkdir(exist_ok=True)
        os.mkfifo(run / name)
    assert "400-r0-gpt2" in said_of(tmp_path / "runs", tmp_path, capsys)


class Links(HTMLParser):
    """The addresses of a page's links, and the elements that it has."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found, self.elements = list[str](), set[str]()
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.add(tag)
        self.found += [value or "" for name, value in attrs if tag == "a" and name == "href"]


NAMES = (
    "javascript:alert(1)", "a\nb", "a\x1b[2Jb", "\u202egnp.exe", "<script>alert(1)<", "a|b", "[x](javascript:y)",
    "](z)", "data:text%2Fhtml,x", "a&b'\"", "x" * 240, os.fsdecode(b"caf\xe9"), "_x_ *y* `z`", "  ",
)  # fmt: skip


FOLDED = '<details markdown="1"><summary>The same in numbers</summary>'


def test_names_of_folders_are_text(runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Links lead to the folders themselves, and nothing that a name holds is more than its letters."""
    for name in NAMES:
        shutil.copytree(runs / "100-r0-gpt2", tmp_path / "runs" / name)
    said_of(tmp_path / "runs", tmp_path / "runs", capsys)
    page = (tmp_path / "runs" / "report.html").read_bytes().decode()
    links = Links(page)
    assert "script" not in links.elements
    assert all(urlsplit(link).scheme == "" for link in links.found)
    assert {os.fsdecode(unquote_to_bytes(link)) for link in links.found} == set(NAMES)
    twin = MarkdownIt().enable("table").parse((tmp_path / "runs" / "report.md").read_text())
    inline = [child for token in twin for child in token.children or ()]
    html = [token.content.strip() for token in [*twin, *inline] if token.type.startswith("html")]
    assert set(html) <= {COMMENT.strip(), FOLDED, "</details>"}
    linked = [str(token.attrGet("href")) for token in inline if token.type == "link_open"]
    assert sorted(linked) == sorted(links.found)
    rows, cells = ([token.type for token in twin].count(kind) for kind in ("tr_open", "td_open"))
    assert rows and cells
    shown = {token.content for token in twin if token.type == "inline"}
    assert not [text for text in shown if not text.isprintable()]


@pytest.mark.parametrize("name", ["a/../../b", "$\\foo$\n\ud800%s{{ 1 }}", "x" * 300])
def test_an_architecture_is_called_anything(
    name: str, runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(runs, tmp_path / "runs")
    for run in (tmp_path / "runs").glob("*gpt2"):
        for file in FILES:
            found = json.loads((run / file).read_text())
            (found if file == "summary.json" else found["run"])["architecture"] = name
            (run / file).write_text(json.dumps(found))
    said_of(tmp_path / "runs", tmp_path / "page", capsys)
    pictures = [path for path in (tmp_path / "page" / "report_figures").iterdir() if "rules-" in path.name]
    assert len(pictures) == 2
    twin = (tmp_path / "page" / "report.md").read_text()
    assert all(f"report_figures/{quote(path.name)}" in twin for path in pictures)
