"""``genraven tune`` as processes that are killed, and two at a time, with trainings of a second."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from tiny import SEARCH

from genraven.process import is_alive
from genraven.run_folder import read_note
from launch.jobs.tune.search import read_search
from launch.runs.status import find_runs

pytest.importorskip("optuna", reason="the extra tune is not installed")
pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("at_once")]

ROOT = Path(__file__).parents[2]
NUM_SCORES = 6
DEADLINE_S = 550


@pytest.fixture(scope="module")
def search(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("search") / "search.yaml"
    path.write_text(json.dumps(SEARCH))
    return path


def begin(search: Path, out: Path) -> "subprocess.Popen[bytes]":
    out.mkdir(exist_ok=True)
    words = [sys.executable, "-m", "launch.cli", "tune", str(search), "--out", str(out)]
    with (out / "said").open("ab") as said:
        return subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=said, stderr=said, cwd=ROOT)


def scores(out: Path) -> int:
    """How many rungs of trials have been scored."""
    return sum(len(path.read_text().splitlines()) - 1 for path in out.glob("*/curve.csv"))


def outcome(search: Path, out: Path) -> Mapping[str, Any]:
    """All trials with their values, scores and ends, and the two configs that were chosen."""
    from launch.jobs.tune.storage import Memory

    read = read_search(search)
    memory = Memory(out, read)
    trials = {family.name: [(t.number, t.state.name, t.params, t.intermediate_values) for t in memory.trials(family)]
              for family in read.families}  # fmt: skip
    return trials | {path.name: path.read_text() for path in out.glob("best-*.yaml")}


@pytest.fixture(scope="module")
def whole(search: Path, tmp_path_factory: pytest.TempPathFactory, warm_python: str) -> Mapping[str, Any]:
    """Of a search that ran through."""
    out = tmp_path_factory.mktemp("whole")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "executable", warm_python)
        assert begin(search, out).wait(DEADLINE_S) == 0, (out / "said").read_text()
    return outcome(search, out)


def test_all_trials_are_trained(whole: Mapping[str, Any]) -> None:
    for name in ("autoregressive", "diffusion"):
        ends = sorted(state for _, state, _, _ in whole[name])
        assert ends == ["COMPLETE", "PRUNED"]
        assert sorted(len(found) for *_, found in whole[name]) == [1, 2]
        assert f"best-{name}.yaml" in whole


def test_killed_five_times_it_ends_as_one_that_ran_through(
    search: Path, whole: Mapping[str, Any], tmp_path: Path
) -> None:
    """Its process alone, so that a training goes on meanwhile, or that training with it."""
    for num in range(5):
        process = begin(search, tmp_path)
        deadline = time.monotonic() + DEADLINE_S
        while process.poll() is None and not (scores(tmp_path) >= num and any(_at_work(tmp_path))):
            assert time.monotonic() < deadline, (tmp_path / "said").read_text()
            time.sleep(0.02)
        assert process.poll() is None, (tmp_path / "said").read_text()
        process.kill()
        process.wait()
        if num % 2:
            for pid in _at_work(tmp_path):
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
    assert begin(search, tmp_path).wait(DEADLINE_S) == 0, (tmp_path / "said").read_text()
    assert outcome(search, tmp_path) == whole


def _at_work(out: Path) -> list[int]:
    """Numbers of the processes that train."""
    return [note["pid"] for run in find_runs(out) if is_alive(note := read_note(run))]


def test_two_processes_search_as_one_does(search: Path, whole: Mapping[str, Any], tmp_path: Path) -> None:
    both = [begin(search, tmp_path) for _ in range(2)]
    assert [process.wait(DEADLINE_S) for process in both] == [0, 0], (tmp_path / "said").read_text()
    assert scores(tmp_path) == NUM_SCORES
    assert outcome(search, tmp_path) == whole
