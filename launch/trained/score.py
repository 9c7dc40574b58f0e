"""``genraven score``: how likely a model finds each puzzle and each cell, so that broken records can be found."""

import argparse

import numpy as np
import torch
from torch import Tensor

from genraven.console import say
from genraven.errors import InputError
from genraven.formats.read import read_puzzles
from genraven.formats.write import save_archive
from genraven.methods.method import LogProbability
from genraven.metrics.rates import Rate
from genraven.outputs import Outputs
from genraven.progress import Progress
from genraven.puzzles import layout
from genraven.trust.anomaly import corrupt_one_cell, ranks_of, suspicion
from genraven.trust.audit import panel_and_cell
from launch.trained.sampling import opened
from lightning_modules import PuzzleModule

SHOWN = 5


def score(options: argparse.Namespace) -> None:
    """Writes log-likelihoods by puzzle and by cell, and names the most suspicious."""
    puzzles = read_puzzles(options.puzzles)
    outputs = Outputs(overwrite=options.overwrite)
    outputs.add(options.out, "--out", suffixes=[".npz"])
    trained = opened(options)
    model = trained.module
    if "log_probability" not in model.method.confidences:
        raise InputError(f"expected a model that knows how likely a puzzle is, got {model.architecture}, which does "
                         "not: use an autoregressive or a masked diffusion model.")  # fmt: skip
    with trained.at_work():
        found = scored(model, puzzles, options.batch_size)
        if options.corrupt:
            corrupted, cells = corrupt_one_cell(puzzles, seed=options.seed)
            ranks = ranks_of(cells, suspicion(scored(model, corrupted, options.batch_size, "score corrupted")))
    arrays = {
        "puzzle": found.total.numpy(),
        "puzzle_expected": found.expected.sum(1).numpy(),
        "cells": pictured(found.cells).numpy(),
        "cells_expected": pictured(found.expected).numpy(),
    }
    with outputs:
        save_archive(outputs[options.out], {name: (a.shape, a.dtype, [a]) for name, a in arrays.items()})
    say("\n".join(most_suspicious(found)))
    kind = "log-likelihood" if model.likelihood and model.likelihood[0] == "exact" else "bound on the log-likelihood"
    say(f"mean {kind} {found.total.mean():.2f} nats a puzzle\n{options.out}: by puzzle and by cell, in nats")
    if options.corrupt:
        rate = Rate((ranks == 1).sum(), torch.tensor(len(ranks)))
        low, high = (x.item() for x in rate.interval())
        say(f"of puzzles with one corrupted cell, that cell ranks first in {rate.value.item():.1%} [{low:.1%}, "
            f"{high:.1%}]; chance is {1 / suspicion(found).shape[1]:.1%}")  # fmt: skip


def scored(model: PuzzleModule, puzzles: Tensor, batch_size: int, what: str = "score") -> LogProbability:
    """What ``model`` thinks of all cells of ``puzzles`` (B, 3, 9, 9)."""
    parts = []
    with Progress(what, len(puzzles), "puzzle") as bar:
        for start in bar.over(range(0, len(puzzles), batch_size), lambda at: min(batch_size, len(puzzles) - at)):
            part = puzzles[start : start + batch_size].to(model.device)
            everywhere = torch.ones(len(part), *part.shape[2:], dtype=torch.bool, device=part.device)
            generator = model.generator_at("confidence", "score", start, len(part))
            parts.append(model.log_probability(part, everywhere, generator))
    cells, expected = (torch.cat([getattr(p, name).float().cpu() for p in parts]) for name in ("cells", "expected"))
    return LogProbability(cells, expected)


def pictured(cells: Tensor) -> Tensor:
    """(B, 9, 9) where the cells (B, 81) stand in a puzzle."""
    return cells[:, torch.from_numpy(layout.token_places())].view(-1, *layout.PUZZLE_SHAPE[1:])


def most_suspicious(found: LogProbability) -> list[str]:
    """The puzzles that are less likely than expected, the least likely first, and the worst cell of each, in words."""
    of_puzzle, of_cell = (-found.surplus).numpy(), suspicion(found)
    lines = []
    for b in np.argsort(-of_puzzle, kind="stable")[:SHOWN]:
        if of_puzzle[b] <= 0:
            break
        row, panel, cell = panel_and_cell(int(of_cell[b].argmax()))
        lines.append(f"puzzle {b}: {of_puzzle[b]:.1f} nats less likely than expected; most in row {row} panel {panel} "
                     f"cell {cell}, {of_cell[b].max():.1f}")  # fmt: skip
    if not lines:
        return ["no puzzle is less likely than expected"]
    return [*lines, "(puzzles are counted from 0, as in an array; rows, panels and cells from 1)"]
