"""Curve: what each validation of a run said, in one small table that needs no TensorBoard to read."""

import csv
import io
from pathlib import Path
from typing import Any

import lightning as L
from lightning.pytorch.utilities import rank_zero_only, rank_zero_warn

from callbacks.facts import plain_numbers
from genraven.bounded import read_text
from genraven.files import appears_whole
from genraven.run_folder import RunFiles

STEP = "step"


def read_curve(path: Path) -> dict[int, dict[str, Any]]:
    """The lines of a ``curve.csv``, by step; none where there is no such file, or a torn one, which is said."""
    try:
        return {int(row[STEP]): dict(row) for row in csv.DictReader(io.StringIO(read_text(path)))}
    except FileNotFoundError:
        return {}
    except (KeyError, TypeError, ValueError, csv.Error):
        rank_zero_warn(f"{path} is incomplete and is ignored: it begins anew at this step.")
        return {}


class Curve(L.Callback):
    """Keeps ``curve.csv`` in the run folder: a line of all scores and counts for each validation, by step.

    A run that goes on from a checkpoint keeps the lines up to its step.

    Args:
        folder: of the run.
    """

    def __init__(self, folder: Path) -> None:
        self.path = RunFiles(folder).curve
        self._rows: dict[int, dict[str, Any]] = {}

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Takes up what an earlier start wrote."""
        self._rows = {step: row for step, row in read_curve(self.path).items() if step <= trainer.global_step}

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Adds a line."""
        if not trainer.sanity_checking and trainer.state.fn == "fit":
            self._rows[trainer.global_step] = {STEP: trainer.global_step, **plain_numbers(trainer.callback_metrics)}
            self._write()

    @rank_zero_only
    def _write(self) -> None:
        names = dict.fromkeys(name for row in self._rows.values() for name in row)
        with appears_whole(self.path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, list(names), lineterminator="\n")
            writer.writeheader()
            writer.writerows(self._rows[step] for step in sorted(self._rows))
