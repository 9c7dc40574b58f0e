"""From the command to the end of its first training step, the data being there."""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import lightning as L
from harness import Row

SAID = "the first step is done"


class FirstStep(L.Callback):
    """Says when."""

    def on_train_batch_end(self, *_: object) -> None:
        """Prints it."""
        print(SAID, flush=True)


def seconds() -> float:
    """Of one start."""
    here = str(Path(__file__).parent)
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([here, str(Path(here).parents[1])])}
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "launch.cli", "fit", "-c", "model/gpt2_tiny.yaml", "-c", "data/demo.yaml",
                   "-c", "trainer/cpu.yaml", "--trainer.max_steps", "1", "--run_dir", str(Path(folder) / "run"),
                   "--trainer.callbacks+=startup.FirstStep"]  # fmt: skip
        start, taken = time.perf_counter(), 0.0
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=environment
        )
        assert process.stdout is not None
        for line in process.stdout:
            if SAID in line:
                taken = time.perf_counter() - start
        assert process.wait() == 0
        assert taken
    return taken


def rows(rounds: int) -> Iterator[Row]:
    """One; the round that does not count makes the data."""
    yield Row("start-up, to the end of the first step", "s", seconds, rounds=rounds, is_rate=True)
