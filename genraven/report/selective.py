"""The page's part on selective prediction: which model knows when it is wrong."""

from collections.abc import Sequence

from genraven.report.english import headings, sentence
from genraven.report.page import Block, Table
from genraven.report.points import Variant
from genraven.report.trust import FILES, MAX_ERRORS, Trust


def selective(variants: Sequence[Variant]) -> list[Block]:
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
    accepted = [sentence("accepted", max_error=f"{max_error:.0%}") for max_error in MAX_ERRORS]
    measured = [[*names, *trust_cells(trust)] for names, trust in calibrated]
    files = [sentence("file_of", num=num) for num in FILES]
    seen = [[*names, *trust.sight.values()] for names, trust in calibrated]
    return [
        Table(headings("selective", accepted), measured, sentence("selective")),
        Table(headings("sight", files), seen, sentence("sight")),
    ]


def trust_cells(trust: Trust) -> list[str]:
    """The score, area with its interval, knowledge, calibration error, fractions accepted at ``MAX_ERRORS``."""
    known = trust.knowledge
    accepted = (trust.accepted.get(max_error) for max_error in MAX_ERRORS)
    return [
        trust.score,
        str(trust.area),
        "-" if known is None else f"{known:.2f}",
        f"{trust.calibration_error:.3f}",
        *("-" if fraction is None else f"{fraction:.0%}" for fraction in accepted),
    ]
