"""A search as the job array that the documentation has, on a real SLURM."""

import json
import re
import shlex
import subprocess
from pathlib import Path

import pytest
import yaml
from jobs import in_queue, wait_for
from tiny import SEARCH

pytest.importorskip("optuna", reason="the extra tune is not installed")
pytestmark = [pytest.mark.slurm, pytest.mark.usefixtures("slurm")]

ROOT = Path(__file__).parents[2]


def test_the_tasks_of_an_array_work_on_one_search(warm_python: str, tmp_path: Path) -> None:
    """All end well, with one result."""
    text = (ROOT / "docs" / "tune.md").read_text()
    (line,) = re.findall("^sbatch .*$", text, re.M)
    search, out = tmp_path / "search.yaml", tmp_path / "out"
    search.write_text(json.dumps(SEARCH))
    places = {"0-7": "0-2", "genraven": f"{warm_python} -m genraven", "tune/structured.yaml": str(search),
              "/shared/tune": str(out)}  # fmt: skip
    for old, new in places.items():
        assert old in line
        line = re.sub(rf"(?<![\w/]){re.escape(old)}(?!\w)", new, line)
    command = [*shlex.split(line), "--parsable", "--output", str(tmp_path / "%a.log"), "--chdir", str(ROOT)]
    job = subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()

    def said() -> str:
        return "\n".join(path.read_text() for path in sorted(tmp_path.glob("*.log")))

    wait_for(lambda: not in_queue(job), said)
    logs = [path.read_text() for path in sorted(tmp_path.glob("*.log"))]
    assert len(logs) == 3
    for log in logs:
        assert log.rstrip().endswith("tuning.md"), said()
    assert {path.name for path in out.glob("best-*.yaml")} == {"best-autoregressive.yaml", "best-diffusion.yaml"}
    curves = [path.read_text().splitlines()[1:] for path in out.glob("*/curve.csv")]
    assert sorted(map(len, curves)) == [1, 1, 2, 2], said()  # of each family one trial was dropped
    assert yaml.safe_load((out / "best-diffusion.yaml").read_text())["tuned"] == {"trials": 2, "puzzles": 48}
