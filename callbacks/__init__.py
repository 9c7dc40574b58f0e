"""Callbacks: what watches a run and keeps it."""

from callbacks.checkpoint import LastCheckpoint, WholeCheckpointIO
from callbacks.summary import RunSummary

__all__ = ["LastCheckpoint", "RunSummary", "WholeCheckpointIO"]
