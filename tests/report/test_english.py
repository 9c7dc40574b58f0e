"""The report's English stands in templates, and the code asks for that alone."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import get_args

import pytest
from jinja2 import UndefinedError

from genraven.report import english
from genraven.report.english import counted, headings, sentence
from genraven.report.published import SOURCE
from genraven.report.recommend import Verdict

HERE = Path(english.__file__).parent
NO_ENGLISH = (*get_args(Verdict), SOURCE, "axes fraction", "DejaVu Sans", "the study")
"""Values that callers compare, a source, words of matplotlib and of a refusal."""


def english_in(code: str) -> Iterator[str]:
    """Texts of two words or more; not those of docstrings, types and errors, which no page shows."""
    tree = ast.parse(code)
    apart = [node for node in ast.walk(tree) if isinstance(node, ast.Raise | ast.arg | ast.AnnAssign)
             or (isinstance(node, ast.Call) and getattr(node.func, "id", "").endswith("Error"))
             or (isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant))]  # fmt: skip
    apart = [node.annotation if isinstance(node, ast.AnnAssign) else node for node in apart]
    apart += [node.returns for node in ast.walk(tree) if isinstance(node, ast.FunctionDef) and node.returns]
    left_out = {id(part) for node in apart for part in ast.walk(node)}
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            parts = [part.value if isinstance(part, ast.Constant) else "{}" for part in node.values]
            left_out |= {id(part) for part in node.values}
        else:
            parts = [node.value] if isinstance(node, ast.Constant) and isinstance(node.value, str) else []
        text = "".join(map(str, parts))
        if (
            id(node) not in left_out
            and text not in NO_ENGLISH
            and re.search(r"[A-Za-z]{2,}(\s|\{\})+[A-Za-z]{2,}", text)
        ):
            yield text


@pytest.mark.parametrize("file", sorted(HERE.glob("*.py")), ids=lambda file: file.stem)
def test_no_english_in_code(file: Path) -> None:
    assert list(english_in(file.read_text())) == []


def test_english_in_code_is_found() -> None:
    code = '"""Of a module."""\ndef told(n: "int | None") -> str:\n    """Of a function."""\n    {}\n'
    for line in ('return f"mean of {n} repeats."', 'return ["All runs"]', 'return f"{n} models" + f"only {n} models"'):
        assert list(english_in(code.format(line)))
    for line in ('raise ValueError("no such run")', 'return sentence("no_runs", num=f"{n:,}")', 'return f"{n} runs"'):
        assert not list(english_in(code.format(line)))


def test_each_sentence_is_there_and_asked_for() -> None:
    templates = [template.read_text() for template in english.TEMPLATES]
    there = [name for text in templates for name in re.findall(r"macro (\w+)\(", text)]
    code = "\n".join(file.read_text() for file in HERE.glob("*.py"))
    asked = set(re.findall(r"\bsentence\(\s*[\"'](\w+)", code))
    asked |= {f"{name}_headings" for name in re.findall(r"\bheadings\(\s*[\"'](\w+)", code)}
    within = {name for name in there for text in templates
               if re.search(rf"\{{[{{%](?! macro)[^}}]*\b{name}\(", text)}  # fmt: skip
    assert len(there) == len(set(there))
    assert asked <= set(there)
    assert set(there) == asked | within


def test_a_sentence_is_one_line_and_wants_all_its_values() -> None:
    assert sentence("scope", num_runs=2, num_variants=1, span="<4> & 5") == (
        "This rests on 2 trainings of 1 model and recipe on <4> & 5 examples per rule, and says nothing beyond them."
    )
    with pytest.raises(UndefinedError):
        sentence("scope", num_runs=2, num_variants=1)
    with pytest.raises(TypeError, match="takes no keyword argument 'more'"):
        sentence("scope", num_runs=2, num_variants=1, span="", more=1)


def test_one_is_singular() -> None:
    assert [counted(n, "run") for n in (0, 1, 2, 1000, "1", "0.5")] == [
        "0 runs", "1 run", "2 runs", "1,000 runs", "1 run", "0.5 runs"]  # fmt: skip
    assert counted(1, "FLOP of training", "FLOPs of training") == "1 FLOP of training"
    assert sentence("over_budget", num=1, num_points=1, budget="1", in_money=False).startswith(
        "1 of 1 point took more than the budget of 1 device-hour: it counts only if"
    )
    assert sentence("year_note", growth="2", years=None, months=1).endswith("in about 1 month.")
    assert sentence("of_unknown_cost", num=2, in_money=True) == (
        "The cost of 2 points in money is not known, so they do not count here."
    )


def test_columns_that_the_code_names_take_the_place_of_a_star() -> None:
    assert headings("sizes", ["a | b", "c"]) == ["model", "a | b", "c", "runs"]
