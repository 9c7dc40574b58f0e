"""The tiny presets' training by ``genraven fit`` against that of an earlier commit, each in a process of its own.

``python tiny.py --against COMMIT`` compares with that commit, in the same precision, all presets in turn.
As a script with other options it is such a process: ``python tiny.py OPTIONS`` prints the puzzles a second of
``genraven fit OPTIONS``, with the code that PYTHONPATH names.
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

from harness import HEADER, STEPS, WARM_UP, Clock, Row

BASE = "a63d483"
ROOT = Path(__file__).parents[2]
PRESETS = {"gpt2_tiny": 64, "sit_tiny": 32}
"""Those that the earlier commit has as well, and their batches."""
LATER = PRESETS | {"mdm_tiny": 32}
"""Those that later commits have, too."""


def rate(code: Path, preset: str, precision: str) -> float:
    """Puzzles a second of a preset's training with the code in a folder."""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(code), str(Path(__file__).parent)])}
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, __file__, "-c", f"model/{preset}.yaml", "-c", "data/demo.yaml", "-c",
                   "trainer/cpu.yaml", "--data.samples_per_rule", "1000", "--data.global_batch_size",
                   str(LATER[preset]), "--trainer.precision", precision, "--trainer.max_steps", str(STEPS),
                   "--trainer.val_check_interval", str(10 * STEPS), "--trainer.callbacks+=harness.Clock",
                   "--run_dir", str(Path(folder) / "run")]  # fmt: skip
        done = subprocess.run(command, capture_output=True, text=True, cwd=folder, env=environment)
    if done.returncode:
        sys.exit(done.stderr)
    return (STEPS - WARM_UP) * LATER[preset] / float(done.stdout.split()[-1])


def of_commit(commit: str) -> tempfile.TemporaryDirectory[str]:
    """A folder of the code of a commit."""
    folder = tempfile.TemporaryDirectory()
    archive = subprocess.run(["git", "-C", str(ROOT), "archive", commit], capture_output=True, check=True).stdout
    with tarfile.open(fileobj=io.BytesIO(archive)) as files:
        files.extractall(folder.name, filter="data")
    return folder


def against(commit: str) -> None:
    """Prints a table of the presets, three rounds in turn, in the precision that suits the processor."""
    from launch.trained.precision import default_precision

    precision, earlier = default_precision("cpu"), of_commit(commit)
    print(HEADER, flush=True)
    for preset, batch in LATER.items():
        row = Row(f"{preset}, step of {batch}, {precision}", "puzzles/s",
                  lambda preset=preset: rate(ROOT, preset, precision),  # type: ignore[misc]
                  lambda preset=preset: rate(Path(earlier.name), preset, precision),  # type: ignore[misc]
                  f"commit {commit}", rounds=3, is_rate=True)  # fmt: skip
        print(row.measure(), flush=True)


def rows(rounds: int) -> Iterator[Row]:
    """One for each preset, in the precision that suits the processor against float32."""
    from launch.trained.precision import default_precision

    precision, earlier = default_precision("cpu"), of_commit(BASE)
    for preset in PRESETS:
        yield Row(f"{preset}, step of {PRESETS[preset]}, {precision}", "puzzles/s",
                  lambda preset=preset: rate(ROOT, preset, precision),  # type: ignore[misc]
                  lambda preset=preset: rate(Path(earlier.name), preset, "32-true"),  # type: ignore[misc]
                  f"commit {BASE}, float32", 1.3, min(rounds, 3), is_rate=True)  # fmt: skip


if __name__ == "__main__" and sys.argv[1:2] == ["--against"]:
    against(sys.argv[2])
elif __name__ == "__main__":
    from launch.cli import main

    with contextlib.redirect_stdout(sys.stderr):
        status = main(["fit", *sys.argv[1:]])
    assert not status
    print(Clock.seconds)
