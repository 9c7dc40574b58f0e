"""Are puzzles, as a whole, like those that a promise was tested on? By how likely a model finds what is given of them.

B puzzles (B, 3, 9, 9) int8 with masks (B, 9, 9) bool, true where the model writes.
"""

from typing import Any

import torch
from numpy.typing import ArrayLike
from scipy.stats import ks_2samp
from torch import Tensor

from genraven.puzzles import layout
from genraven.trust.confidence import FLOOR, Writer

ALARM = 1e-3
"""Of so many sets of puzzles like those of the calibration one is taken for unlike."""


def knows_familiarity(method: Any) -> bool:
    """Does ``method`` know how likely given cells are?"""
    return "log_probability" in method.confidences


def familiarity(model: Writer, completed: Tensor, mask: Tensor, generator: torch.Generator | None) -> Tensor:
    """(B,) float64, nats by which the given cells of ``completed`` puzzles are likelier than the model expects."""
    found = model.log_probability(completed, torch.ones_like(mask), generator)
    given = ~layout.mask_to_tokens(mask).to(found.cells.device)
    nats = (found.cells - found.expected).double().where(given, 0.0).sum(1)
    return nats.cpu().nan_to_num(nan=FLOOR, neginf=FLOOR).clamp(min=FLOOR)


def unlike(values: ArrayLike, known: ArrayLike) -> float:
    """Chance that puzzles of these values (N,) differ as much from the ``known`` (M,) if they are of the same kind.

    The two-sample test of Kolmogorov and Smirnov: few puzzles tell little.
    """
    return float(ks_2samp(values, known).pvalue)


def are_unlike(p_value: float | None) -> bool:
    """Does that chance, where it is known, say that puzzles are of another kind than those of the calibration?"""
    return p_value is not None and p_value < ALARM
