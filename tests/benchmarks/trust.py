"""Is the promise of ``genraven calibrate`` kept by trained runs? `python tests/benchmarks/trust.py RUN [RUN ...]`.

20 000 fresh puzzles are completed and labelled by their rules. 500 calibrations are drawn from them, as large as those
of the command; each is held against the puzzles that it did not see, and against others with wrong given cells. Beside
the table stands how often a file of a hundred puzzles is taken for unlike.
"""

import argparse
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from genraven.puzzles.corrupt import Corruption, corrupt
from genraven.puzzles.masks import last_panel_mask
from genraven.puzzles.spec import NUM_RULES, RULES
from genraven.trust.confidence import usable
from genraven.trust.familiarity import ALARM, familiarity, unlike
from genraven.trust.fitting import Labelled
from genraven.trust.trial import Trial, trial
from launch.runs.folder import find_checkpoint
from launch.trained.calibrate import label
from launch.trained.checkers import find_checker
from launch.trained.completions import drawn_puzzles
from launch.trained.load import load_run
from launch.trained.numerics import Numerics
from lightning_modules import PuzzleModule

SEED = 1  # not that of a calibration
DELTA, CANDIDATES, CORRUPTED = 0.1, 8, 0.02
SIZES = {"num_chosen": 500, "num_tested": 2000, "delta": DELTA}


def main() -> None:
    """Prints a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("runs", nargs="+", type=Path)
    parser.add_argument("--puzzles", type=int, default=20_000)
    parser.add_argument("--corrupted-puzzles", type=int, default=5_000)
    parser.add_argument("--calibrations", type=int, default=500)
    parser.add_argument("--without", nargs="+", default=[], help="confidences not to use, such as those that take long")
    options = parser.parse_args()
    kept = DELTA + 2 * (DELTA * (1 - DELTA) / options.calibrations) ** 0.5
    print(f"{options.calibrations} calibrations; the promise is kept where it is broken in at most {kept:.3f} of them")
    for run in options.runs:
        path = find_checkpoint(run)
        model, data, checkpoint = load_run(path, "cpu")
        numerics = Numerics.of(checkpoint, model.device, None)
        numerics.prepare(model, model.seed)
        with numerics.at_work(model.device):
            whole = labelled(model, data.trained, options.puzzles, options.without)
            corrupted = labelled(model, data.trained, options.corrupted_puzzles, options.without, corrupted=CORRUPTED)
            print(told_apart(model, data.trained), flush=True)
        for max_error in (0.05, 0.1):
            for name, on in (("as calibrated", None), (f"{CORRUPTED:.0%} of the given cells wrong", corrupted)):
                found = trial(whole, max_error=max_error, num=options.calibrations, **SIZES, on=on)
                print(line(model.architecture, name, found, whole if on is None else on), flush=True)


def labelled(
    model: PuzzleModule, rules: tuple[int, ...], num: int, without: list[str], corrupted: float = 0.0
) -> Labelled:
    """``num`` fresh puzzles, completed; where cells are ``corrupted``, the model sees them so."""
    puzzles, of_rule = drawn_puzzles(rules, num, SEED)
    given = corrupt(puzzles, Corruption(cells=corrupted), seed=SEED, key=(0,)) if corrupted else None
    names = usable(model.method.confidences, CANDIDATES, without)
    return label(model, puzzles, of_rule, last_panel_mask(num), find_checker(None), num=CANDIDATES, names=names,
                 batch_size=1024, given=given, familiar=False)  # fmt: skip


def told_apart(model: PuzzleModule, rules: tuple[int, ...]) -> str:
    """How often files of a hundred puzzles are taken for unlike 2 000 of the trained rules, of what they hold."""

    def values(puzzles: Tensor) -> NDArray[np.float64]:
        mask, generator = last_panel_mask(len(puzzles)), torch.Generator().manual_seed(SEED)
        parts = [familiarity(model, *part, generator) for part in zip(puzzles.split(500), mask.split(500), strict=True)]
        return torch.cat(parts).numpy()

    known, alike = values(drawn_puzzles(rules, 2000, SEED)[0]), drawn_puzzles(rules, 2000, SEED + 1)[0]
    other = next(rule for rule in range(NUM_RULES) if rule not in rules)
    kinds = {
        "the trained rules": alike,
        f"the same, {CORRUPTED:.0%} of the cells wrong": corrupt(
            alike, Corruption(cells=CORRUPTED), seed=SEED, key=(1,)
        ),
        RULES[other].name: drawn_puzzles((other,), 2000, SEED + 1)[0],
    }
    found = {}
    for kind, puzzles in kinds.items():
        files = values(puzzles).reshape(-1, 100)
        found[kind] = sum(unlike(file, known) < ALARM for file in files), len(files)
    return f"files taken for unlike: {', '.join(f'{n} of {num} of {kind}' for kind, (n, num) in found.items())}"


def line(architecture: str, name: str, found: Trial, on: Labelled) -> str:
    """One row of the table."""
    right = {score: float(np.mean(correct)) for score, correct in on.correct.items()}
    most = max(right, key=lambda score: right[score])
    low, high = np.quantile(found.fractions, [0.05, 0.95])
    words = [architecture, name, f"{found.max_error:.0%}", f"{right[most]:.3f} of {len(on)}",
             f"{found.broken} of {found.num}: {found.broken / found.num:.3f}",
             f"{np.mean(found.fractions):.2f} [{low:.2f}, {high:.2f}]"]  # fmt: skip
    return f"| {' | '.join(words)} |"


if __name__ == "__main__":
    torch.manual_seed(SEED)
    main()
