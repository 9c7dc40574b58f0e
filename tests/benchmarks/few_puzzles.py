"""What is accepted of files of few puzzles of another kind? `python tests/benchmarks/few_puzzles.py RUN CALIBRATION`.

Sixty puzzles of each kind are decided on in files of 1, 2 and 20, as ``decide`` does: it is counted how many files are
taken for unlike, how many puzzles are accepted at 5% error, and how many of these are wrong by our rules.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from genraven.metrics.completion import rule_holds
from genraven.puzzles.corrupt import Corruption, corrupt
from genraven.puzzles.generate import generate
from genraven.puzzles.masks import last_panel_mask
from genraven.puzzles.spec import NUM_RULES
from genraven.trust.calibration import Calibration
from genraven.trust.decision import decide
from launch.trained.load import load_run
from launch.trained.numerics import Numerics
from lightning_modules import PuzzleModule

NUM = 60


def main() -> None:
    """Prints a line for each kind and size."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path)
    parser.add_argument("calibration", type=Path)
    options = parser.parse_args()
    model, data, checkpoint = load_run(options.run, "cpu")
    numerics, calibration = Numerics.of(checkpoint, model.device), Calibration.read(options.calibration)
    numerics.prepare(model, model.seed)
    alike = of_rules(data.trained)
    others = of_rules([rule for rule in range(NUM_RULES) if rule not in data.trained])
    kinds = {
        "the trained rules": alike,
        "the same, random cells": (corrupt(alike[0], Corruption(cells=1.0), seed=1, key=(0,)), alike[1]),
        "rules never trained": others,
    }
    with numerics.at_work(model.device):
        for kind, (puzzles, rules) in kinds.items():
            for size in (1, 2, 20):
                print(f"{kind}, {counted(model, calibration, puzzles, rules, size)}", flush=True)


def of_rules(rules: Sequence[int]) -> tuple[Tensor, Tensor]:
    """(NUM, 3, 9, 9) test puzzles of the rules in turn, in a random order, and their rules (NUM,)."""
    drawn = torch.tensor([rules[i % len(rules)] for i in range(NUM)])
    puzzles = torch.cat([generate(int(rule), i, 1, split="test") for i, rule in enumerate(drawn)])
    order = torch.randperm(NUM, generator=torch.Generator().manual_seed(0))
    return puzzles[order], drawn[order]


def counted(model: PuzzleModule, calibration: Calibration, puzzles: Tensor, rules: Tensor, size: int) -> str:
    """What came of the puzzles in files of ``size``."""
    generator, alarms, accepted, wrong = torch.Generator().manual_seed(0), 0, 0, 0
    files = list(zip(puzzles.split(size), rules.split(size), strict=True))
    for some, of in files:
        decided = decide(model, some, last_panel_mask(size), calibration, max_error=0.05, generator=generator)
        alarms += decided.check.are_unlike
        accepted += int(decided.accepted.sum())
        wrong += int((decided.accepted & ~rule_holds(decided.completed, of)).sum())
    return (f"files of {size}: {alarms} of {len(files)} taken for unlike; {accepted} of {len(puzzles)} puzzles "
            f"accepted, {wrong} of them wrong")  # fmt: skip


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
