"""How sure a model may be of its completions, without anything that says whether they are right.

B puzzles (B, 3, 9, 9) int8 with masks (B, 9, 9) bool, true where the model writes; m candidates of each, C = B * m.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from genraven.errors import InputError, shown, suggestion
from genraven.methods.draws import uniform_draws
from genraven.methods.method import LogProbability
from genraven.trust.features import FEATURES, agreement, same_features

REWRITES = 4  # of each candidate, for its stability
LEVELS = (0.5, 1.0, 2.0, 4.0)  # of noise upon each candidate for its recovery, as sigma / alpha
FLOOR = -1e6  # for what is impossible; what is certain has as much above 0
DIGITS = 9  # after the point: equal fractions added in another order are equal


class Writer(Protocol):
    """A model that completes, and may know how likely it finds what stands somewhere."""

    def complete(self, puzzles: Tensor, mask: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """``puzzles`` with the cells under ``mask`` written anew."""

    def log_probability(
        self, puzzles: Tensor, mask: Tensor, generator: torch.Generator | None = None
    ) -> LogProbability:
        """Of the cells of ``puzzles`` under ``mask``."""

    def solve_again(
        self, puzzles: Tensor, mask: Tensor, level: float, generator: torch.Generator | None = None
    ) -> Tensor:
        """``puzzles`` with the cells under ``mask`` covered with noise and written again."""


@dataclass(frozen=True)
class Confidence:
    """What a model may know of its completions."""

    of: Callable[[Writer, Tensor, Tensor, torch.Generator | None], Tensor]
    """(B, m), the higher the surer, from the model, candidates (B, m, 3, 9, 9), mask (B, 9, 9) and a generator."""
    least_candidates: int = 1
    """Of each puzzle: 2 where it needs another to agree with."""
    declared: bool = False
    """Do only the methods have it that name it among their ``confidences``? Else every one has."""


def _named(name: str, option: str = "") -> Confidence:
    """The entry of that name; raises InputError where there is none."""
    if name not in CONFIDENCES:
        hint = suggestion(name, CONFIDENCES, "choose one of those, or name the --plugin that has it.")
        what = f"{option} to name one of" if option else "a confidence, one of"
        raise InputError(f"expected {what} {', '.join(CONFIDENCES)}, got {shown(name)[1:-1]}: {hint}")
    return CONFIDENCES[name]


def usable(declared: Sequence[str], num_candidates: int, without: Sequence[str] = ()) -> tuple[str, ...]:
    """The confidences of a method that are not switched off, as far as there are candidates for them.

    Args:
        declared: by the method, which may use them; others are any method's.
        num_candidates: of each puzzle.
        without: those that are switched off.

    Raises:
        InputError: an unknown one is switched off, or none is left.
    """
    if num_candidates < 1:
        raise InputError(f"expected --candidates to be 1 or more, got {num_candidates}.")
    for name in without:
        _named(name, "--without")
    of_any = [name for name, found in CONFIDENCES.items() if not found.declared and name not in declared]
    left = tuple(
        name for name in (*declared, *of_any) if name not in without and num_candidates >= _named(name).least_candidates
    )
    if not left:
        raise InputError("expected a confidence that can be computed, got none: give --candidates 2 or more, or "
                         "switch off fewer with --without.")  # fmt: skip
    return left


def write_candidates(
    model: Writer, puzzles: Tensor, mask: Tensor, num: int, generator: torch.Generator | None
) -> Tensor:
    """(B, num, 3, 9, 9) int8 completions of each puzzle."""
    return model.complete(*_repeated(puzzles, mask, num), generator).unflatten(0, (-1, num))


def confidence(name: str, model: Writer, candidates: Tensor, mask: Tensor, generator: torch.Generator | None) -> Tensor:
    """(B, m) float64, the higher the surer.

    Args:
        name: of ``CONFIDENCES``.
        model: that wrote them.
        candidates: (B, m, 3, 9, 9) int8.
        mask: (B, 9, 9) bool.
        generator: of what is drawn.

    Raises:
        InputError: there is none of that name.
    """
    values = _named(name).of(model, candidates, mask, generator)
    values = values.double().cpu().nan_to_num(nan=FLOOR, posinf=-FLOOR, neginf=FLOOR).clamp(FLOOR, -FLOOR)
    return values.round(decimals=DIGITS)


def _agreement(model: Writer, candidates: Tensor, mask: Tensor, generator: torch.Generator | None) -> Tensor:
    return agreement(candidates, mask).mean(-1)


def _strongest(model: Writer, candidates: Tensor, mask: Tensor, generator: torch.Generator | None) -> Tensor:
    """Of the feature that agrees most; the others decide between equals."""
    of_each = agreement(candidates, mask)
    return of_each.max(-1).values + of_each.mean(-1) / 1000


def _log_probability(model: Writer, candidates: Tensor, mask: Tensor, generator: torch.Generator | None) -> Tensor:
    num = candidates.shape[1]
    masks = mask.repeat_interleave(num, 0)
    return model.log_probability(candidates.flatten(0, 1), masks, generator).surplus.unflatten(0, (-1, num))


def _stability(model: Writer, candidates: Tensor, mask: Tensor, generator: torch.Generator | None) -> Tensor:
    """Fraction of features that stay when half of the written cells are masked again and written anew."""
    num, device = candidates.shape[1], candidates.device
    masks = mask.repeat_interleave(num, 0).repeat_interleave(REWRITES, 0)
    before = candidates.flatten(0, 1).repeat_interleave(REWRITES, 0)
    scores = uniform_draws(masks.shape, device, generator).masked_fill(~masks, 2.0).flatten(1)
    half = (masks.flatten(1).sum(1, keepdim=True) + 1) // 2
    again = (scores.argsort(1).argsort(1) < half).view_as(masks)
    after = model.complete(before, again, generator)
    return same_features(before, after, masks).mean(1).unflatten(0, (-1, num, REWRITES)).mean(-1)


def _recovery(model: Writer, candidates: Tensor, mask: Tensor, generator: torch.Generator | None) -> Tensor:
    """Fraction of features that come back when the written cells are covered with noise and solved again."""
    num = candidates.shape[1]
    before, masks = candidates.flatten(0, 1), mask.repeat_interleave(num, 0)
    each = [same_features(before, model.solve_again(before, masks, level, generator), masks) for level in LEVELS]
    return torch.stack(each).mean((0, 2)).unflatten(0, (-1, num))


CONFIDENCES: dict[str, Confidence] = {
    "agreement": Confidence(_agreement, least_candidates=2, declared=True),
    "strongest": Confidence(_strongest, least_candidates=2, declared=True),
    "log_probability": Confidence(_log_probability, declared=True),
    "stability": Confidence(_stability, declared=True),
    "recovery": Confidence(_recovery, declared=True),
}
"""By name: how far several completions agree on what they wrote, on average or on the feature that they agree on most;
the log-probability of what was written less what is expected of such cells; how far it is written again when a part of
it is masked; how far it comes back from noise of several levels. A new one is an entry, also of a plugin."""


def _repeated(puzzles: Tensor, mask: Tensor, num: int) -> tuple[Tensor, Tensor]:
    return puzzles.repeat_interleave(num, 0), mask.repeat_interleave(num, 0)


def feature_agreement(candidates: Tensor, mask: Tensor) -> list[list[dict[str, float]]]:
    """For each puzzle and candidate the fraction of others with the same of each feature; empty for a single one."""
    if candidates.shape[1] < 2:
        return [[{}] for _ in range(len(candidates))]
    found = agreement(candidates, mask).tolist()
    return [[dict(zip(FEATURES, each, strict=True)) for each in of_puzzle] for of_puzzle in found]
