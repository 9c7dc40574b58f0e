"""Writing puzzles cell by cell with a cache, and in any order, against plain ways of doing so."""

from collections.abc import Iterator

import torch
from harness import Row
from peers import PlainMaskedNetwork

from genraven.methods.masked import MaskedDiffusion
from genraven.networks.bidirectional import BidirectionalTransformer
from genraven.networks.transformer import Transformer
from genraven.puzzles import layout
from launch.training.precision import faster_precision
from lightning_modules import AutoregressiveModule, DiffusionModule

NUM = 256
LENGTHS = (0, 20, 40, 60, 80)
"""Of what stands before a cell, at which the peer is measured; the cells between cost what lies between."""


def cell_by_cell(rounds: int) -> Row:
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

    return Row(f"sampling {NUM} puzzles, GPT-2 small", "puzzles/s", ours, peer, "the whole prefix for each cell", 15,
               rounds)  # fmt: skip


def masked(num_steps: int, rounds: int, precision: str) -> Row:
    """``mdm_tiny``, as a run's validation samples it, against a loop that anyone would write first."""
    module = DiffusionModule(BidirectionalTransformer(width=48, depth=3, num_heads=4), MaskedDiffusion()).eval()
    module.sample_by({"num_steps": num_steps})
    plain = PlainMaskedNetwork(48, 3, 4, layout.SYMBOLS).eval()

    def ours() -> float:
        with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16-mixed"):
            return len(module.generate(NUM))

    def peer() -> float:
        """Of 81 equal steps, the time of 27 tells that of all."""
        taken = min(num_steps, 27)
        return len(plain.generate(NUM, num_steps, taken=taken)) * taken / num_steps

    return Row(f"mdm_tiny, {NUM} puzzles in {num_steps} evaluations, {precision}", "puzzles/s", ours, peer,
               "a plain loop, eager float32", 2 if precision == "bf16-mixed" else 1.15, rounds)  # fmt: skip


def rows(rounds: int) -> Iterator[Row]:
    """Both families."""
    precision = faster_precision()
    yield cell_by_cell(rounds)
    for num_steps in (81, 27):
        yield masked(num_steps, rounds, precision)
