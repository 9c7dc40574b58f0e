"""``genraven advise``: the answer on the screen, and as a page."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from genraven.console import say
from genraven.report.page import Facts, Item, Page, Section, Text
from genraven.report.question import Question
from launch.advice import words
from launch.advice.answer import Answer, advise
from launch.advice.asked import RulesAsked
from launch.advice.check import Check
from launch.trained.page_files import PageFiles


def advise_command(options: argparse.Namespace) -> None:
    """Prints what the evidence says, and writes it with ``--out``, the Markdown beside it."""
    files = PageFiles(options.out, overwrite=options.overwrite) if options.out is not None else None
    found = advise(options.goal, examples=options.examples, growth=options.growth, held_out=options.held_out,
                   rules=rules_asked(options.rules), prior=options.prior, budget=options.budget,
                   evidence=options.evidence, check=options.check)  # fmt: skip
    written = files.write(page(found, files.html.parent)) if files else ""
    say(str(found))
    if written:
        say(written)


def rules_asked(words: Sequence[str] | None) -> RulesAsked | None:
    """One number is how many; all else is as ``data.rules`` names rules, also as YAML has a list of them."""
    if words is None:
        return None
    listed = " ".join(words).strip("[]").replace(",", " ").split()
    numbers = [int(word) if word.removeprefix("-").isdecimal() else None for word in listed]
    if len(listed) == 1:
        return listed[0] if numbers[0] is None else numbers[0]
    return [word if number is None else number for word, number in zip(listed, numbers, strict=True)]


def page(found: Answer, home: Path) -> Page:
    """The answer as a page in the folder ``home``; with a check what that measured, too."""
    facts = [(word, [Item(text, is_command=texts is found.commands) for text in texts]) for word, texts in found.parts]
    sections = [Section(found.heading, [Facts(facts)], is_answer=True)]
    if found.check:
        sections += _measured(found.check, found.asked.question, home)
    return Page(words.said("title", with_check=bool(found.check)), sections)


def _measured(check: Check, question: Question, home: Path) -> list[Section]:
    """All that the report shows of the check's runs, but for an answer."""
    from genraven.report.content import compose  # brings matplotlib

    shown = compose(check.runs, [], lambda runs: question, home).sections
    opening = Section(words.said("measured_here"), [Text(words.said("measured_alone"))])
    return [opening, *(section for section in shown if not section.is_answer)]
