"""The files of a page: refused before anything is read, written together."""

from pathlib import Path

from genraven.outputs import COMMENT, Outputs, has_mark, with_suffix
from genraven.report.page import Page, to_html, to_markdown


class PageFiles:
    """The HTML, the Markdown beside it, and the pictures of the Markdown in a folder beside both.

    Args:
        out: the HTML file.
        overwrite: whether files that are not ours may be replaced.

    Raises:
        InputError: one of them cannot be written.
    """

    def __init__(self, out: Path, *, overwrite: bool) -> None:
        self.html, self.markdown = out, with_suffix(out, ".md", "--out")
        self.pictures = out.parent / f"{out.stem}_figures"
        self._outputs = Outputs(overwrite=overwrite)
        self._outputs.add(self.html, "--out", suffixes=[".html"])
        self._outputs.add(self.markdown, "the Markdown beside --out")

    def write(self, page: Page) -> str:
        """All of ``page``; pictures of an earlier one go.

        Returns:
            Where it is, in lines.
        """
        places = {self._outputs.add(self.pictures / panel.file, "a picture beside --out"): panel
                  for panel in page.panels}  # fmt: skip
        for old in sorted({*self.pictures.glob("*.svg")} - {*places}):
            if has_mark(old):
                self._outputs.add_stale(old, "a picture beside --out")
        with self._outputs:
            for path, panel in places.items():
                self._outputs[path].write_text(panel.svg + COMMENT, encoding="utf-8")
            self._outputs[self.html].write_text(to_html(page), encoding="utf-8")
            self._outputs[self.markdown].write_text(to_markdown(page, self.pictures.name), encoding="utf-8")
        return f"{self.html}\n{self.markdown}"
