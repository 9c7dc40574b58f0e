"""AutoregressiveModule: writes a puzzle cell by cell."""

import torch
from lightning.pytorch.cli import OptimizerCallable
from torch import nn

from genraven.methods.autoregressive import Autoregressive
from genraven.methods.method import Method
from lightning_modules.base import PuzzleModule
from lightning_modules.optimization import Schedule


class AutoregressiveModule(PuzzleModule):
    """A network that predicts each next cell from those before it.

    Args:
        network: of cell tokens.
        method: of the autoregressive family; null is Autoregressive with its own settings.
        optimizer: makes the optimizer of groups of named parameters; its weight decay spares norms, biases, positions
            and embeddings. Of torch.optim.Muon, which takes hidden matrices alone, AdamW is given the others.
        warmup_steps: optimizer steps of linear warm-up.
        schedule: of the learning rate after it.
        ema_decay: of the averaged weights that are evaluated and saved; null trains without.
        label_dropout: fraction of training puzzles whose label is hidden from a network with labels.
        seed: of all draws.
        decay_all: weight decay of all parameters, in one group, as the study has it.
    """

    family = "autoregressive"

    def __init__(
        self,
        network: nn.Module,
        method: Method | None = None,
        *,
        optimizer: OptimizerCallable = torch.optim.AdamW,
        warmup_steps: int = 100,
        schedule: Schedule = "linear",
        ema_decay: float | None = None,
        label_dropout: float = 0.1,
        seed: int = 0,
        decay_all: bool = False,
    ) -> None:
        super().__init__(
            network,
            method or Autoregressive(),
            optimizer=optimizer,
            warmup_steps=warmup_steps,
            schedule=schedule,
            ema_decay=ema_decay,
            label_dropout=label_dropout,
            seed=seed,
            decay_all=decay_all,
        )
