"""Callbacks: what watches a run and keeps it."""

from callbacks.checkpoint import StepCheckpoint, WholeCheckpointIO
from callbacks.guard import RunGuard
from callbacks.summary import RunSummary

__all__ = ["RunGuard", "RunSummary", "StepCheckpoint", "WholeCheckpointIO"]
