"""DiffusionModule: repairs a whole puzzle step by step."""

import torch
from lightning.pytorch.cli import OptimizerCallable
from torch import nn

from genraven.methods.method import Method
from lightning_modules.base import PuzzleModule
from lightning_modules.optimization import Schedule


class DiffusionModule(PuzzleModule):
    """A network that denoises corrupted puzzles, and the method that says how they are corrupted and what is predicted.

    Args:
        network: that the method can use.
        method: of the diffusion family, such as GaussianDiffusion.
        optimizer: makes the optimizer of groups of named parameters; its weight decay spares norms, biases, positions
            and embeddings. Of torch.optim.Muon, which takes hidden matrices alone, AdamW is given the others.
        warmup_steps: optimizer steps of linear warm-up.
        schedule: of the learning rate after it.
        ema_decay: of the averaged weights that are evaluated and saved; null trains without.
        label_dropout: fraction of training puzzles whose label is hidden from a network with labels.
        seed: of all draws.
        decay_all: weight decay of all parameters, in one group, as the study has it.
    """

    family = "diffusion"

    def __init__(
        self,
        network: nn.Module,
        method: Method,
        *,
        optimizer: OptimizerCallable = torch.optim.AdamW,
        warmup_steps: int = 0,
        schedule: Schedule = "constant",
        ema_decay: float | None = 0.9999,
        label_dropout: float = 0.1,
        seed: int = 0,
        decay_all: bool = False,
    ) -> None:
        super().__init__(
            network,
            method,
            optimizer=optimizer,
            warmup_steps=warmup_steps,
            schedule=schedule,
            ema_decay=ema_decay,
            label_dropout=label_dropout,
            seed=seed,
            decay_all=decay_all,
        )
