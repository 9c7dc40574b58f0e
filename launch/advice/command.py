"""``genraven advise``: the answer on the screen, and as a page."""

import argparse

from genraven.console import say
from genraven.errors import InputError
from genraven.outputs import Outputs, with_suffix
from genraven.report.page import Facts, Item, Page, Section, to_html, to_markdown
from launch.advice import words
from launch.advice.answer import Answer, advise


def advise_command(options: argparse.Namespace) -> None:
    """Prints what the evidence says, and writes it with ``--out``, the Markdown beside it."""
    if options.examples is None:
        raise InputError("expected --examples, how many you have of each rule, got none: add it, such as 400.")
    found = advise(options.goal, examples=options.examples, growth=options.growth, held_out=options.held_out,
                   rules=options.rules, prior=options.prior, budget=options.budget,
                   evidence=options.evidence)  # fmt: skip
    if options.out is not None:
        twin, outputs = with_suffix(options.out, ".md", "--out"), Outputs(overwrite=options.overwrite)
        outputs.add(options.out, "--out", suffixes=[".html"])
        outputs.add(twin, "the Markdown beside --out")
        with outputs:
            outputs[options.out].write_text(to_html(page(found)), encoding="utf-8")
            outputs[twin].write_text(to_markdown(page(found), ""), encoding="utf-8")
    say(str(found))
    if options.out is not None:
        say(f"{options.out}\n{twin}")


def page(found: Answer) -> Page:
    """The answer as a page."""
    facts = [(word, [Item(text) for text in texts]) for word, texts in found.parts]
    return Page(words.said("title"), [Section(found.headline, [Facts(facts)], is_answer=True)])
