"""Puzzles of a user's file to evaluate on: which are for validation and which for the test, each once.

B puzzles (B, 3, 9, 9) int8 of a file.
"""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from lightning.pytorch.utilities import rank_zero_warn
from numpy.typing import NDArray
from torch import Tensor

from datamodules.store import data_progress
from genraven.errors import InputError
from genraven.formats.puzzles import UNKNOWN_RULE, Chunk, PuzzleFile
from genraven.metrics.memorization import UNORDERED, fingerprints
from genraven.puzzles.masks import last_panel_mask
from genraven.puzzles.rules import row_rules, shared_rules
from genraven.puzzles.spec import EMPTY, RULES

_MOST_NAMED = 6  # rules in a message


@dataclass(frozen=True)
class EvaluationFile:
    """A file of which every second puzzle of a rule, from its first on, is for ``val``, the others for ``test``.

    Of copies there is only the first. Puzzles without a rule that is stated count as of one more, ``UNKNOWN_RULE``.
    """

    file: PuzzleFile

    def part(self, split: str, rules: tuple[int, ...], most: int) -> tuple[Tensor, Tensor]:
        """Puzzles (N, 3, 9, 9) int8 of ``split`` and their rules (N,) int64, which take turns.

        Args:
            split: ``val`` or ``test``.
            rules: whose puzzles are wanted.
            most: puzzles of a rule.

        Raises:
            InputError: there is none, or most puzzles of a rule do not follow it.
        """
        first, stated = ("val", "test").index(split), self.file.rules
        by_rule = [np.flatnonzero(self._once & (stated == rule))[first::2][:most] for rule in (*rules, UNKNOWN_RULE)]
        interleaved = [indices[i] for i in range(most) for indices in by_rule if i < len(indices)]
        if not interleaved:
            raise InputError(f"expected puzzles of data.eval_rules for {split}, got none in {self.file.path}: name "
                             "rules of which it holds two different puzzles or more.")  # fmt: skip
        order = np.argsort(interleaved, kind="stable")
        chunk = read_whole(self.file, np.array(interleaved)[order])
        check_stated_rules(chunk, self.file.path)
        back = torch.from_numpy(order.argsort())
        return chunk.puzzles[back], chunk.rules[back]

    @cached_property
    def _once(self) -> NDArray[np.bool_]:
        return _first_of_copies(self.file)


def read_whole(file: PuzzleFile, indices: NDArray[np.int64]) -> Chunk:
    """The puzzles at ``indices`` of ``file``.

    Raises:
        InputError: one of them is bad, or has unknown cells.
    """
    chunk = file.read(indices)
    if chunk.known is not None and not chunk.known.all():
        which = int((~chunk.known).flatten(1).any(1).nonzero()[0])
        raise InputError(f"expected whole puzzles, got missing cells in puzzle {indices[which]} of {file.path}: remove "
                         "such puzzles.")  # fmt: skip
    return chunk


def _first_of_copies(file: PuzzleFile) -> NDArray[np.bool_]:
    """(B,) is a puzzle unlike all before it, up to the order of rows, also without the panel that is completed?

    A copy in both halves would make validation, by which models are chosen, a part of the test.
    """
    parts: list[list[NDArray[np.int64]]] = [[], []]
    with data_progress("look for copies", len(file)) as bar:
        for chunk in bar.over(file.chunks(), lambda chunk: len(chunk.bad)):
            given = chunk.puzzles.masked_fill(last_panel_mask(len(chunk.puzzles)).unsqueeze(1), EMPTY)
            for hashes, puzzles in zip(parts, (chunk.puzzles, given), strict=True):
                hashes.append(fingerprints(puzzles)[UNORDERED].numpy())
    once = np.ones(len(file), bool)
    for hashes in parts:
        is_first = np.zeros(len(file), bool)
        is_first[np.unique(np.concatenate(hashes), return_index=True)[1]] = True
        once &= is_first
    if not once.all():
        rank_zero_warn(f"{(~once).sum():,} of the {len(file):,} puzzles of {file.path} are copies of others, with rows "
                       "in another order or another last panel: they are not scored.")  # fmt: skip
    return once


def check_stated_rules(chunk: Chunk, path: Path, what: str = "evaluation puzzles") -> None:
    """Warns of puzzles that do not follow the rule that is stated; refuses rules that most of theirs do not follow.

    Args:
        chunk: of the file.
        path: of the file.
        what: the puzzles are for, in words.
    """
    stated = chunk.rules != UNKNOWN_RULE
    broken = stated & ~(shared_rules(row_rules(chunk.puzzles)) >> chunk.rules.clamp(min=0) & 1).bool()
    if not broken.any():
        return
    total, wrong = (chunk.rules[which].bincount(minlength=len(RULES)) for which in (stated, broken))
    counts = [f"{wrong[rule]} of {total[rule]} of {RULES[rule].name}" for rule in wrong.nonzero().flatten().tolist()]
    named = ", ".join(counts[:_MOST_NAMED]) + ", ..." * (len(counts) > _MOST_NAMED)
    if (2 * wrong > total).any():
        raise InputError(f"expected puzzles that follow the rules stated in {path}, got others ({named}): mend "
                         "the stated rules, which `genraven describe` counts, or remove them, and each puzzle is "
                         "scored by the rules that it follows.")  # fmt: skip
    rank_zero_warn(f"{what} of {path} do not follow the rule stated: {named}.")
