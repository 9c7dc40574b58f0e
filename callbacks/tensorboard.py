"""TensorBoardOverview: what loggers show of a run besides its curves. And where the other callbacks write."""

from collections.abc import Collection
from typing import Any

import lightning as L
import yaml
from lightning.pytorch.loggers import TensorBoardLogger
from torch.utils.tensorboard.summary import hparams

from genraven.metrics.table import names_of

LOSSES = ("train/loss", "val/loss")


def fractions() -> list[str]:
    """The curves of the fractions of which more is better."""
    return [f"val/{name}" for name in names_of(lambda score: score.kind == "fraction" and bool(score.higher_is_better))]


def charts() -> dict[str, dict[str, list[Any]]]:
    """The charts that show several curves: their titles and tags."""
    return {
        "together": {
            "scores": ["Multiline", [f"^{tag}$" for tag in fractions()]],
            "training and validation loss": ["Multiline", [f"^{tag}$" for tag in LOSSES]],
        }
    }


def log_values(trainer: L.Trainer, values: dict[str, float]) -> None:
    """Logs ``values`` beside the scores of the validation that has just ended."""
    for logger in trainer.loggers:
        logger.log_metrics(values, shown_step(trainer))


def shown_step(trainer: L.Trainer) -> int:
    """Where Lightning puts the scores of a validation: it counts from 0."""
    return trainer.global_step - 1


class TensorBoardOverview(L.Callback):
    """The config, for any logger; in TensorBoard as text, beside charts of several curves and hyperparameters.

    The table's results are the newest scores themselves.

    Args:
        config: the resolved one.
        hyperparameters: plain values, those that TensorBoard's table shows.
        known_to: names of the loggers' classes that have it from an earlier start of the run.
        is_other: is the config another than that of the last start? TensorBoard then shows both.
    """

    def __init__(
        self,
        config: dict[str, Any],
        hyperparameters: dict[str, Any],
        *,
        known_to: Collection[str] = (),
        is_other: bool = False,
    ) -> None:
        self.config, self.hyperparameters, self.known_to, self.is_other = config, hyperparameters, known_to, is_other

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Writes them, once a run, and the config anew where it is another."""
        for logger in trainer.loggers if trainer.is_global_zero else ():
            is_known = type(logger).__name__ in self.known_to
            if is_known and not (self.is_other and isinstance(logger, TensorBoardLogger)):
                continue
            if not isinstance(logger, TensorBoardLogger):
                logger.log_hyperparams(self.config)
                continue
            if not is_known:
                self._lay_out(logger)
            self._write_config(logger, trainer.global_step)

    def _lay_out(self, logger: TensorBoardLogger) -> None:
        writer = logger.experiment
        writer.add_custom_scalars(charts())
        for summary in hparams(
            self.hyperparameters, dict.fromkeys((*fractions(), "val/loss"), 0.0)
        ):  # of the results it takes names only; TensorBoard shows the first that a run has
            writer._get_file_writer().add_summary(summary)

    def _write_config(self, logger: TensorBoardLogger, step: int) -> None:
        lines = yaml.safe_dump(self.config, sort_keys=False).splitlines()
        logger.experiment.add_text("config", "".join(f"    {line}\n" for line in lines), step)  # Markdown's code
