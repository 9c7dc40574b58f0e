"""Writing puzzles cell by cell with a cache, and in any order, against plain ways of doing so.

On a GPU as a run does it: compiled, in CUDA graphs.
"""

import copy
from collections.abc import Iterator

import torch
from harness import DEVICE, Row
from peers import PlainMaskedNetwork

from genraven.methods.masked import MaskedDiffusion
from genraven.networks.bidirectional import BidirectionalTransformer
from genraven.networks.compiling import compile_blocks
from genraven.networks.transformer import Transformer
from genraven.puzzles import layout
from launch.trained.precision import default_precision
from lightning_modules import AutoregressiveModule, DiffusionModule, PuzzleModule

NUM = 4096 if DEVICE.type == "cuda" else 256
LENGTHS = (0, 20, 40, 60, 80)
"""Of what stands before a cell, at which the peer is measured; the cells between cost what lies between."""


def ready(module: PuzzleModule) -> PuzzleModule:
    """On this machine's device, compiled if that is a GPU."""
    module.to(DEVICE).eval()
    if DEVICE.type == "cuda":
        compile_blocks(module.network)
    return module


def cell_by_cell(rounds: int, precision: str) -> Row:
    """GPT-2 small, joint head."""
    network = Transformer(width=384, depth=12, num_heads=6, head="joint")
    plain = copy.deepcopy(network).to(DEVICE).eval()
    module = ready(AutoregressiveModule(network))
    cells = torch.randint(0, 8, (NUM, 80, 3), device=DEVICE)

    def ours() -> float:
        with torch.autocast(DEVICE.type, torch.bfloat16, enabled=precision == "bf16-mixed"):
            return len(module.generate(NUM))

    @torch.no_grad()
    def peer() -> float:
        """Work grows with the length, so the mean of the measured cells is that of all."""
        for length in LENGTHS:
            plain(cells[:, :length])[:, -1].softmax(-1).multinomial(1)
        return NUM * len(LENGTHS) / 81

    return Row(f"sampling {NUM} puzzles, GPT-2 small, {precision}", "puzzles/s", ours, peer,
               "the whole prefix for each cell, eager float32", 15, rounds)  # fmt: skip


def masked(num_steps: int, rounds: int, precision: str) -> Row:
    """``mdm_tiny``, on a GPU ``mdm_s``, as a run's validation samples it, against the loop that comes to mind."""
    name, size = ("mdm_s", (384, 12, 6)) if DEVICE.type == "cuda" else ("mdm_tiny", (48, 3, 4))
    network = BidirectionalTransformer(**dict(zip(("width", "depth", "num_heads"), size, strict=True)))
    module = ready(DiffusionModule(network, MaskedDiffusion()))
    module.sample_by({"num_steps": num_steps})
    plain = PlainMaskedNetwork(*size, layout.SYMBOLS).to(DEVICE).eval()

    def ours() -> float:
        with torch.autocast(DEVICE.type, torch.bfloat16, enabled=precision == "bf16-mixed"):
            return len(module.generate(NUM))

    def peer() -> float:
        """Of 81 equal steps, the time of 27 tells that of all."""
        taken = min(num_steps, 27)
        return len(plain.generate(NUM, num_steps, taken=taken)) * taken / num_steps

    return Row(f"{name}, {NUM} puzzles in {num_steps} evaluations, {precision}", "puzzles/s", ours, peer,
               "a plain loop, eager float32", 2 if precision == "bf16-mixed" else 1.15, rounds)  # fmt: skip


def rows(rounds: int) -> Iterator[Row]:
    """Both families."""
    precision = default_precision("auto")
    yield cell_by_cell(rounds, precision if DEVICE.type == "cuda" else "32-true")
    for num_steps in (81, 27):
        yield masked(num_steps, rounds, precision)
