"""Where a run comes from: kept in its checkpoints."""

from typing import Any

import lightning as L
from lightning.pytorch.utilities import rank_zero_warn

from datamodules import GenRAVENDataModule
from datamodules.batches import LISTED, ORDER_VERSION


class KeepConfig(L.Callback):
    """Puts the config that rebuilds model and data, and what the model computes in, into every checkpoint.

    Args:
        config: plain values only, so that checkpoints load with ``weights_only``.
        numerics: the same.
    """

    def __init__(self, config: dict[str, Any], numerics: dict[str, Any]) -> None:
        self.config, self.numerics = config, numerics

    def on_save_checkpoint(self, trainer: L.Trainer, pl_module: L.LightningModule, checkpoint: dict[str, Any]) -> None:
        """Adds ``genraven_config`` and ``numerics``."""
        checkpoint["genraven_config"], checkpoint["numerics"] = self.config, self.numerics


class KeepOrder(L.Callback):
    """Notes in every checkpoint the version of the order of puzzles, and warns if a run goes on in another one."""

    def on_save_checkpoint(self, trainer: L.Trainer, pl_module: L.LightningModule, checkpoint: dict[str, Any]) -> None:
        """Adds ``order_version``."""
        checkpoint["order_version"] = ORDER_VERSION

    def on_load_checkpoint(self, trainer: L.Trainer, pl_module: L.LightningModule, checkpoint: dict[str, Any]) -> None:
        """Only the order of a set that is too large for a list has changed."""
        data = getattr(trainer, "datamodule", None)
        if not isinstance(data, GenRAVENDataModule) or data.is_order_listed:
            return
        if checkpoint.get("order_version", 1) != ORDER_VERSION:
            rank_zero_warn("the run goes on with its training puzzles in another order than it began with: its "
                           "checkpoint is of an older version of genraven, and its training set has more than "
                           f"{LISTED:,} puzzles.")  # fmt: skip


class InitialWeights(L.Callback):
    """Says in the summary with which weights a run began, also when it goes on after their run has."""

    def __init__(self) -> None:
        self.origin: dict[str, Any] = {}
        """Their ``checkpoint`` and its ``step``; nothing for fresh ones."""

    def state_dict(self) -> dict[str, Any]:
        """What was noted at the first start."""
        return self.origin

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Takes up what was noted."""
        self.origin = state_dict

    def report(self) -> dict[str, Any]:
        """What the run's summary says of the first weights."""
        return {"init_from": self.origin or None}
