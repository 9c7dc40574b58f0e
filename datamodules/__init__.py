"""GenRAVEN puzzles as a LightningDataModule."""

from datamodules.genraven import GenRAVENDataModule

__all__ = ["GenRAVENDataModule"]
