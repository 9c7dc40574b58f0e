"""The page's part on trust: which model knows when it is wrong."""

from collections.abc import Sequence

from genraven.report.page import Block, Table
from genraven.report.points import Variant
from genraven.report.trust import HEADINGS, trust_cells


def certainty(variants: Sequence[Variant]) -> list[Block]:
    """Every run that was calibrated."""
    rows = [
        [variant.label, f"{n:,}", run.name, *trust_cells(run.trust)]
        for variant in variants
        for n, point in variant.points.items()
        for run in point.runs
        if run.trust
    ]
    caption = ("What `genraven calibrate` measured on puzzles of its own. Risk: the share of wrong ones among the "
               "completions that a model is surest of; its area over all shares is best at 0. Knows: 1 for a model "
               "that tells all its wrong completions from its right ones, 0 for one that can tell nothing. "
               "Accepted: the share that may go unseen, with a promise on the errors among it.")  # fmt: skip
    return [Table(["model", "examples per rule", "run", *HEADINGS], rows, caption)] if rows else []
