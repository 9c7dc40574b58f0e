"""``genraven report``: a folder of runs as one page that begins with what to do."""

import argparse
import warnings
from collections.abc import Sequence
from dataclasses import replace

from genraven.console import say
from genraven.errors import InputError
from genraven.report.content import compose, default_examples
from genraven.report.page import Facts, Section
from genraven.report.question import Prices, Question
from genraven.report.runs import Run
from launch.runs.reading import read_runs
from launch.runs.status import runs_and_studies
from launch.trained.page_files import PageFiles


def report(options: argparse.Namespace) -> None:
    """Writes the page, its Markdown twin with the pictures, and prints the answer."""
    question = _question(options)  # refused before anything is read
    folders, kept = runs_and_studies(options.folder)
    files = PageFiles(options.out or options.folder / "report.html", overwrite=options.overwrite)
    runs, notes = read_runs(folders, kept, options.price)

    def ask(group: Sequence[Run]) -> Question:
        examples = options.examples or default_examples(group, question.of(group).metric) or 1
        noted = {run.price for run in group if run.price is not None}
        price = noted.pop() if len(noted) == 1 else None
        return replace(question, examples=examples, prices=replace(question.prices, device_hour=price))

    page = compose(runs, notes, ask, files.html.parent)
    written = files.write(page)
    for section in page.sections:
        if section.is_answer:
            say(_plain(section))
    say(written)
    for note in notes:
        warnings.warn(note, stacklevel=2)


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
