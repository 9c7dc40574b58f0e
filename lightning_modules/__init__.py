"""The two families as LightningModules with one interface."""

from lightning_modules.autoregressive import AutoregressiveModule
from lightning_modules.base import PuzzleModule
from lightning_modules.diffusion import DiffusionModule

__all__ = ["AutoregressiveModule", "DiffusionModule", "PuzzleModule"]
