"""The whole network as one graph in two processes, which exchange gradients while it goes back."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
@pytest.mark.usefixtures("at_once")
def test_two_processes_have_the_gradients_of_both_without_a_compiler() -> None:
    """By a script that shows the buckets; torch divides the graph where one ends."""
    script, options = str(ROOT / "tests/benchmarks/buckets.py"), ["--width", "160", "--bucket_mb", "1", "--compiled"]
    command = [sys.executable, script, "sit_tiny", *options]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["apart"] < 1e-4
    assert len(found["buckets_mb"]) > 1
    assert found["graphs"] > 1
