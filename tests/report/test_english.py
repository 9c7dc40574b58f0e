"""The sentences of the answer stand in one template, and the code asks for those alone."""

import re
from pathlib import Path

import pytest
from jinja2 import UndefinedError

from genraven.report import english
from genraven.report.english import sentence

HERE = Path(english.__file__).parent


def test_each_sentence_is_there_and_asked_for() -> None:
    template = english.ANSWER.read_text()
    there = re.findall(r"macro (\w+)\(", template)
    asked = {name for file in HERE.glob("*.py") for name in re.findall(r"\bsentence\(\s*[\"'](\w+)", file.read_text())}
    within = {name for name in there if re.search(rf"\{{\{{[^}}]*\b{name}\(", template)}
    assert len(there) == len(set(there))
    assert asked <= set(there)
    assert set(there) == asked | within


def test_a_sentence_is_one_line_and_wants_all_its_values() -> None:
    assert sentence("scope", num_runs=2, num_variants=1, span="<4> & 5") == (
        "This rests on 2 trainings of 1 models and recipes on <4> & 5 examples per rule, and says nothing beyond."
    )
    with pytest.raises(UndefinedError):
        sentence("scope", num_runs=2, num_variants=1)
    with pytest.raises(TypeError, match="takes no keyword argument 'more'"):
        sentence("scope", num_runs=2, num_variants=1, span="", more=1)
