"""Names that somebody else chose, made safe for each place that they go to. Imports nothing heavy.

Folders, files, architectures and reasons may be called anything: with a line break, which a job script would run; with
codes that move a terminal's cursor; with what a page takes for a link or for markup. Elsewhere: `shlex.quote` within
a line of a shell; a page of HTML escapes by itself, as `templates` makes it.
"""

import hashlib
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

if TYPE_CHECKING:
    from jinja2 import Environment

MOST_SHOWN = 2000
"""Characters of a name or a reason that are shown."""
_MOST_STEM = 80
_RAW = range(0xDC80, 0xDD00)  # bytes that are no UTF-8, as Python has them in names of files
_MARKS = r"[\\*<|]|^\s*[#>+-](?=\s)|(?<![^\W_])_|_(?![^\W_])"
"""What Markdown takes for more than text; an underscore only where it does."""
_TEXT, _LINK = re.compile(rf"{_MARKS}|\](?=[(\[:])"), re.compile(rf"{_MARKS}|[\[\]]")


def plain(text: object, most: int = MOST_SHOWN) -> str:
    r"""``text`` in one line of characters that can be seen, the others as ``\n``, ``\x1b``, ``\u202e``; cut if long."""
    shown = str(text)
    shown = shown if len(shown) <= most else f"{shown[: most - 3]}..."
    return visible(shown)


def visible(text: str, *, keep: str = "") -> str:
    """``text``, however long, in characters that can be seen, and those to ``keep``."""
    if text.isprintable():
        return text
    with suppress(UnicodeEncodeError):  # names in UTF-8, where Python takes those of files to be of another kind
        text = text.encode("utf-8", "surrogateescape").decode("utf-8", "surrogateescape")
    return "".join(char if char.isprintable() or char in keep else _code(char) for char in text)


def visible_lines(text: object) -> str:
    """``text`` with its line breaks and tabs, all else in characters that can be seen."""
    return visible(str(text), keep="\n\t")


def _code(char: str) -> str:
    if ord(char) in _RAW:
        return f"\\x{ord(char) - 0xDC00:02x}"
    return char.encode("unicode_escape", "surrogatepass").decode()


def markdown(text: object, *, brackets: bool = False) -> str:
    """``text`` as plain text of Markdown, also within a table; with ``brackets`` escaped, within those of a link."""
    marks = _LINK if brackets else _TEXT
    return marks.sub(lambda found: f"{found[0][:-1]}\\{found[0][-1]}", visible(str(text)))


def address(path: str | Path) -> str:
    """The relative address of a file beside a page: with neither a scheme, as of ``javascript:x``, nor a host."""
    return quote(os.fsencode(Path(path).as_posix())).lstrip("/")


def file_stem(text: str) -> str:
    """``text`` as a name of a file without its end: within any folder, not hidden, not too long, and its own."""
    stem = re.sub(r"[^\w+ -]+", "_", text, flags=re.ASCII)[:_MOST_STEM]
    digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
    return stem if stem == text else f"{stem}-{digest[:8]}"


@contextmanager
def plain_texts() -> Iterator[None]:
    """Within the block, matplotlib takes texts for no mathematics."""
    import matplotlib as mpl

    with mpl.rc_context({"text.parse_math": False}):
        yield


def templates(folder: Path, *, in_markdown: bool = False) -> "Environment":
    """The templates in ``folder``, of HTML or of Markdown, in which no value is more than the text it shows.

    What is to be more is marked so by ``|safe`` in a template, or is a ``markupsafe.Markup``.
    """
    from jinja2 import Environment, FileSystemLoader, StrictUndefined
    from markupsafe import Markup

    def finished(value: Any) -> Any:
        if not isinstance(value, str) or isinstance(value, Markup):
            return value
        return Markup(markdown(value)) if in_markdown else visible(value)

    return Environment(
        loader=FileSystemLoader(folder, encoding="utf-8"), autoescape=True, undefined=StrictUndefined,
        finalize=finished, trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True,
    )  # fmt: skip
