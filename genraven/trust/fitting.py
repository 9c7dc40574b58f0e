"""A calibration from labelled completions: which confidence is used, its thresholds, and what came of them.

N puzzles; scores (N,) and correct (N,) bool of each confidence, which keeps a candidate of its own.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from genraven.errors import InputError
from genraven.trust.calibration import ALL, Calibration, choose_score, choose_thresholds, count, fit_probability
from genraven.trust.risk import trustworthiness


@dataclass(frozen=True)
class Labelled:
    """Completions of N puzzles, and whether they are right."""

    scores: Mapping[str, NDArray[np.float64]]
    """(N,) of each confidence."""
    correct: Mapping[str, NDArray[np.bool_]]
    """(N,) of each confidence: is the candidate right that it keeps?"""
    rules: NDArray[np.str_]
    """(N,) names."""
    familiarity: NDArray[np.float64] | None = None
    """(N,) of what is given; None of a method that does not know it."""

    def __len__(self) -> int:
        return len(self.rules)

    def split(self, num: int) -> tuple["Labelled", "Labelled"]:
        """The first ``num`` puzzles and the others."""
        return self.take(slice(num)), self.take(slice(num, None))

    def take(self, part: slice | NDArray[np.int64]) -> "Labelled":
        """Some of the puzzles."""
        scores = {name: values[part] for name, values in self.scores.items()}
        correct = {name: values[part] for name, values in self.correct.items()}
        return Labelled(scores, correct, self.rules[part], None if self.familiarity is None else self.familiarity[part])


def calibrated(
    chosen: Labelled,
    tested: Labelled,
    *,
    model: str,
    completion: Mapping[str, Any],
    source: Mapping[str, Any],
    delta: float,
    per_rule: bool = False,
) -> Calibration:
    """Chooses score, thresholds and map of probability on ``chosen`` puzzles; counts on ``tested`` ones.

    Args:
        chosen: independent draws of the puzzles that the promise is about.
        tested: others.
        model: digest of its weights.
        completion: how the model completed.
        source: where the puzzles are from.
        delta: chance of a promise that does not hold.
        per_rule: promise it of each rule, not of their mix.

    Raises:
        InputError: no puzzles.
    """
    if not len(chosen) or not len(tested):
        raise InputError("expected puzzles to choose a confidence on and others to test it on, got none: give more "
                         "puzzles.")  # fmt: skip
    score, areas = choose_score(chosen.scores, chosen.correct)
    thresholds = choose_thresholds(chosen.scores[score])
    names = sorted({*tested.rules.tolist()})
    groups: Sequence[str] = names if per_rule else [ALL]
    knots = fit_probability(chosen.scores[score], chosen.correct[score])
    right = tested.correct[score]

    def counted(part: Labelled) -> Any:
        members = [part.rules == name if per_rule else np.ones(len(part), bool) for name in groups]
        return count(part.scores[score], part.correct[score], thresholds, members)

    return Calibration(
        model=model,
        completion=json.loads(json.dumps(completion)),
        source=json.loads(json.dumps(source)),
        rules={n: [int(right[tested.rules == n].sum()), int((tested.rules == n).sum())] for n in names},
        delta=delta,
        score=score,
        areas=areas,
        groups=tuple(groups),
        thresholds=thresholds,
        chosen=counted(chosen),
        tested=counted(tested),
        knots=knots,
        familiarity=() if tested.familiarity is None else tuple(np.sort(tested.familiarity).round(3).tolist()),
    )


def with_trust(calibration: Calibration, tested: Labelled) -> Calibration:
    """``calibration`` with what was measured on the ``tested`` puzzles, and the intervals, which take a while."""
    scores, correct = tested.scores[calibration.score], tested.correct[calibration.score]
    found = trustworthiness(scores, correct, calibration.probability(scores))
    return replace(calibration, trust=found.as_json())
