"""Scores of generated and completed puzzles, as torchmetrics."""
