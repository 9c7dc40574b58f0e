"""How sure a model may be of its completions, without anything that says whether they are right.

B puzzles (B, 3, 9, 9) int8 with masks (B, 9, 9) bool, true where the model writes; m candidates of each, C = B * m.
"""

from collections.abc import Callable, Sequence
from typing import Protocol, get_args

import torch
from torch import Tensor

from genraven.errors import InputError, suggestion
from genraven.methods.draws import uniform_draws
from genraven.methods.method import Confidence, LogProbability
from genraven.trust.features import FEATURES, agreement, same_features

NAMES: tuple[Confidence, ...] = get_args(Confidence)
OF_SEVERAL = ("agreement", "strongest")  # need another candidate to agree with
REWRITES = 4  # of each candidate, for its stability
FLOOR = -1e6  # for what is impossible
DIGITS = 9  # after the point: equal shares added in another order are equal


class Writer(Protocol):
    """A model that completes, and may know how likely it finds what stands somewhere."""

    def complete(self, puzzles: Tensor, mask: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """``puzzles`` with the cells under ``mask`` written anew."""

    def log_probability(
        self, puzzles: Tensor, mask: Tensor, generator: torch.Generator | None = None
    ) -> LogProbability:
        """Of the cells of ``puzzles`` under ``mask``."""


def usable(declared: Sequence[Confidence], num_candidates: int, without: Sequence[str] = ()) -> tuple[Confidence, ...]:
    """The confidences of a method that are not switched off, as far as there are candidates for them.

    Raises:
        InputError: an unknown one is switched off, or none is left.
    """
    if num_candidates < 1:
        raise InputError(f"expected --candidates to be 1 or more, got {num_candidates}.")
    for name in without:
        if name not in NAMES:
            hint = suggestion(name, NAMES, "choose one of those.")
            raise InputError(f"expected --without to name one of {', '.join(NAMES)}, got {name}: {hint}")
    left = tuple(name for name in declared if name not in without and (num_candidates > 1 or name not in OF_SEVERAL))
    if not left:
        raise InputError("expected a confidence to go by, got none that is left: ask for 2 --candidates or more, or "
                         "switch off fewer.")  # fmt: skip
    return left


def write_candidates(
    model: Writer, puzzles: Tensor, mask: Tensor, num: int, generator: torch.Generator | None
) -> Tensor:
    """(B, num, 3, 9, 9) int8 completions of each puzzle."""
    return model.complete(*_repeated(puzzles, mask, num), generator).unflatten(0, (-1, num))


def confidence(
    name: Confidence, model: Writer, candidates: Tensor, mask: Tensor, generator: torch.Generator | None
) -> Tensor:
    """(B, m) float64, the higher the surer.

    Args:
        name: which.
        model: that wrote them.
        candidates: (B, m, 3, 9, 9) int8.
        mask: (B, 9, 9) bool.
        generator: of what is drawn.
    """
    values = MEASURES[name](model, candidates, mask, generator)
    values = values.double().cpu().nan_to_num(nan=FLOOR, neginf=FLOOR).clamp(min=FLOOR)
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
    """Share of features that stay when half of the written cells are masked again and written anew."""
    num, device = candidates.shape[1], candidates.device
    masks = mask.repeat_interleave(num, 0).repeat_interleave(REWRITES, 0)
    before = candidates.flatten(0, 1).repeat_interleave(REWRITES, 0)
    scores = uniform_draws(masks.shape, device, generator).masked_fill(~masks, 2.0).flatten(1)
    half = (masks.flatten(1).sum(1, keepdim=True) + 1) // 2
    again = (scores.argsort(1).argsort(1) < half).view_as(masks)
    after = model.complete(before, again, generator)
    return same_features(before, after, masks).mean(1).unflatten(0, (-1, num, REWRITES)).mean(-1)


MEASURES: dict[Confidence, Callable[[Writer, Tensor, Tensor, torch.Generator | None], Tensor]] = {
    "agreement": _agreement,
    "strongest": _strongest,
    "log_probability": _log_probability,
    "stability": _stability,
}


def _repeated(puzzles: Tensor, mask: Tensor, num: int) -> tuple[Tensor, Tensor]:
    return puzzles.repeat_interleave(num, 0), mask.repeat_interleave(num, 0)


def feature_agreement(candidates: Tensor, mask: Tensor) -> list[list[dict[str, float]]]:
    """For each puzzle and candidate the share of the others with the same of each feature; empty for a single one."""
    if candidates.shape[1] < 2:
        return [[{}] for _ in range(len(candidates))]
    found = agreement(candidates, mask).tolist()
    return [[dict(zip(FEATURES, each, strict=True)) for each in of_puzzle] for of_puzzle in found]
