"""The command finds its own packages, whatever else is called like them or like Python's own modules."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from tiny import fit

from genraven.__main__ import find_own_packages
from genraven.installation import CODE, PACKAGES, command

SCRIPT = "import re, sys\nfrom genraven.__main__ import main\nsys.exit(main())\n"  # as pip writes it


@pytest.fixture
def strangers(in_tmp_path: Path) -> Path:
    """A folder with packages of our names but ``genraven``, and the current folder with the same and ``random.py``."""
    for folder in ("path", "here"):
        for name in {*PACKAGES} - {"genraven"}:
            package = in_tmp_path / folder / name
            package.mkdir(parents=True)
            (package / "__init__.py").write_text(f"raise RuntimeError('a stranger, {name}')")
    (in_tmp_path / "here" / "random.py").write_text("raise RuntimeError('a stranger, random')")
    os.chdir("here")
    Path("../genraven").write_text(SCRIPT)
    return in_tmp_path / "path"


def run(words: list[str], path: list[Path]) -> str:
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(map(str, path)), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(words, env=environment, capture_output=True, text=True, timeout=400)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_command(strangers: Path) -> None:
    for words in ([sys.executable, "../genraven"], [sys.executable, "-m", "genraven"], command()):
        assert "shape.constant" in run([*words, "rules"], [strangers, CODE])
    assert "shape.constant" in run([*command(), "rules"], [strangers])


@pytest.mark.slow
@pytest.mark.parametrize(
    "words", [["launch", "--devices", "2", "--"], ["--trainer.devices", "2"]], ids=["launch", "devices"]
)
def test_processes_of_a_run(words: list[str], strangers: Path) -> None:
    arguments = fit(Path("run"), "--trainer.max_steps", "2")
    before, after = (words, []) if words[0] == "launch" else ([], words)
    run([sys.executable, "-m", "genraven", *before, *arguments, *after], [strangers, CODE])
    assert '"devices": 2' in Path("run/summary.json").read_text()


@pytest.mark.slow
def test_runs_of_a_sweep_have_the_users_path(strangers: Path) -> None:
    """A callback of the user's is found as in a training without a sweep; ours are those frozen with the sweep."""
    strangers.joinpath("mine.py").write_text(
        "import lightning\nimport launch\nfrom pathlib import Path\n"
        "class Note(lightning.Callback):\n"
        "    def on_train_start(self, trainer, module):\n"
        "        Path('note').write_text(launch.__file__)\n"
    )
    options = " ".join(fit(Path("x"), "--trainer.max_steps", "2")[1:]).replace("--run_dir x", "")
    Path("grid.yaml").write_text(f"base: {options} --trainer.callbacks+=mine.Note\naxes: {{seed: [0]}}\n")
    assert "s0: finished" in run(
        [sys.executable, "../genraven", "sweep", "grid.yaml", "--local", "1"], [strangers, CODE]
    )
    assert Path("note").read_text().startswith(str(Path("runs/grid/jobs").absolute()))


def test_a_stranger_that_came_first_is_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    stranger = type(sys)("launch")
    stranger.__file__ = "/elsewhere/launch/__init__.py"
    monkeypatch.setattr(sys, "meta_path", list(sys.meta_path))
    monkeypatch.setattr(sys, "modules", {**sys.modules, "launch": stranger})
    find_own_packages()
    assert "launch" not in sys.modules
    assert {"genraven", "genraven.__main__"} <= sys.modules.keys()


def test_all_packages_are_known() -> None:
    assert {path.parent.name for path in CODE.glob("*/__init__.py")} - {"tests"} == set(PACKAGES)
