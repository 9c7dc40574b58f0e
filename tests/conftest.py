"""What all tests share: no test touches the user's cache; a SLURM that only says what it is told to."""

import gc
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
import yaml

from genraven import progress
from genraven.memory import keep_freed_memory
from genraven.puzzles import generate
from genraven.report.evaluation import VERSION
from genraven.report.study import read_study

sys.path.insert(0, str(Path(__file__).parent / "launch"))
import blocks
import warm

keep_freed_memory()  # as the command does
SINFO = "gpu*|1-00:00:00|gpu:a100:8(S:0-1)|4\ngpu*|1-00:00:00|gpu:v100:2,gpu:t4:2|2\ncpu|infinite|(null)|10"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests marked ``gpu`` are skipped where there is none; files with slow tests come first.

    Workers take one file after another: of light ones at the end, none waits long for another.
    """
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in slow)
    for item in items:
        if item.get_closest_marker("gpu") and not torch.cuda.is_available():
            item.add_marker(pytest.mark.skip(reason="needs a GPU"))


def pytest_collection_finish() -> None:
    """What was imported stays out of every later search for circles of dead objects, which would take half a second."""
    gc.collect()
    gc.freeze()


def pytest_runtest_teardown(item: pytest.Item, nextitem: pytest.Item | None) -> None:
    """So does what the tests of a file have left, such as further modules and compiled networks."""
    if nextitem is None or nextitem.path != item.path:
        gc.collect()
        gc.freeze()


@pytest.fixture(autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GENRAVEN_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))


@pytest.fixture(autouse=True)
def _blocks_made_once(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """But where it is tested how they are made."""
    if request.path.parent.name != "puzzles":
        monkeypatch.setattr(generate, "_block", blocks.block)


@pytest.fixture
def in_tmp_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The test runs in an empty folder."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """Time that passes when it is told to."""
    clock = SimpleNamespace(now=1000.0)
    monkeypatch.setattr(progress, "time", SimpleNamespace(monotonic=lambda: clock.now))
    monkeypatch.setattr(progress, "_last_line_s", None)
    return clock


@pytest.fixture
def fake_slurm(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """Puts commands on the PATH that print or, given a number after a text, complain and fail; calls are noted."""
    tools = tmp_path_factory.mktemp("bin")

    def fake(sbatch: str | tuple[str, int] = "7", squeue: str = "", sinfo: str = SINFO) -> Path:
        for name, answer in {"sbatch": sbatch, "squeue": squeue, "sinfo": sinfo}.items():
            text, code = answer if isinstance(answer, tuple) else (answer, 0)
            stream = "&2" if code else "&1"
            tool = tools / name
            note = f'echo "{name} $*" >>{tools}/calls'
            tool.write_text(f"#!/bin/bash\n{note}\ncat >{stream} <<'E'\n{text}\nE\nexit {code}\n")
            tool.chmod(0o755)
        monkeypatch.setenv("PATH", str(tools), prepend=":")
        return tools / "calls"

    return fake


@pytest.fixture
def no_slurm(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """A PATH without SLURM's commands."""
    monkeypatch.setenv("PATH", str(tmp_path_factory.mktemp("empty")))


@pytest.fixture(scope="session")
def study_run() -> Callable[[str, Path], Path]:
    """What makes a folder of a run of our study, by name."""
    kept = read_study(Path(__file__).parents[1] / "docs" / "study" / "little_data")

    def make(name: str, folder: Path) -> Path:
        files = kept[name]
        folder.mkdir(parents=True)
        evaluation = {"version": VERSION, "run": files.evaluated, "results": files.results}
        (folder / "config.yaml").write_text(yaml.safe_dump(files.config))
        (folder / "summary.json").write_text(json.dumps(files.summary))
        (folder / "evaluation.json").write_text(json.dumps(evaluation))
        names = dict.fromkeys(name for row in files.curve for name in row)
        lines = [",".join(row.get(name, "") for name in names) for row in files.curve]
        (folder / "curve.csv").write_text("\n".join([",".join(names), *lines, ""]))
        return folder

    return make


@pytest.fixture(scope="session")
def warm_python() -> Iterator[str]:
    """What stands for Python, and starts at once."""
    with tempfile.TemporaryDirectory(prefix="warm-") as folder:
        python = warm.stand_in(Path(folder))
        environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
        server = subprocess.Popen([sys.executable, warm.__file__, folder], stdin=subprocess.DEVNULL, env=environment)
        try:
            while not [*Path(folder).glob("warm-*")]:
                assert server.poll() is None
                time.sleep(0.1)
            yield python
        finally:
            server.kill()
            server.wait()


@pytest.fixture
def at_once(warm_python: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Processes that the test starts need not import the heavy libraries; see warm.py."""
    monkeypatch.setattr(sys, "executable", warm_python)
