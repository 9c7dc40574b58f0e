"""English stands in templates, a macro a sentence; here it is filled in, and here numbers are written.

The report's is ``answer.txt.jinja``, ``evidence.txt.jinja`` and, around both, ``page.txt.jinja``.
"""

import functools
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

ANSWER, EVIDENCE, PAGE = TEMPLATES = tuple(
    Path(__file__).with_name(f"{name}.txt.jinja") for name in ("answer", "evidence", "page")
)
DASH = "–"


def sentence(name: str, /, **values: Any) -> str:
    """The report's sentence called ``name`` with its values, in one line."""
    return filled(next(template for template in TEMPLATES if name in _macros(template)), name, **values)


def filled(template: Path, name: str, /, **values: Any) -> str:
    """The sentence called ``name`` of ``template`` with its values, in one line."""
    return " ".join(str(_macros(template)[name](**values)).split())


def headings(name: str, /, *columns: Iterable[str]) -> list[str]:
    """Those of the table called ``name``; each star in the template stands for the next ``columns``."""
    more = iter(columns)
    named = (heading.strip() for heading in sentence(f"{name}_headings").split("|"))
    return [one for heading in named for one in (next(more) if heading == "*" else [heading])]


def counted(number: object, noun: str, nouns: str = "") -> str:
    """``1 run``, ``2 runs``, ``1,000 runs``: of a number, or of what stands for one, and of what is counted."""
    written = f"{number:,}" if isinstance(number, int) else str(number)
    return f"{written} {noun if written == '1' else nouns or f'{noun}s'}"


def count(number: float | None) -> str:
    """A whole number; a dash where it is missing."""
    return DASH if number is None else f"{number:,.0f}"


def shown(value: object) -> str:
    """A score in a table; a dash where it is missing."""
    return DASH if value is None else str(value)


def short(value: float) -> str:
    """``400``, ``10k``, ``1.2M``; small numbers with two digits."""
    for factor, letter in ((1e18, "E"), (1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= factor:
            return f"{value / factor:.3g}{letter}"
    return f"{value:.2g}" if value < 100 else f"{value:.0f}"


def hours(device_hours: float) -> str:
    """Two digits, or all before the point."""
    return f"{device_hours:.2g}" if device_hours < 10 else f"{device_hours:,.0f}"


def span(numbers: Sequence[str]) -> str:
    """From the first to the last, once where they are one."""
    return sentence("span", ends=list(dict.fromkeys((numbers[0], numbers[-1]))))


def first_upper(text: str) -> str:
    """``text`` as the beginning of a sentence."""
    return text[:1].upper() + text[1:]


@functools.cache
def _macros(template: Path) -> dict[str, Any]:
    """The macros of all templates by name."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    loader = FileSystemLoader(template.parent, encoding="utf-8")
    # Text, which the page's own templates escape.
    environment = Environment(loader=loader, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters |= {"counted": counted, "first_upper": first_upper}
    return vars(environment.get_template(template.name).module)
