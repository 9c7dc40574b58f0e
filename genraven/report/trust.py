"""Which model knows when it is wrong: what the calibrations of runs say, side by side."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from genraven.errors import InputError
from genraven.metrics.intervals import Interval
from genraven.report.statistics import mean_of_all

MAX_ERRORS = (0.05, 0.1)
MAX_ERROR = MAX_ERRORS[0]
"""Fraction of wrong ones among accepted completions, at which reviews are reckoned."""
FILES = (1, 20)
"""Puzzles in the files of which is said what the check can see."""


@dataclass(frozen=True)
class Trust:
    """What a run's calibration measured, on its calibration puzzles."""

    score: str
    """The confidence that was chosen."""
    area: Interval
    """Under the curve of risk against coverage."""
    random_area: float
    """That of scores that say nothing: the fraction of wrong completions."""
    best_area: float
    calibration_error: float
    accepted: Mapping[float, float]
    """The accepted fraction, by the promised fraction of wrong ones among those, where it can be promised."""
    weights: str = ""
    """Digest of those that were calibrated."""
    digest: str = ""
    """Of its file, as results have it that were made with it."""
    seconds: float | None = None
    """Device-seconds that a puzzle takes, completed as it was calibrated: several candidates, and their confidence.
    None where that was not timed."""
    sight: Mapping[int, str] = field(default_factory=dict)
    """What the check whether puzzles are like those of the calibration can see, by the puzzles in a file, in words."""

    @property
    def knowledge(self) -> float | None:
        """How well the score separates wrong completions from right ones: 0 if it says nothing, 1 if it separates them
        all. None where all are right, or all are wrong.
        """
        span = self.random_area - self.best_area
        return None if span <= 0 else (self.random_area - self.area.value) / span


def read_trust(text: str, place: Path, max_errors: tuple[float, ...] = MAX_ERRORS) -> Trust:
    """Of the ``text`` of a calibration's file, which stands in ``place``.

    Raises:
        InputError: it was edited, or is of another version.
    """
    from genraven.trust.calibration import Calibration  # which needs torch: seconds that most reports can do without
    from genraven.trust.power import NOT_CHECKED, Sight

    found, digest = Calibration.parse(text, place), text_digest(text.encode())
    accepted = {}
    for max_error in max_errors:
        try:
            accepted[max_error] = found.promise(max_error).expected_share
        except InputError:  # too few puzzles for this one: absent, not 0
            continue
    area, error = found.trust["area"], found.trust["calibration_error"]
    return Trust(
        found.score,
        Interval(area["value"], *area["interval95"]),
        found.trust["random_area"],
        found.trust["best_area"],
        error["value"],
        accepted,
        found.model,
        digest,
        sight={num: str(Sight.of(found, num)) if found.familiarity else NOT_CHECKED for num in FILES},
    )


def file_digest(calibration: Path) -> str:
    """12 hex digits of a calibration's file."""
    return text_digest(calibration.read_bytes())


def text_digest(text: bytes) -> str:
    """The same, of what stands in it."""
    return hashlib.sha256(text).hexdigest()[:12]


def fraction_to_review(trusts: Sequence[Trust | None], max_error: float = MAX_ERROR) -> float | None:
    """The mean over repeats of what is not accepted at ``max_error``; None where one does not say."""
    accepted = mean_of_all([None if trust is None else trust.accepted.get(max_error) for trust in trusts])
    return None if accepted is None else 1 - accepted


def seconds_to_write(trusts: Sequence[Trust | None]) -> float | None:
    """The mean over repeats of what a puzzle takes that is completed to be accepted or reviewed; None as above."""
    return mean_of_all([None if trust is None else trust.seconds for trust in trusts])
