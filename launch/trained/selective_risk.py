"""Selective prediction measured: risk and coverage of a trained model on puzzles that its calibration has not seen."""

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from genraven.errors import InputError
from genraven.metrics.completion import asked_and_held
from genraven.puzzles.masks import last_panel_mask
from genraven.report.trust import MAX_ERRORS, file_digest
from genraven.trust.calibration import Calibration
from genraven.trust.decision import check_as_calibrated
from genraven.trust.familiarity import are_unlike
from genraven.trust.independence import first_of_copies, given_cells
from genraven.trust.power import held_against
from genraven.trust.risk import CalibrationError, trustworthiness
from launch.trained.calibrate import label
from launch.trained.checkers import find_checker
from launch.trained.load import calibration_of
from launch.trained.model import TrainedModel


@dataclass(frozen=True)
class Calibrated:
    """The calibration of a checkpoint."""

    calibration: Calibration
    digest: str
    """12 hex digits of its file."""

    @classmethod
    def of(cls, checkpoint: Path) -> "Calibrated":
        """The calibration of the run folder. Raises InputError where there is none, or it was edited."""
        path = calibration_of(checkpoint)
        found = Calibration.read(path)
        return cls(found, file_digest(path))

    def check(self, model: TrainedModel) -> None:
        """Raises InputError unless it is of this model, completing the last panel as it does."""
        with model.at_work():
            check_as_calibrated(model.module, last_panel_mask(1), self.calibration)

    def measure(
        self, model: TrainedModel, puzzles: Tensor, rules: Tensor, given: Tensor | None, *, split: str
    ) -> dict[str, Any]:
        """Area under risk against coverage, calibration error, and for each promise how many are accepted and wrong.

        Puzzles whose rule nobody knows and whose first two rows share none are left out, as of completion.
        ``seconds`` is what the completions took, with all their candidates and confidences, on one device.

        Args:
            model: that was calibrated.
            puzzles: (B, 3, 9, 9) int8, whose last panels are completed.
            rules: (B,) of these.
            given: what the model sees of them instead, such as with corrupted cells.
            split: whose draws they are.
        """
        name, candidates = self.calibration.score, self.calibration.completion["candidates"]
        asked, _ = asked_and_held(puzzles, rules)  # of others no completion is right
        puzzles, rules, given = puzzles[asked], rules[asked], None if given is None else given[asked]
        if not len(puzzles):
            raise InputError("expected puzzles with a rule to ask for, got none whose first two rows share one: give "
                             "others.")  # fmt: skip
        start, mask = time.perf_counter(), last_panel_mask(len(puzzles))
        with model.at_work():
            of = label(model.module, puzzles, rules, mask, find_checker(None), num=candidates,
                       names=(name,), batch_size=model.batch_size, given=given, split=split,
                       familiar=bool(self.calibration.familiarity))  # type: ignore[arg-type]  # fmt: skip
        seconds = time.perf_counter() - start  # what they give is on the CPU: the device is done
        scores, correct = of.scores[name], of.correct[name]
        found = trustworthiness(scores, correct, self.calibration.probability(scores)).as_json()
        accepted = {}
        for max_error in MAX_ERRORS:
            try:
                kept = self.calibration.promise(max_error).accepts(scores)
            except InputError:  # too few calibration puzzles for this one
                continue
            accepted[f"{max_error:g}"] = {"accepted": int(kept.sum()), "wrong": int((kept & ~correct).sum())}
        seen = given_cells(puzzles if given is None else given, mask)
        values = None if of.familiarity is None else of.familiarity[first_of_copies(seen).numpy()]
        check = held_against(self.calibration, values)
        measured = {"score": name, "count": len(scores), "seconds": seconds, "accepted": accepted}
        return found | measured | {"unlike_p_value": check.p_value, "check": check.as_json()}


def said(found: dict[str, Any]) -> str:
    """What ``measure`` found, as lines of text."""
    lines = [f"by {found['score']}, of {found['count']} completions, the best of several candidates each:"]
    (low, high), value = found["area"]["interval95"], found["area"]["value"]
    lines.append(f"  {'area':18}{value:8.4f}  [{low:.4f}, {high:.4f}]")
    if error := CalibrationError.read(found["calibration_error"]):
        lines.append(f"  {'calibration error':18}{error.in_words}")
    for max_error, kept in found["accepted"].items():
        lines.append(f"  at {float(max_error):.0%} error {kept['accepted']} accepted, {kept['wrong']} of them wrong")
    if are_unlike(found["unlike_p_value"]):
        lines.append("  these puzzles are unlike those of the calibration: `genraven complete` would accept none")
    return "\n".join([*lines, f"  {found['check']['in_words']}"])
