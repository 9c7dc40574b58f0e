"""Callbacks: what watches a run."""

from callbacks.summary import RunSummary

__all__ = ["RunSummary"]
