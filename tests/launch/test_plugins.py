"""--plugin: a module of the user's own, for every command and all that it starts."""

import importlib
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tiny import fit, steps

from launch.cli import main
from launch.configs.plugins import named_plugins, plugin_options, take_plugins
from launch.configs.registry import classes
from launch.jobs import local_queue
from launch.processes.launcher import Ranks

MODULE = """
import torch
from genraven.networks.transformer import Transformer
from torch.nn import Linear
class Mine(Transformer):
    "A network of one's own."
class _Hidden(Transformer): pass
class Runner:
    def __init__(self, command): raise SystemExit("called")
"""
SHORT = ["--trainer.max_steps", "2", "--trainer.val_check_interval", "2"]
MINE = ["--model.network", "my_networks.Mine", *("--model.network.width", "24", "--model.network.depth", "1")]


@pytest.fixture(autouse=True)
def module(in_tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    Path("my_networks.py").write_text(MODULE)
    Path("broken.py").write_text("import nowhere")
    Path("leaves.py").write_text("raise SystemExit(3)")
    monkeypatch.syspath_prepend(in_tmp_path)
    importlib.invalidate_caches()
    yield
    sys.modules.pop("my_networks", None)
    take_plugins([])


def error_of(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    capsys.readouterr()
    assert main(arguments) == 2
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("genraven: error:")]
    return line


def test_it_is_taken_out_wherever_it_stands() -> None:
    assert take_plugins(["launch", "--plugin", "my_networks", "--", "fit", "--plugin=json"]) == ["launch", "--", "fit"]
    assert named_plugins() == ("my_networks", "json")
    assert plugin_options() == ["--plugin", "my_networks", "--plugin", "json"]
    assert take_plugins(["fit"]) == ["fit"]
    assert named_plugins() == ()


@pytest.mark.parametrize("command", ["fit", "sample", "evaluate", "submit", "sweep", "launch", "report", "rules"])
@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--plugin", "no_such"], "got no_such (ModuleNotFoundError: No module named 'no_such')"),
        (["--plugin=broken"], "got broken (ModuleNotFoundError: No module named 'nowhere')"),
        (["--plugin", "leaves"], "got leaves (SystemExit: 3)"),
        (["--plugin"], "expected a module after --plugin, got nothing"),
        (["--plugin", "--out"], "expected a module after --plugin, got --out"),
    ],
)
def test_a_plugin_that_is_none_is_one_line(
    command: str, options: list[str], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert says in error_of([command, *options], capsys)


def test_its_classes_are_in_the_table_while_it_is_named() -> None:
    assert "my_networks.Mine" not in classes()
    take_plugins(["--plugin", "my_networks"])
    assert "my_networks.Mine" in classes()
    assert (
        not {"my_networks._Hidden", "my_networks.Linear", "my_networks.Runner", "my_networks.torch"} & classes().keys()
    )


def test_a_run_with_a_class_of_its_own(capsys: pytest.CaptureFixture[str]) -> None:
    plugin = ["--plugin", "my_networks"]
    assert main([*fit(Path("run"), *MINE, *SHORT), *plugin]) == 0
    sys.modules.pop("my_networks")
    for command in (["sample", "run"], ["evaluate", "run"], ["probe", "run"], ["export", "run"]):
        said = error_of(command, capsys)
        assert "got 'my_networks.Mine' as model.init_args.network: it is not loaded; --plugin MODULE" in said
    assert "my_networks" not in sys.modules
    assert main(["sample", "run", *plugin, "--num", "2"]) == 0
    assert main(["export", *plugin, "run", "--out", "card"]) == 0
    assert main(["sample", "card", *plugin, "--num", "2", "--overwrite"]) == 0
    assert "it is not loaded" in error_of(["sample", "card", "--overwrite"], capsys)
    assert main([*fit(Path("run"), *MINE, *SHORT, "--trainer.max_steps", "4"), *plugin]) == 0
    assert steps(Path("run"))[-1] == 4


def test_a_job_imports_it(fake_slurm: Callable[..., Path], capsys: pytest.CaptureFixture[str]) -> None:
    fake_slurm()
    cluster = ["--gpus-per-node", "0", "--plugin", "my_networks"]
    command = ["submit", *cluster, "--", *fit(Path("run").absolute(), *MINE)]
    assert main([*command[:1], "--dry-run", *command[1:]]) == 0
    assert "-P -m genraven fit --plugin my_networks \\\n" in capsys.readouterr().out
    assert main(command) == 0
    assert "resume  genraven submit --gpus-per-node=0 --plugin my_networks -- fit" in capsys.readouterr().out
    Path("grid.yaml").write_text("base: -c model/gpt2_tiny.yaml -c data/demo.yaml\naxes: {seed: [0]}")
    assert main(["sweep", "grid.yaml", *cluster, "--out", "out"]) == 0
    (script,) = Path("out/jobs").glob("*/job.sbatch")
    assert "-P -m genraven fit --plugin my_networks \\\n" in script.read_text()


def test_processes_here_import_it(monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[list[str]] = []

    class Process:
        pid, returncode = 1, 0

        def __init__(self, command: list[str], **_: Any) -> None:
            started.append(command)

        def poll(self) -> int:
            return 0

    monkeypatch.setattr("subprocess.Popen", Process)
    take_plugins(["--plugin", "my_networks"])
    assert Ranks(["fit"], 2).wait() == 0
    Path("run/job").mkdir(parents=True)
    local_queue._start(Path("run"), Path("code"), 0, {})
    assert len(started) == 3
    assert all("--plugin my_networks" in " ".join(command) for command in started)
