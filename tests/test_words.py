"""The product's texts use the field's words, in plain sentences; its docstrings say something."""

import ast
import io
import re
import tokenize
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
ROOMS = ("genraven", "datamodules", "lightning_modules", "callbacks", "launch")
CODE = [path for room in ROOMS for path in sorted((ROOT / room).rglob("*.py"))]
PAGES = [path for path in sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]) if path.name != "report.md"]
TEMPLATES = [path for room in ROOMS for path in sorted((ROOT / room).rglob("*.jinja"))]

GIVEN_UP = {  # what is said now
    r"gaps": "missing cells",
    r"spoil\w*": "corrupt",
    r"told": "is given, knows, reads",
    r"foret(?:old|ells?)": "predicts",
    r"pass_through": "probe_forward",
    r"whole_step": "compiled_step",
    r"as_read": "network_input",
    r"trusting|certainty": "selective prediction",
    r"shares? of": "fraction of",
    r"by heart": "memorised",
    r"less the usual": "difference",
}
INVERSIONS = {  # what is said now
    r"are the autoregressive model's": "GPT-2 wins after four minutes",
    r"accepts (?:what it promises|a completion only where)": "accepts some completions and promises that",
    r", of whichever": "whichever it is of",
    r"\. Of (?:a model|puzzles) (?:that|like)": "subject first: a model that ...",
    r"absent, since": "absent, because",
    r", as (?:only|not all|no) ": "because",
    r"(?:speaks?|spoke) of": "defined on, about",
}
ALLOWED = {  # what stays as it is, and why
    "--spoil": "the former name of an option, which goes on working",
    'Draws(seed, "spoil")': "the name of a stream: another one would draw other numbers",
    '"spoil"': "the same",
    '"gaps"': "a part of the names of cached sets",
    '"certainty"': "a key of evaluation.json",
    "'certainty'": "the same, within an f-string",
    "uncertainty": "the field's word",
    "`check_gaps`": "the changelog says what was renamed",
    "`pass_through`": "the same",
    "`spoil=`": "the same",
    "`--spoil`": "the same",
}
FRAGMENT = re.compile(
    r"(That|To|Among|What of|Such|Of|Those|By|With|In|Per|As|The same|Same|Both|For|From|At|On|Not)\b"
)


def texts(path: Path) -> Iterator[tuple[int, str]]:
    """Line and text of all that a reader reads: of code strings, comments and names, of others each line."""
    if path.suffix != ".py":
        yield from enumerate(path.read_text().splitlines(), 1)
        return
    for token in tokenize.generate_tokens(io.StringIO(path.read_text()).readline):
        if token.type in (tokenize.STRING, tokenize.COMMENT, tokenize.NAME):
            yield token.start[0], token.string


def found(paths: list[Path], words: dict[str, str]) -> list[str]:
    """Place, word and what to say instead, of each of ``words`` in ``paths``."""
    wrong = []
    for path in paths:
        for line, text in texts(path):
            for allowed in ALLOWED:
                text = text.replace(allowed, "")
            for word, instead in words.items():
                start = "" if word[0] in ",\\(" else r"(?<!\w)"
                for match in re.finditer(rf"{start}(?:{word})(?!\w)", text, re.IGNORECASE):
                    wrong.append(f"{path.relative_to(ROOT)}:{line}: not {match[0]!r} but {instead!r}")
    return wrong


@pytest.mark.parametrize("paths", [CODE, PAGES, TEMPLATES], ids=["code", "pages", "templates"])
def test_no_text_has_a_word_that_was_given_up(paths: list[Path]) -> None:
    assert len(paths) > 5
    assert found(paths, GIVEN_UP) == []


def test_no_sentence_is_turned_around() -> None:
    assert found([*PAGES, *TEMPLATES], INVERSIONS) == []


@pytest.mark.parametrize("word", ["gaps", "It was told so", "foretold", "The share of the cells"])
def test_a_word_that_was_given_up_is_found(word: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(globals(), "ROOT", tmp_path)
    (tmp_path / "page.md").write_text(f"First.\n{word}\n")
    (tmp_path / "code.py").write_text(f'"""First.\n\n{word}"""\n')
    assert len(found([tmp_path / "page.md", tmp_path / "code.py"], GIVEN_UP)) == 2


def docstrings(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Line and text of each docstring: of modules, classes, functions, and of what is assigned above one."""
    for node in ast.walk(tree):
        for one in getattr(node, "body", []) if isinstance(getattr(node, "body", None), list) else []:
            if isinstance(one, ast.Expr) and isinstance(one.value, ast.Constant) and isinstance(one.value.value, str):
                yield one.lineno, one.value.value


def says_nothing(docstring: str) -> bool:
    """Is its first sentence of fewer than three words, or a fragment such as "Of runs."? Shapes and numbers do say."""
    first = re.split(r"(?<=[.?!])\s", " ".join(docstring.split()))[0]
    if re.search(r"[(`\[]|\d", first):
        return False
    num = len(re.findall(r"[\w'.-]+", first))
    return num < 3 or (FRAGMENT.match(first) is not None and num < 7)


def test_docstrings_say_something() -> None:
    wrong = [f"{path.relative_to(ROOT)}:{line}: {text}" for path in CODE
             for line, text in docstrings(ast.parse(path.read_text())) if says_nothing(text)]  # fmt: skip
    assert wrong == []


@pytest.mark.parametrize(
    ("docstring", "nothing"),
    [("Of runs.", True), ("Draws.", True), ("The same, where there is none.", True), ("The names of runs.", False),
     ("(B, 9, 9) bool.", False), ("Of each puzzle the number of cells that were written anew.", False)],
)  # fmt: skip
def test_what_says_nothing(docstring: str, nothing: bool) -> None:
    assert says_nothing(docstring) == nothing
