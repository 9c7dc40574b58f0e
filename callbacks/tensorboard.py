"""TensorBoardOverview: what TensorBoard shows of a run besides its curves. And where the other callbacks write."""

from typing import Any

import lightning as L
from lightning.pytorch.loggers import TensorBoardLogger
from torch.utils.tensorboard.summary import hparams
from torch.utils.tensorboard.writer import SummaryWriter

from genraven.metrics.table import SCORES

SHARES = [f"val/{score.name}" for score in SCORES.values() if score.kind == "share" and score.higher_is_better]
LOSSES = ("train/loss", "val/loss")
CHARTS = {
    "together": {
        "scores": ["Multiline", [f"^{tag}$" for tag in SHARES]],
        "training and validation loss": ["Multiline", [f"^{tag}$" for tag in LOSSES]],
    }
}
RESULTS = (*SHARES, "val/loss")


def tensorboard_writer(trainer: L.Trainer) -> SummaryWriter | None:
    """TensorBoard's writer; None in processes that do not write, and where the run has no such logger."""
    found = (logger.experiment for logger in trainer.loggers if isinstance(logger, TensorBoardLogger))
    return next(found, None) if trainer.is_global_zero else None


def log_values(trainer: L.Trainer, values: dict[str, float]) -> None:
    """Logs ``values`` beside the scores of the validation that has just ended."""
    for logger in trainer.loggers:
        logger.log_metrics(values, shown_step(trainer))


def shown_step(trainer: L.Trainer) -> int:
    """Where Lightning puts the scores of a validation: it counts from 0."""
    return trainer.global_step - 1


class TensorBoardOverview(L.Callback):
    """Charts that show several curves together, the table of hyperparameters, and the config as text.

    The table's results are the newest scores themselves.

    Args:
        config: the resolved one, as text.
        hyperparameters: plain values.
        is_new: write at all; a run that goes on has done so before.
    """

    def __init__(self, config: str, hyperparameters: dict[str, Any], *, is_new: bool) -> None:
        self.config, self.hyperparameters, self.is_new = config, hyperparameters, is_new

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Writes them, once a run."""
        writer = tensorboard_writer(trainer)
        if writer is None or not self.is_new:
            return
        writer.add_custom_scalars(CHARTS)
        writer.add_text("config", "".join(f"    {line}\n" for line in self.config.splitlines()))  # Markdown's code
        for summary in hparams(self.hyperparameters, dict.fromkeys(RESULTS, 0.0)):  # of the results it takes names only
            writer._get_file_writer().add_summary(summary)
