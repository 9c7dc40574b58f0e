"""Puzzles of other kinds than a calibration's, by which it is measured what the check of familiarity can see."""

from collections.abc import Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from genraven.puzzles.corrupt import Corruption, corrupt
from genraven.puzzles.spec import NUM_RULES, RULES
from genraven.trust.power import NEVER_TRAINED, POOL
from launch.trained.completions import completions, drawn_puzzles
from lightning_modules import PuzzleModule

CORRUPTED = {"2% of the cells replaced": 0.02, "10% of the cells replaced": 0.1, "random cells": 1.0}
"""Fractions of cells that get another content."""
MOST_RULES = 6
"""The most rules that were never trained, of which puzzles are made."""


def other_kinds(puzzles: Tensor, familiar_rules: set[int], seed: int) -> dict[str, Tensor]:
    """(K, 3, 9, 9) int8 of each kind: ``puzzles`` with corrupted cells, and fresh ones of rules that are not familiar.

    Args:
        puzzles: (B, 3, 9, 9) int8 of the calibration, K of which are corrupted.
        familiar_rules: ids of those that the model was trained on and of the calibration's.
        seed: of the cells and the fresh puzzles.
    """
    some = puzzles[:POOL]
    kinds = {name: corrupt(some, Corruption(cells=fraction), seed=seed, key=(i,))
             for i, (name, fraction) in enumerate(CORRUPTED.items())}  # fmt: skip
    others = [rule for rule in range(NUM_RULES) if rule not in familiar_rules]
    chosen = np.linspace(0, len(others) - 1, min(MOST_RULES, len(others))).round().astype(int)
    for rule in (others[place] for place in chosen):
        kinds[NEVER_TRAINED + RULES[rule].name] = drawn_puzzles((rule,), len(some), seed)[0]
    return kinds


def familiarities(
    model: PuzzleModule, kinds: Mapping[str, Tensor], mask: Tensor, batch_size: int
) -> dict[str, NDArray[np.float64]]:
    """(K,) of the puzzles (K, 3, 9, 9) of each kind, completed once under ``mask`` (9, 9)."""
    puzzles = torch.cat(list(kinds.values()))
    parts = []
    for done in completions(
        model, puzzles, mask.expand(len(puzzles), -1, -1), num=1, names=(), batch_size=batch_size,
        split="other kinds", what="other kinds",
    ):  # fmt: skip
        assert done.familiarity is not None
        parts.append(done.familiarity)
    values = torch.cat(parts).split([len(of_kind) for of_kind in kinds.values()])
    return {kind: found.numpy() for kind, found in zip(kinds, values, strict=True)}
