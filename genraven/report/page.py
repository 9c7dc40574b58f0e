"""A page of headings, paragraphs, lists, tables and pictures, as HTML that needs nothing else and as Markdown."""

import base64
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from markupsafe import Markup, escape

from genraven.escaping import address, file_stem, markdown, templates, visible
from genraven.outputs import COMMENT, MARK
from genraven.report.english import counted

HERE = Path(__file__).parent
WIDE = 48  # characters of a cell that may break its line
LONGEST_WHOLE = 36  # characters of a word of code that fits a line of 400 pixels


@dataclass(frozen=True)
class Text:
    """A paragraph of the page."""

    text: str
    kind: ClassVar[str] = "text"


@dataclass(frozen=True)
class Item:
    """A sentence, and the names of the runs it rests on."""

    text: str
    runs: Sequence[str] = ()
    is_command: bool = False
    """Is it to be typed as it stands?"""


@dataclass(frozen=True)
class Items:
    """A list of findings on the page."""

    items: Sequence[Item]
    kind: ClassVar[str] = "items"


@dataclass(frozen=True)
class Facts:
    """Sentences, each few under a word."""

    facts: Sequence[tuple[str, Sequence[Item]]]
    kind: ClassVar[str] = "facts"


@dataclass(frozen=True)
class Link:
    """A table's cell that leads somewhere."""

    text: str
    target: str
    """As ``address`` gives it."""


Cell = str | Link


@dataclass(frozen=True)
class Table:
    """Rows under their headings."""

    headings: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    caption: str = ""
    kind: ClassVar[str] = "table"


@dataclass(frozen=True)
class Panel:
    """One picture of the page, with its caption."""

    name: str
    """Tells it from the others of the page."""
    svg: str
    alt: str

    @property
    def file(self) -> str:
        """The name of its file, where it has one."""
        return f"{file_stem(self.name)}.svg"

    @property
    def source(self) -> str:
        """The picture itself, as an address."""
        return f"data:image/svg+xml;base64,{base64.b64encode(self.svg.encode()).decode()}"


@dataclass(frozen=True)
class Picture:
    """Panels side by side under one caption, which says what to see, and the same in numbers."""

    panels: Sequence[Panel]
    caption: str
    table: Table
    kind: ClassVar[str] = "picture"


Block = Text | Items | Facts | Picture | Table


@dataclass(frozen=True)
class Section:
    """Blocks under a heading; the answer stands out."""

    heading: str
    blocks: Sequence[Block]
    is_answer: bool = False


@dataclass(frozen=True)
class Page:
    """What is shown."""

    title: str
    sections: Sequence[Section]

    @property
    def panels(self) -> Iterator[Panel]:
        """All pictures of the page, in order."""
        for section in self.sections:
            for block in section.blocks:
                if isinstance(block, Picture):
                    yield from block.panels


def to_html(page: Page) -> str:
    """One file: style and pictures are within, nothing is loaded, nothing is run."""
    style = (HERE / "page.css").read_text(encoding="utf-8")
    return _render("page.html.jinja", page=page, style=style, mark=MARK, WIDE=WIDE)


def to_markdown(page: Page, pictures: str) -> str:
    """The same; ``pictures`` is the path of the folder of panels, from the Markdown file."""
    return _render("page.md.jinja", page=page, pictures=pictures) + f"\n{COMMENT}"


def _render(template: str, **values: object) -> str:
    environment = templates(HERE, in_markdown=".md" in template)
    environment.filters |= {"cell": _markdown_cell, "code": _markdown_code, "address": address, "counted": counted,
                            "prose": _html_prose, "command": _html_command}  # fmt: skip
    return environment.get_template(template).render(values)


def _html_prose(text: str) -> Markup:
    """``text`` of HTML; what stands between backticks is code."""
    return Markup(re.sub(r"`([^`]+)`", lambda found: html_code(found[1]), str(escape(text))))


def _html_command(text: str) -> Markup:
    return Markup(html_code(str(escape(text))))


def html_code(escaped: str) -> str:
    """Code of HTML from ``escaped`` text: each word that fits a narrow line is a span, which styles keep whole."""
    words = (f"<span>{word}</span>" if len(word) <= LONGEST_WHOLE else word for word in escaped.split())
    return f"<code>{' '.join(words)}</code>"


def _markdown_cell(cell: Cell) -> Markup:
    if not isinstance(cell, Link):
        return Markup(markdown(cell))
    return Markup(f"[{markdown(cell.text, brackets=True)}]({cell.target})")


def _markdown_code(text: str) -> Markup:
    return Markup(markdown(text) if "`" in text else f"`{visible(text)}`")
