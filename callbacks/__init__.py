"""Callbacks: what watches a run and keeps it."""

from callbacks.checkpoint import LastCheckpoint
from callbacks.summary import RunSummary

__all__ = ["LastCheckpoint", "RunSummary"]
