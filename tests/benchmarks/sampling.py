"""Writing puzzles cell by cell: with a cache, against reading all that stands before each cell."""

from collections.abc import Iterator

import torch
from harness import Row

from genraven.networks.transformer import Transformer
from lightning_modules import AutoregressiveModule

NUM = 256
LENGTHS = (0, 20, 40, 60, 80)
"""Of what stands before a cell, at which the peer is measured; the cells between cost what lies between."""


def rows(rounds: int) -> Iterator[Row]:
    """GPT-2 small, joint head."""
    module = AutoregressiveModule(Transformer(width=384, depth=12, num_heads=6, head="joint")).eval()
    cells = torch.randint(0, 8, (NUM, 80, 3))

    def ours() -> float:
        return len(module.generate(NUM))

    @torch.no_grad()
    def peer() -> float:
        """Work grows with the length, so the mean of the measured cells is that of all."""
        for length in LENGTHS:
            module.network(cells[:, :length])[:, -1].softmax(-1).multinomial(1)
        return NUM * len(LENGTHS) / 81

    yield Row(f"sampling {NUM} puzzles, GPT-2 small", "puzzles/s", ours, peer, "the whole prefix for each cell", 15,
              rounds)  # fmt: skip
