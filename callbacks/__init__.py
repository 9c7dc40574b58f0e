"""Callbacks: what watches a run and keeps it."""

from callbacks.checkpoint import StepCheckpoint, WholeCheckpointIO
from callbacks.guard import RunGuard
from callbacks.origin import InitialWeights, KeepConfig
from callbacks.summary import RunSummary

__all__ = ["InitialWeights", "KeepConfig", "RunGuard", "RunSummary", "StepCheckpoint", "WholeCheckpointIO"]
