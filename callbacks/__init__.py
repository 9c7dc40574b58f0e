"""Callbacks: what watches a run and keeps it."""

from callbacks.board import RunBoard
from callbacks.checkpoint import StepCheckpoint, WholeCheckpointIO
from callbacks.collapse import CollapseLimits, CollapseWatch
from callbacks.cost import Cost, CostOptions
from callbacks.guard import RunGuard
from callbacks.loggers import LoggerIds
from callbacks.origin import InitialWeights, KeepConfig
from callbacks.pictures import PictureOptions, Pictures
from callbacks.progress import ProgressLines
from callbacks.summary import RunSummary

__all__ = [
    "CollapseLimits",
    "CollapseWatch",
    "Cost",
    "CostOptions",
    "InitialWeights",
    "KeepConfig",
    "LoggerIds",
    "PictureOptions",
    "Pictures",
    "ProgressLines",
    "RunBoard",
    "RunGuard",
    "RunSummary",
    "StepCheckpoint",
    "WholeCheckpointIO",
]
