"""Puzzles to write, and files of them."""
