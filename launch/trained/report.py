"""``genraven report``: a folder of runs as one page that begins with what to do."""

import argparse
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from genraven.console import say
from genraven.errors import InputError
from genraven.outputs import COMMENT, Outputs, has_mark, with_suffix
from genraven.report.content import compose, default_examples
from genraven.report.page import Facts, Section, to_html, to_markdown
from genraven.report.question import Prices, Question
from genraven.report.runs import Run
from launch.runs.reading import read_runs
from launch.runs.status import runs_and_studies


def report(options: argparse.Namespace) -> None:
    """Writes the page, its Markdown twin with the pictures, and prints the answer."""
    question = _question(options)  # refused before anything is read
    folders, kept = runs_and_studies(options.folder)
    out = options.out or options.folder / "report.html"
    twin, pictures = with_suffix(out, ".md", "--out"), out.parent / f"{out.stem}_figures"
    outputs = Outputs(overwrite=options.overwrite)
    outputs.add(out, "--out", suffixes=[".html"])
    outputs.add(twin, "the Markdown beside --out")
    runs, notes = read_runs(folders, kept, options.price)

    def ask(group: Sequence[Run]) -> Question:
        examples = options.examples or default_examples(group, question.of(group).metric) or 1
        noted = {run.price for run in group if run.price is not None}
        price = noted.pop() if len(noted) == 1 else None
        return replace(question, examples=examples, prices=replace(question.prices, device_hour=price))

    page = compose(runs, notes, ask, out.parent)
    places = {outputs.add(pictures / panel.file, "a picture beside --out"): panel for panel in page.panels}
    for old in sorted({*pictures.glob("*.svg")} - {*places}):
        if has_mark(old):  # of an earlier page
            outputs.add_stale(old, "a picture beside --out")
    with outputs:
        for path, panel in places.items():
            _write(outputs[path], panel.svg + COMMENT)
        _write(outputs[out], to_html(page))
        _write(outputs[twin], to_markdown(page, pictures.name))
    for section in page.sections:
        if section.is_answer:
            say(_plain(section))
    say(f"{out}\n{twin}")


def _question(options: argparse.Namespace) -> Question:
    if options.examples is not None and options.examples < 1:
        raise InputError(f"expected --examples above 0, got {options.examples}.")
    prices = Prices(options.price, options.puzzles_per_year, options.review_price)
    return Question(options.goal, options.examples or 1, options.growth, options.budget,
                    in_money=options.price is not None, prices=prices)  # fmt: skip


def _plain(section: Section) -> str:
    """The answer on the screen."""
    lines = [section.heading]
    for block in section.blocks:
        if isinstance(block, Facts):
            lines += [f"{word}: {item.text}" for word, items in block.facts for item in items]
    return "\n".join(lines)


def _write(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8")
