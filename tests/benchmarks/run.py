"""``make bench``: measures rules, generation and loading on this machine, each against a plain way of doing the same.

Ours and the plain way alternate within one process on the same data; medians of several rounds.
"""

import itertools
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch.utils.data import DataLoader, TensorDataset

sys.path.insert(0, str(Path(__file__).parents[1] / "puzzles"))
from test_rules import row_rules_reference  # the set-based version that the tests compare with

from datamodules import GenRAVENDataModule
from genraven.puzzles.generate import generate
from genraven.puzzles.rules import row_rules
from genraven.puzzles.spec import NUM_RULES

ROUNDS = 15


def rate(work: Callable[[], int], rounds: int = ROUNDS) -> tuple[float, float]:
    """Median and best units per second of ``work``, which returns how many units it did."""
    work()
    rates = []
    for _ in range(rounds):
        start = time.perf_counter()
        units = work()
        rates.append(units / (time.perf_counter() - start))
    return statistics.median(rates), max(rates)


def main() -> None:
    """Prints one table."""
    print(
        f"{platform.processor() or platform.machine()}, {len(os.sched_getaffinity(0))} CPUs, torch {torch.__version__}"
    )
    print(f"{'what':44}{'ours':>12}{'best':>12}{'plain':>10}{'ratio':>8}   puzzles/s")

    puzzles = torch.cat([generate(rule, 0, 103) for rule in range(NUM_RULES)])[:4096].contiguous()
    few = puzzles[torch.randperm(len(puzzles))[:100]].numpy()

    def reference() -> int:
        for puzzle in few:
            row_rules_reference(puzzle)
        return len(few)

    slow, _ = rate(reference, 5)
    report("rules, batches of 4096", rate(lambda: len(row_rules(puzzles)), 60), slow)
    compiled = torch.compile(row_rules)
    report("rules, compiled", rate(lambda: len(compiled(puzzles)), 60), slow)

    pool = ThreadPoolExecutor(len(os.sched_getaffinity(0)))
    report(
        "generation, all 40 rules, threads",
        rate(lambda: sum(map(len, pool.map(lambda rule: generate(rule, 0, 2048), range(NUM_RULES)))), 5),
    )

    with TemporaryDirectory() as folder:
        for batch_size in (64, 256):
            data = GenRAVENDataModule(samples_per_rule=1000, cache_dir=folder, global_batch_size=batch_size)
            data.prepare_data()
            held = torch.cat([generate(rule, 0, 1000) for rule in data.trained])
            usual = DataLoader(TensorDataset(held), batch_size=batch_size, shuffle=True)
            ours = rate(lambda: draw(data.train_dataloader(), 100))  # noqa: B023
            plain_rate, _ = rate(lambda: draw(usual, 20), 5)  # noqa: B023
            report(f"loading at batch {batch_size} (plain: TensorDataset)", ours, plain_rate)


def draw(loader: Iterable[Any], num_batches: int) -> int:
    """Takes that many batches; the puzzles in them."""
    return sum(len(batch[0]) for batch in itertools.islice(loader, num_batches))


def report(what: str, ours: tuple[float, float], plain: float | None = None) -> None:
    """Prints a line."""
    against = f"{plain:10,.0f}{ours[0] / plain:7.0f}x" if plain else ""
    print(f"{what:44}{ours[0]:12,.0f}{ours[1]:12,.0f}{against}", flush=True)


if __name__ == "__main__":
    main()
