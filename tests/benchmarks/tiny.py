"""The tiny presets' training by ``genraven fit`` against that of an earlier commit, each in a process of its own.

As a script it is such a process: ``python tiny.py OPTIONS`` prints the puzzles a second of ``genraven fit OPTIONS``,
with the code that PYTHONPATH names.
"""

import contextlib
import io
import os
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterator
from pathlib import Path

from harness import STEPS, WARM_UP, Clock, Row

BASE = "a63d483"
ROOT = Path(__file__).parents[2]
PRESETS = {"gpt2_tiny": 64, "sit_tiny": 32}
"""Those that the earlier commit has as well, and their batches."""


def rate(code: Path, preset: str, precision: str) -> float:
    """Puzzles a second of a preset's training with the code in a folder."""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(code), str(Path(__file__).parent)])}
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, __file__, "-c", f"model/{preset}.yaml", "-c", "data/demo.yaml", "-c",
                   "trainer/cpu.yaml", "--data.samples_per_rule", "1000", "--data.global_batch_size",
                   str(PRESETS[preset]), "--trainer.precision", precision, "--trainer.max_steps", str(STEPS),
                   "--trainer.val_check_interval", str(10 * STEPS), "--trainer.callbacks+=harness.Clock",
                   "--run_dir", str(Path(folder) / "run")]  # fmt: skip
        done = subprocess.run(command, capture_output=True, text=True, cwd=folder, env=environment)
    if done.returncode:
        sys.exit(done.stderr)
    return (STEPS - WARM_UP) * PRESETS[preset] / float(done.stdout.split()[-1])


def rows(rounds: int) -> Iterator[Row]:
    """One for each preset, in the precision that suits the processor against float32."""
    from launch.training.precision import cpu_precision

    precision, earlier = cpu_precision(), tempfile.TemporaryDirectory()
    archive = subprocess.run(["git", "-C", str(ROOT), "archive", BASE], capture_output=True, check=True).stdout
    with tarfile.open(fileobj=io.BytesIO(archive)) as files:
        files.extractall(earlier.name, filter="data")
    for preset in PRESETS:
        yield Row(f"{preset}, step of {PRESETS[preset]}, {precision}", "puzzles/s",
                  lambda preset=preset: rate(ROOT, preset, precision),  # type: ignore[misc]
                  lambda preset=preset: rate(Path(earlier.name), preset, "32-true"),  # type: ignore[misc]
                  f"commit {BASE}, float32", 1.3, min(rounds, 3), is_rate=True)  # fmt: skip


if __name__ == "__main__":
    from launch.cli import main

    with contextlib.redirect_stdout(sys.stderr):
        status = main(["fit", *sys.argv[1:]])
    assert not status
    print(Clock.seconds)
