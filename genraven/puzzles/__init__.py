"""Puzzles: what they are, which rules hold in them, how they are made, laid out and drawn."""
