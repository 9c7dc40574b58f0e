"""Rules, generation and loading, each against a plain way of doing the same."""

import itertools
import os
import sys
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from harness import Row
from torch.utils.data import DataLoader, TensorDataset

sys.path.insert(0, str(Path(__file__).parents[1] / "puzzles"))
from test_rules import row_rules_reference  # the set-based version that the tests compare with

from datamodules import GenRAVENDataModule
from genraven.puzzles.generate import generate
from genraven.puzzles.rules import row_rules
from genraven.puzzles.spec import NUM_RULES


def rows(rounds: int) -> Iterator[Row]:
    """All of them; what is measured in moments in more rounds."""
    puzzles = torch.cat([generate(rule, 0, 103) for rule in range(NUM_RULES)])[:4096].contiguous()
    few = puzzles[torch.randperm(len(puzzles))[:100]].numpy()

    def sets() -> float:
        for puzzle in few:
            row_rules_reference(puzzle)
        return len(few)

    what, against = "rules, batches of 4 096", "plain Python sets"
    yield Row(what, "puzzles/s", lambda: len(row_rules(puzzles)), sets, against, 50, 4 * rounds)
    compiled: Callable[[torch.Tensor], torch.Tensor] = torch.compile(row_rules)
    yield Row(f"{what}, compiled", "puzzles/s", lambda: len(compiled(puzzles)), sets, against, 200, 4 * rounds)

    pool = ThreadPoolExecutor(len(os.sched_getaffinity(0)))
    made = lambda: sum(map(len, pool.map(lambda rule: generate(rule, 0, 2048), range(NUM_RULES))))  # noqa: E731
    yield Row("generation, all 40 rules", "puzzles/s", made, rounds=rounds)

    with TemporaryDirectory() as folder:
        for size in (64, 256):
            data = GenRAVENDataModule(samples_per_rule=4000, cache_dir=folder, global_batch_size=size)
            data.prepare_data()
            held = torch.cat([generate(rule, 0, 4000) for rule in data.trained])
            usual = DataLoader(TensorDataset(held), batch_size=size, shuffle=True)
            yield Row(f"loading, batches of {size}", "puzzles/s", drawing(data.train_dataloader(), 51_200 // size),
                      drawing(usual, 10_240 // size), "TensorDataset + DataLoader", 20, 2 * rounds)  # fmt: skip


def drawing(loader: Iterable[Any], num_batches: int) -> Callable[[], float]:
    """Takes that many batches, going on where it was."""
    endless = itertools.chain.from_iterable(itertools.repeat(loader))
    return lambda: sum(len(batch[0]) for batch in itertools.islice(endless, num_batches))
