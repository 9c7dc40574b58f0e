"""Names that somebody else chose are text wherever they go."""

import os
from pathlib import Path
from urllib.parse import unquote_to_bytes, urlsplit

import pytest
from markdown_it import MarkdownIt
from markupsafe import Markup

from genraven.escaping import MOST_SHOWN, address, file_stem, markdown, plain, templates, visible_lines

TEXTS = (
    "a*b*c", "**a**", "_a_", "a_b", "`a` b", "[a](b)", "![a](b)", "[a]", "a](b)", "[a]: b", "<b>a</b>", "<a:b>",
    "a|b|c", "\\*a\\*", "\\", "a\\", "# a", "> a", "- a", "+ a", "--- a", "&lt;b&gt;", "0.1 [0.0, 0.2]", "café ₂ 漢字",
)  # fmt: skip


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("SiT-S, 24 k", "SiT-S, 24 k"), ("a\nb", r"a\nb"), ("\x1b[2J\x07", r"\x1b[2J\x07"),
        ("\u202ea\u2028", r"\u202ea\u2028"),
        (os.fsdecode(b"caf\xe9"), r"caf\xe9"), ("\ud800", r"\ud800"), ("\x9b31m", r"\x9b31m"), (Path("a b"), "a b"),
        ("\udcc3\udcbcbung", "übung"),
    ],
)  # fmt: skip
def test_what_cannot_be_seen_is_shown_by_its_number(text: object, shown: str) -> None:
    assert plain(text) == shown
    assert plain(text).isprintable()


def test_long_names_are_cut_and_lines_stay() -> None:
    assert len(plain("x" * 10**6)) == MOST_SHOWN
    assert visible_lines("a\n\x1bb\n") == "a\n\\x1bb\n"


@pytest.mark.parametrize("text", TEXTS)
@pytest.mark.parametrize("brackets", [False, True])
def test_markdown_shows_the_text_itself(text: str, brackets: bool) -> None:
    """As an independent parser reads it; our own sentences may have a word in code."""
    escaped = markdown(text, brackets=brackets)
    (_, line, _) = MarkdownIt().parse(f"a {escaped} b")
    kinds = {token.type for token in line.children or ()} - ({"code_inline"} if "`" in text else {"text_special"})
    assert kinds == {"text"}
    if "`" not in text and "&" not in text:
        assert "".join(token.content for token in line.children or ()) == f"a {text} b"
    begun = [token.type for token in MarkdownIt().parse(escaped)]
    assert begun == ["paragraph_open", "inline", "paragraph_close"]
    table = MarkdownIt().enable("table").parse(f"| x | y |\n| --- | --- |\n| {escaped} | z |\n")
    assert [token.type for token in table].count("td_open") == 2
    linked = MarkdownIt().parseInline(f"[{markdown(text, brackets=True)}](c)")[0].children or ()
    assert [token.attrGet("href") for token in linked if token.type == "link_open"] == ["c"]


@pytest.mark.parametrize("path", ["a/b", "javascript:x", "a b(c)#d?e", os.fsdecode(b"\xe9"), "//host"])
def test_addresses_have_no_scheme_and_no_host(path: str) -> None:
    parts = urlsplit(address(path))
    assert (parts.scheme, parts.netloc, parts.query, parts.fragment) == ("", "", "", "")
    assert os.fsdecode(unquote_to_bytes(address(path))) == str(Path(path)).lstrip("/")


def test_names_of_files_stay_within_their_folder() -> None:
    names = [
        "rules-GPT-2",
        "rules-SiT one-hot",
        "a/b",
        "a_b",
        "../../etc",
        "x" * 500,
        "x" * 501,
        "a\nb",
        ".hidden",
        "\ud800",
    ]
    stems = [file_stem(name) for name in names]
    assert stems[:2] == names[:2]
    assert len(set(stems)) == len(names)
    for stem in stems:
        assert (
            stem.isprintable() and stem.isascii() and "/" not in stem and not stem.startswith(".") and len(stem) < 100
        )


@pytest.mark.parametrize("in_markdown", [False, True])
def test_values_in_a_template_are_text(tmp_path: Path, in_markdown: bool) -> None:
    (tmp_path / "page").write_text("{% macro m(x) %}<i>{{ x }}</i>{% endmacro %}{{ m(text) }} {{ kept }} {{ 0.5 }}")
    page = templates(tmp_path, in_markdown=in_markdown).get_template("page")
    shown = page.render(text="<b>\x1b", kept=Markup("<u>"))
    expected = r"\<b>\\x1b" if in_markdown else r"&lt;b&gt;\x1b"
    assert shown == f"<i>{expected}</i> <u> 0.5"
