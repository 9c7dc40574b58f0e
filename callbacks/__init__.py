"""Callbacks: what watches a run and keeps it."""

from callbacks.checkpoint import BestCheckpoint, StepCheckpoint, WholeCheckpointIO
from callbacks.collapse import CollapseLimits, CollapseWatch
from callbacks.collecting import CollectBetweenSteps
from callbacks.compiled import CompileTime
from callbacks.cost import Cost, CostOptions
from callbacks.curve import Curve
from callbacks.guard import RunGuard
from callbacks.loggers import LoggerIds
from callbacks.origin import InitialWeights, KeepConfig, KeepOrder
from callbacks.pictures import PictureOptions, Pictures
from callbacks.progress import ProgressLines, StepBar
from callbacks.reads import NoReads
from callbacks.stopping import StopAt
from callbacks.summary import RunSummary
from callbacks.tensorboard import TensorBoardOverview

__all__ = [
    "BestCheckpoint",
    "CollapseLimits",
    "CollapseWatch",
    "CollectBetweenSteps",
    "CompileTime",
    "Cost",
    "CostOptions",
    "Curve",
    "InitialWeights",
    "KeepConfig",
    "KeepOrder",
    "LoggerIds",
    "NoReads",
    "PictureOptions",
    "Pictures",
    "ProgressLines",
    "RunGuard",
    "RunSummary",
    "StepBar",
    "StepCheckpoint",
    "StopAt",
    "TensorBoardOverview",
    "WholeCheckpointIO",
]
