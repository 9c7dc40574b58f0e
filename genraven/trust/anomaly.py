"""Broken records: puzzles and cells that a model finds less likely than it expects.

B puzzles (B, 3, 9, 9) int8, L = 81 cells.
"""

import torch
from torch import Tensor

from genraven.methods.method import LogProbability
from genraven.puzzles import layout
from genraven.puzzles.generate import Draws
from genraven.puzzles.spec import NUM_STATES, TOKENS_PER_PUZZLE


def corrupt_one_cell(puzzles: Tensor, *, seed: int) -> tuple[Tensor, Tensor]:
    """Copies of ``puzzles`` with the content of one cell each replaced by another, and the numbers of these cells (B,).

    Cell and content are uniform; the same seed corrupts the same cells.
    """
    draws = Draws(seed, "spoil")  # the name of the stream, which stays
    states = layout.tokens_to_states(layout.puzzles_to_tokens(puzzles)).clone()
    cells = torch.from_numpy(draws.below(TOKENS_PER_PUZZLE, (len(puzzles),)))
    shift = torch.from_numpy(1 + draws.below(NUM_STATES - 1, (len(puzzles),)))
    every = torch.arange(len(puzzles))
    states[every, cells] = (states[every, cells] + shift) % NUM_STATES
    return layout.tokens_to_puzzles(layout.states_to_tokens(states)), cells


def suspicion(found: LogProbability) -> Tensor:
    """(B, L) nats by which each cell is less likely than expected, the higher the more suspicious."""
    return found.expected - found.cells


def ranks_of(cells: Tensor, suspicions: Tensor) -> Tensor:
    """(B,) rank of ``cells`` (B,) among (B, L), 1 for the most suspicious; behind those of the same suspicion."""
    return (suspicions >= suspicions.gather(1, cells.unsqueeze(1))).sum(1)
