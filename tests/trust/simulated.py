"""A model whose answers are known: it copies the middle panel of the last row, and is as sure as it is told."""

import torch
from torch import Tensor

from genraven.methods.method import LogProbability
from genraven.puzzles import layout


class Copier:
    """Writes the eighth panel into the ninth; with probability ``noise`` a cell is emptied."""

    def __init__(self, noise: float = 0.0) -> None:
        self.noise = noise

    def complete(self, puzzles: Tensor, mask: Tensor, generator: torch.Generator | None = None) -> Tensor:
        tokens = layout.puzzles_to_tokens(puzzles).clone()
        tokens[:, 72:] = tokens[:, 63:72]
        corrupted = torch.rand(tokens[:, 72:].shape[:2], generator=generator) < self.noise
        tokens[:, 72:][corrupted] = -1
        return layout.tokens_to_puzzles(tokens).where(mask.unsqueeze(1), puzzles)

    def solve_again(
        self, puzzles: Tensor, mask: Tensor, level: float, generator: torch.Generator | None = None
    ) -> Tensor:
        return self.complete(puzzles, mask, generator)

    def log_probability(self, puzzles: Tensor, mask: Tensor, generator: object = None) -> LogProbability:
        states, written = layout.tokens_to_states(layout.puzzles_to_tokens(puzzles)), layout.mask_to_tokens(mask)
        cells = torch.zeros(states.shape)
        cells[:, 72:] = torch.where(states[:, 72:] == states[:, 63:72], -0.1, -3.0)
        return LogProbability(cells.where(written, 0.0), torch.where(written, -1.0, 0.0))
