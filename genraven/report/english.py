"""The answer's English stands in one template, ``answer.txt.jinja``, a macro a sentence; here it is filled in."""

import functools
from pathlib import Path
from typing import Any

TEMPLATE = "answer.txt.jinja"


def sentence(name: str, /, **values: Any) -> str:
    """The sentence called ``name`` with its values, in one line."""
    return " ".join(str(getattr(_sentences(), name)(**values)).split())


@functools.cache
def _sentences() -> Any:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    loader = FileSystemLoader(Path(__file__).parent, encoding="utf-8")
    # Text, which the page's own templates escape.
    environment = Environment(loader=loader, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    return environment.get_template(TEMPLATE).module
