"""Completions of which some are accepted, in one call.

B puzzles (B, 3, 9, 9) int8, m candidates of each.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from genraven.errors import InputError
from genraven.puzzles.spec import NUM_PANELS
from genraven.trust.calibration import Calibration, Promise
from genraven.trust.confidence import Writer, confidence, write_candidates
from genraven.trust.familiarity import familiarity
from genraven.trust.features import FEATURES, panel_features, written_panels
from genraven.trust.independence import first_of_copies, given_cells
from genraven.trust.numerics import numerics_of
from genraven.trust.power import Check, held_against


class Model(Writer, Protocol):
    """A network with its method."""

    network: Any
    method: Any
    sampling: Any


@dataclass(frozen=True)
class Decided:
    """What was kept of B puzzles."""

    completed: Tensor
    """(B, 3, 9, 9) int8, the candidate that the score likes best."""
    scores: Tensor
    """(B,) float64, the higher the surer."""
    probability: Tensor
    """(B,) float64 of being right, for puzzles like those of the calibration."""
    accepted: Tensor
    """(B,) bool; none where the puzzles are unlike those of the calibration, whose promise is not of them."""
    check: Check
    """Whether the puzzles are like those of the calibration, and what that check could have seen, also in words: its
    ``str``."""

    @classmethod
    def of(
        cls,
        calibration: Calibration,
        promise: Promise,
        completed: Tensor,
        mask: Tensor,
        scores: Tensor,
        familiarities: Tensor | None,
    ) -> "Decided":
        """The decisions on B puzzles, of whose copies one is checked.

        Args:
            calibration: that holds for them.
            promise: of it.
            completed: (B, 3, 9, 9) int8, as they are kept.
            mask: (B, 9, 9) bool, true where they were written.
            scores: (B,) float64 of them.
            familiarities: (B,) float64 of what is given, where the calibration knows those of its own puzzles.
        """
        different = first_of_copies(given_cells(completed, mask))
        check = held_against(calibration, None if familiarities is None else familiarities[different])
        accepted = torch.from_numpy(promise.accepts(scores.numpy()))
        probability = torch.from_numpy(calibration.probability(scores.numpy()))
        return cls(completed, scores, probability, torch.zeros_like(accepted) if check.are_unlike else accepted, check)


def decide(
    model: Model,
    puzzles: Tensor,
    mask: Tensor,
    calibration: Calibration | Path | str,
    *,
    max_error: float,
    generator: torch.Generator | None = None,
) -> Decided:
    """Completes ``puzzles`` as they were calibrated, and accepts those that keep the promise.

    Args:
        model: in evaluation mode, on the device of ``puzzles``; it computes in the precision that it was calibrated in.
        puzzles: (B, 3, 9, 9) int8, all at once, with objects in every given panel.
        mask: (B, 9, 9) bool, true where to write, as in the calibration.
        calibration: of this model, or the path of its file.
        max_error: fraction of wrong ones among the accepted that is promised.
        generator: of all draws.

    Raises:
        InputError: a calibration that is missing, changed, of another model, mask or way of completing, or too small; a
            model that is training; given panels that are empty.
    """
    found = calibration if isinstance(calibration, Calibration) else Calibration.read(Path(calibration))
    check_given(puzzles, mask)
    check_as_calibrated(model, mask, found)
    candidates = write_candidates(model, puzzles, mask, found.completion["candidates"], generator)
    scores, best = confidence(found.score, model, candidates, mask, generator).max(1)
    every = torch.arange(len(candidates), device=candidates.device)
    known = familiarity(model, candidates[:, 0], mask, generator) if found.familiarity else None
    kept = candidates[every, best.to(candidates.device)]
    return Decided.of(found, found.promise(max_error), kept, mask, scores, known)


def check_as_calibrated(
    model: Model, mask: Tensor, calibration: Calibration, *, num_candidates: int | None = None
) -> None:
    """Raises InputError unless ``model`` completes now as it did for ``calibration``.

    Args:
        model: as it is to be used, within the contexts that it is to be used in.
        mask: (B, 9, 9) bool, true where it writes.
        calibration: that is to hold for it.
        num_candidates: of each puzzle; default: those of the calibration.

    Raises:
        InputError: it is another model, it decodes, computes or runs otherwise, or it is training.
    """
    if any(module.training for module in model.network.modules()):
        raise InputError("expected a model in evaluation mode, got one in training mode, where dropout is active: "
                         "call model.eval().")  # fmt: skip
    num = calibration.completion["candidates"] if num_candidates is None else num_candidates
    now, noted = how_completed(model, num, mask), calibration.completion.get("sampling")
    if isinstance(noted, Mapping) and model.sampling.as_noted(noted) == now["sampling"]:
        now["sampling"] = noted  # as it was noted when there were fewer settings
    calibration.check_use(model_digest(model), now)


def how_completed(model: Model, num_candidates: int, mask: Tensor | None) -> dict[str, Any]:
    """What a calibration is of, besides the model: candidates, decoding, the mask (B, 9, 9), numerics and device.

    They are read off the model and torch as they are at the moment.
    """
    return {
        "candidates": num_candidates,
        "sampling": asdict(model.sampling),
        "mask": None if mask is None else mask_digits(mask),
        **numerics_of(model.network),
    }


def check_given(puzzles: Tensor, mask: Tensor) -> None:
    """Raises InputError where a panel without open cells holds no object: something is missing there."""
    empty = (panel_features(puzzles)[..., FEATURES.index("count")] == 0) & ~written_panels(mask)
    if empty.any():
        puzzle, panel = empty.nonzero()[0].tolist()
        where = f"panel {panel % NUM_PANELS + 1} of row {panel // NUM_PANELS + 1} of puzzle {puzzle}"
        raise InputError(f"expected objects in every given panel, got none in {where}: mend the record, or leave it "
                         "out.")  # fmt: skip


def mask_digits(mask: Tensor) -> str:
    """The one mask (9, 9) of all puzzles (B, 9, 9), as hex digits.

    Raises:
        InputError: they have different ones.
    """
    if (mask != mask[:1]).any():
        raise InputError("expected one mask for all puzzles with a calibration, got several: complete those of each "
                         "mask by themselves.")  # fmt: skip
    return np.packbits(mask[0].cpu().numpy()).tobytes().hex()


def model_digest(model: Model) -> str:
    """64 hex digits of the classes of method and network, and of its weights; settings without weights do not count."""
    network: nn.Module = model.network
    total = hashlib.sha256(f"{type(model.method).__name__} {type(network).__name__}".encode())
    for name, value in sorted(network.state_dict().items()):
        total.update(f"{name} {tuple(value.shape)} {value.dtype}".encode())
        total.update(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return total.hexdigest()
