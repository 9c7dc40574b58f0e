"""What mkdocs does before and while it builds the site.

It makes the pages of our studies, each by `genraven report`, turns links into the repository to the site, and lets
every page be read on a narrow screen.
"""

import re
from pathlib import Path
from typing import Any

from genraven.report.page import html_code
from launch.cli import main

_CODE = re.compile(r"<pre\b.*?</pre>|<code>([^<]+)</code>", re.DOTALL)
_PICTURE = re.compile(r"<a\b.*?</a>|(<img\b[^>]*?\bsrc=\"([^\"]+)\"[^>]*>)", re.DOTALL)
_NUMBER = re.compile(r"<(pre|code)\b.*?</\1>|<[^>]*>|(?<=\d) (?=\d{3}\b|[kM]\b)", re.DOTALL)


def _changed(path: Path) -> float:
    return path.stat().st_mtime


def on_pre_build(config: Any) -> None:
    """Makes pages that are not there, or older than their tables."""
    for runs in sorted(Path(config["docs_dir"]).glob("study/*/runs.jsonl")):
        page = runs.with_name("report.md")
        if page.exists() and page.stat().st_mtime > max(map(_changed, runs.parent.glob("*s.[cj]s*"))):
            continue
        if main(["report", str(runs.parent)]):
            raise SystemExit(f"no page of {runs.parent}")


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """``markdown`` whose links into RESULTS.md, which are right in a clone, lead to the site's page of it."""
    up = "../" * page.file.src_uri.count("/")
    return markdown.replace(f"]({up}../RESULTS.md", f"]({up}results.md")


def on_page_content(html: str, **_: Any) -> str:
    """``html`` whose lines break neither within an option nor within a number, and whose pictures open in full size."""
    html = _CODE.sub(lambda found: html_code(found[1]) if found[1] else found[0], html)
    html = _PICTURE.sub(lambda found: f'<a href="{found[2]}">{found[1]}</a>' if found[1] else found[0], html)
    return _NUMBER.sub(lambda found: "\u00a0" if found[0] == " " else found[0], html)
