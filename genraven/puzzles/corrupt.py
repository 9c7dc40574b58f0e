"""Noise and exceptions for training puzzles, as real data has them."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from genraven.errors import InputError
from genraven.puzzles import layout
from genraven.puzzles.generate import Draws
from genraven.puzzles.rules import row_rules
from genraven.puzzles.spec import NUM_ROWS, NUM_STATES

_MAX_ROUNDS = 1000


@dataclass(frozen=True)
class Corruption:
    """How much of a training set is spoilt."""

    cells: float = 0.0
    """Share of cells (0 to 1) whose content is replaced by another, uniform over the 700 others."""
    exceptions: float = 0.0
    """Share of puzzles (0 to 1) that follow no rule in any row."""

    def check(self) -> None:
        """Raises InputError when a share is none."""
        for name, share in (("cells", self.cells), ("exceptions", self.exceptions)):
            if not 0 <= share <= 1:
                raise InputError(f"expected corruption.{name} to be a share from 0 to 1, got {share}.")

    def __bool__(self) -> bool:
        return self.cells > 0 or self.exceptions > 0


def corrupt(puzzles: Tensor, corruption: Corruption, *, seed: int, key: tuple[int, ...]) -> Tensor:
    """A corrupted copy of ``puzzles`` (B, 3, 9, 9) int8, which follow one rule.

    An exception keeps the first two panels of each row and gets panels of these puzzles as third ones, so that only the
    rule is lost. The same (seed, key) corrupts the same puzzles in the same way.

    Raises:
        InputError: a share is none, or no exception can be made, because no panel of these puzzles breaks the rule.
    """
    corruption.check()
    draws = Draws(seed, "corrupt", *key)
    rows = layout.puzzles_to_rows(puzzles).clone()
    chosen = torch.from_numpy(draws.below(1 << 30, (len(puzzles),)) < corruption.exceptions * (1 << 30))
    todo = chosen[:, None].expand(-1, NUM_ROWS).clone()  # rows that still follow a rule
    panels = rows.flatten(0, 2).clone()
    for _ in range(_MAX_ROUNDS):
        if not todo.any():
            break
        rows[todo, 2] = panels[torch.from_numpy(draws.below(len(panels), (int(todo.sum()),)))]
        some = todo.any(1)
        todo[some] &= row_rules(layout.rows_to_puzzles(rows[some])) != 0
    if todo.any():
        raise InputError(f"expected panels that break the rule to make exceptions of, got {len(puzzles)} puzzles "
                         "without: use more samples per rule, or corruption.exceptions 0.")  # fmt: skip
    if corruption.cells:
        states = layout.tokens_to_states(rows).numpy()
        other = (states + 1 + draws.below(NUM_STATES - 1, states.shape)) % NUM_STATES
        hit = draws.below(1 << 30, states.shape) < corruption.cells * (1 << 30)
        rows = layout.states_to_tokens(torch.from_numpy(np.where(hit, other, states)))
    return layout.rows_to_puzzles(rows)
