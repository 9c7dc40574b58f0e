"""English stands in templates, a macro a sentence; here it is filled in. The answer's is ``answer.txt.jinja``."""

import functools
from pathlib import Path
from typing import Any

ANSWER = Path(__file__).with_name("answer.txt.jinja")


def sentence(name: str, /, **values: Any) -> str:
    """The answer's sentence called ``name`` with its values, in one line."""
    return filled(ANSWER, name, **values)


def filled(template: Path, name: str, /, **values: Any) -> str:
    """The sentence called ``name`` of ``template`` with its values, in one line."""
    return " ".join(str(getattr(_sentences(template), name)(**values)).split())


@functools.cache
def _sentences(template: Path) -> Any:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    loader = FileSystemLoader(template.parent, encoding="utf-8")
    # Text, which the page's own templates escape.
    environment = Environment(loader=loader, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    return environment.get_template(template.name).module
