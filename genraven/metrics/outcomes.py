"""Each evaluation puzzle's own outcome, so that runs on the same puzzles can be compared one by one.

N evaluation puzzles, in batches that processes deal out.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from genraven.metrics.completion import asked_and_held
from genraven.metrics.memorization import TrainingIndex, is_novel
from genraven.metrics.table import COMPLETED, GENERATED, SCORES
from genraven.puzzles.rules import row_rules, shared_rules

Flags = NDArray[np.bool_]


@dataclass(frozen=True)
class BatchOutcomes:
    """What became of each puzzle of one batch."""

    place: int
    """Number of the batch."""
    rules: NDArray[np.int64]
    """Of the completed puzzles that were asked for a rule."""
    completed: dict[str, Flags]
    """Of the same: ``completion``, whether it holds, and what the table of scores says of each."""
    generated: dict[str, Flags]
    """Of the generated puzzles: ``c3``, ``novel_c3`` where there is a training set, and what the table says of each."""


def outcomes(
    place: int, completed: Tensor, rules: Tensor, generated: Tensor, index: TrainingIndex | None
) -> BatchOutcomes:
    """Of ``completed`` puzzles (B, 3, 9, 9) made by ``rules`` (B,), and of ``generated`` ones (B, 3, 9, 9)."""
    asked, held = asked_and_held(completed, rules)
    flags = {"c3": shared_rules(row_rules(generated)) != 0}
    if index is not None:
        flags["novel_c3"] = is_novel(generated, index)
    of_completed = {"completion": held[asked]} | _of_each(COMPLETED, completed[asked])
    flags |= _of_each(GENERATED, generated)
    arrays = [{name: found.cpu().numpy() for name, found in part.items()} for part in (of_completed, flags)]
    return BatchOutcomes(place, rules[asked].cpu().numpy(), *arrays)


def _of_each(over: str, puzzles: Tensor) -> dict[str, Tensor]:
    """(B,) bool of each fraction that the table counts by a function of ``puzzles`` (B, 3, 9, 9)."""
    return {
        name: score.of(puzzles)
        for name, score in SCORES.items()
        if score.of_each is not None and score.kind == "fraction" and score.counted_over == over
    }


def in_order(parts: list[BatchOutcomes]) -> dict[str, Flags]:
    """Outcomes (N,) by score: completed puzzles by rule and, within it, as they came; generated ones as drawn."""
    parts = sorted(parts, key=lambda part: part.place)
    by_rule = np.argsort(np.concatenate([part.rules for part in parts]), kind="stable")
    found = {name: np.concatenate([part.completed[name] for part in parts])[by_rule] for name in parts[0].completed}
    for name in parts[0].generated:
        found[name] = np.concatenate([part.generated[name] for part in parts])
    return found
