"""Opens a finite set in three processes at once and notes every block made. Run by test_store.py: FOLDER LOG.

A script, because its processes are forked: after one import, and from a process without threads.
"""

import multiprocessing
import os
import sys
from pathlib import Path

import numpy as np
from torch import Tensor

from datamodules import store
from genraven.puzzles.corrupt import Corruption
from genraven.puzzles.generate import BLOCK, generate

NUM_PROCESSES, RULES, NUM = 3, (0, 17), BLOCK + 500


def work(folder: Path, log: str) -> None:
    def noted(rule: int, start: int, count: int, **kwargs: object) -> Tensor:
        handle = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        os.write(handle, f"{rule} {start} {count}\n".encode())
        os.close(handle)
        return generate(rule, start, count, **kwargs)  # type: ignore[arg-type]

    store.generate = noted  # type: ignore[assignment]
    together.wait()
    maps = store.open_set(store.generated_source(NUM, 0, Corruption()), RULES, folder, verify=True)
    for rule, puzzles in zip(RULES, maps, strict=True):
        assert np.array_equal(puzzles, generate(rule, 0, NUM).numpy())


if __name__ == "__main__":
    generate(0, 0, 1)  # fills the tables that the processes share
    context = multiprocessing.get_context("fork")
    together = context.Barrier(NUM_PROCESSES, timeout=60)
    processes = [context.Process(target=work, args=(Path(sys.argv[1]), sys.argv[2])) for _ in range(NUM_PROCESSES)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    sys.exit(any(process.exitcode for process in processes))
