"""A page of headings, paragraphs, lists, tables and pictures, as HTML that needs nothing else and as Markdown."""

import base64
import html
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

CSS = Path(__file__).with_name("page.css")


@dataclass(frozen=True)
class Text:
    """A paragraph."""

    text: str


@dataclass(frozen=True)
class Items:
    """A list; each item with the names it cites."""

    items: Sequence[tuple[str, Sequence[str]]]


@dataclass(frozen=True)
class Panel:
    """One picture."""

    name: str
    """Of its file, where it has one."""
    svg: str
    alt: str


@dataclass(frozen=True)
class Picture:
    """Panels side by side under one caption, which says what to see."""

    panels: Sequence[Panel]
    caption: str


@dataclass(frozen=True)
class Link:
    """A table's cell that leads somewhere."""

    text: str
    target: str


Cell = str | Link


@dataclass(frozen=True)
class Table:
    """Rows under their headings."""

    headings: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    caption: str = ""


Block = Text | Items | Picture | Table


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


def panels(page: Page) -> list[Panel]:
    """All pictures of ``page``."""
    return [
        panel
        for section in page.sections
        for block in section.blocks
        if isinstance(block, Picture)
        for panel in block.panels
    ]


def to_html(page: Page) -> str:
    """One file: style and pictures are within, nothing is loaded, nothing is run."""
    title = html.escape(page.title)
    body = "\n".join(_section(section) for section in page.sections)
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<link rel="icon" href="data:,">
<title>{title}</title>
<style>
{CSS.read_text()}</style>
</head>
<body>
<h1>{title}</h1>
{body}
</body>
</html>
"""


def _section(section: Section) -> str:
    kind = ' class="answer"' if section.is_answer else ""
    inner = "\n".join(_block(block) for block in section.blocks)
    return f"<section{kind}>\n<h2>{html.escape(section.heading)}</h2>\n{inner}\n</section>"


def _block(block: Block) -> str:
    if isinstance(block, Text):
        return f"<p>{html.escape(block.text)}</p>"
    if isinstance(block, Items):
        items = "\n".join(f"<li>{html.escape(text)}{_cites(cited)}</li>" for text, cited in block.items)
        return f"<ul>\n{items}\n</ul>"
    if isinstance(block, Picture):
        images = "\n".join(_image(panel) for panel in block.panels)
        caption = html.escape(block.caption)
        return f'<figure>\n<div class="panels">\n{images}\n</div>\n<figcaption>{caption}</figcaption>\n</figure>'
    head = "".join(f'<th scope="col">{html.escape(heading)}</th>' for heading in block.headings)
    rows = "\n".join(f"<tr>{''.join(map(_cell, row))}</tr>" for row in block.rows)
    caption = f"<caption>{html.escape(block.caption)}</caption>" if block.caption else ""
    table = f"<table>{caption}<thead><tr>{head}</tr></thead>\n<tbody>\n{rows}\n</tbody></table>"
    return f'<div class="scroll" tabindex="0">{table}</div>'


def _cites(names: Sequence[str]) -> str:
    return f' <span class="cites">[{html.escape(", ".join(names))}]</span>' if names else ""


def _image(panel: Panel) -> str:
    data = base64.b64encode(panel.svg.encode()).decode()
    return f'<img alt="{html.escape(panel.alt)}" src="data:image/svg+xml;base64,{data}">'


def _cell(cell: Cell) -> str:
    if isinstance(cell, Link):
        return f'<td><a href="{html.escape(cell.target)}">{html.escape(cell.text)}</a></td>'
    kind = ' class="wide"' if len(cell) > 48 else ""
    return f"<td{kind}>{html.escape(cell)}</td>"


def to_markdown(page: Page, pictures: str) -> str:
    """The same; ``pictures`` is the path of the folder of panels, from the Markdown file."""
    parts = [f"# {page.title}"]
    for section in page.sections:
        parts.append(f"## {section.heading}")
        parts += [_markdown(block, pictures) for block in section.blocks]
    return "\n\n".join(parts) + "\n"


def _markdown(block: Block, pictures: str) -> str:
    if isinstance(block, Text):
        return block.text
    if isinstance(block, Items):
        return "\n".join(f"- {text}" + (f" [{', '.join(cited)}]" if cited else "") for text, cited in block.items)
    if isinstance(block, Picture):
        images = " ".join(f"![{panel.alt}]({pictures}/{panel.name}.svg)" for panel in block.panels)
        return f"{images}\n\n{block.caption}"
    lines = [_row(block.headings), _row(["---"] * len(block.headings)), *map(_row, block.rows)]
    return (f"{block.caption}\n\n" if block.caption else "") + "\n".join(lines)


def _row(cells: Sequence[Cell]) -> str:
    shown = [f"[{cell.text}]({cell.target})" if isinstance(cell, Link) else cell.replace("|", "\\|") for cell in cells]
    return f"| {' | '.join(shown)} |"
