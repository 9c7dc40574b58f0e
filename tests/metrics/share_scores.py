"""Scores fractions of the same puzzles in two processes; each writes the sum over both. Run by test_scores.py: FOLDER.

A script, because its processes are forked: after one import, and from a process without threads.
"""

import json
import multiprocessing
import sys
from pathlib import Path

import torch

from genraven.metrics.memorization import TrainingIndex
from genraven.metrics.scores import Scores
from genraven.puzzles.generate import generate

NUM = 60
SHARES = ((0, NUM), (NUM, NUM))  # the second process sees nothing


def score(first: int, last: int) -> str:
    """JSON of the scores of puzzles ``first`` .. ``last - 1`` of NUM, a third of them memorised."""
    puzzles = torch.cat([generate(4, 0, NUM // 2), generate(5, 0, NUM // 2)])
    rules = torch.tensor([4, 6]).repeat(NUM // 2)
    scores = Scores((4,), TrainingIndex.build(generate(4, 0, 20)))
    for i in range(first, last, 7):
        part = slice(i, min(i + 7, last))
        scores.add_losses(torch.arange(NUM)[part].double())
        scores.add_generated(puzzles[part])
        scores.add_completed(puzzles[part], rules[part])
    return json.dumps(scores.compute().as_json(), sort_keys=True)


def work(rank: int, folder: Path) -> None:
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo", init_method=f"file://{folder}/init", rank=rank, world_size=len(SHARES))
    (folder / f"{rank}.json").write_text(score(*SHARES[rank]))
    torch.distributed.destroy_process_group()


if __name__ == "__main__":
    context = multiprocessing.get_context("fork")
    processes = [context.Process(target=work, args=(rank, Path(sys.argv[1]))) for rank in range(len(SHARES))]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    sys.exit(any(process.exitcode for process in processes))
