"""The page's parts on trust: which model knows when it is wrong, and what wrong cells do to it."""

from collections.abc import Sequence

from genraven.report.page import Block, Table
from genraven.report.points import Point, Variant
from genraven.report.quality import DASH, shown
from genraven.report.trust import FILES, HEADINGS, trust_cells


def certainty(variants: Sequence[Variant]) -> list[Block]:
    """Every run that was calibrated, and what the check of its promise can see."""
    calibrated = [
        ([variant.label, f"{n:,}", run.name], run.trust)
        for variant in variants
        for n, point in variant.points.items()
        for run in point.runs
        if run.trust
    ]
    if not calibrated:
        return []
    caption = ("What `genraven calibrate` measured on puzzles of its own. Risk: the share of wrong ones among the "
               "completions that a model is surest of; its area over all shares is best at 0. Knows: 1 for a model "
               "that tells all its wrong completions from its right ones, 0 for one that can tell nothing. "
               "Accepted: the share that may go unseen of puzzles like those, with a promise on the errors among "
               "it.")  # fmt: skip
    about_sight = ("The promise is of puzzles like those of the calibration alone. Whether others come is checked of "
                   "each file as a whole, by how likely the model finds what is given: what that check can see, as "
                   "measured when the run was calibrated.")  # fmt: skip
    of_run = ["model", "examples per rule", "run"]
    files = [f"a file of {num} puzzle{'s' * (num != 1)}" for num in FILES]
    return [
        Table([*of_run, *HEADINGS], [[*names, *trust_cells(trust)] for names, trust in calibrated], caption),
        Table([*of_run, *files], [[*names, *trust.sight.values()] for names, trust in calibrated], about_sight),
    ]


def spoilt_givens(variants: Sequence[Variant]) -> list[Block]:
    """Completion by the share of given cells that were spoilt, where that was asked."""
    points = [(variant.label, n, point) for variant in variants for n, point in variant.points.items()]
    asked = sorted({r.given_corruption for _, _, point in points for run in point.runs for r in run.results})
    if asked in ([], [0.0]):
        return []
    rows = [[name, f"{n:,}", *(_completion_of(point, share) for share in asked)] for name, n, point in points]
    caption = ("Completion where this share of all cells was replaced by another content before a model saw them; the "
               "panel that it wrote is scored in its place in the whole puzzle.")  # fmt: skip
    return [Table(["model", "examples per rule", *(f"{share:.1%} spoilt" for share in asked)], rows, caption)]


def _completion_of(point: Point, share: float) -> str:
    """The mean over repeats, each at its last step by its own decoding; a dash where one lacks it."""
    found = {
        run.name: one
        for run, final in zip(point.runs, point.results, strict=True)
        for one in run.results
        if (one.given_corruption, one.split, one.step, one.decoding) == (share, final.split, final.step, final.decoding)
    }
    at = point.at(found)
    return DASH if at is None else shown(at.interval("completion"))
