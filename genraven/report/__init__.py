"""Reads finished runs: their scores, figures, a recommendation, one page."""
