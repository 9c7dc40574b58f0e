"""The arrows of DESIGN.md, section 6: a room imports only rooms above it in the list."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
ROOMS = [  # from the bottom up
    "genraven.errors",
    "genraven.installation",
    "genraven.bounded",
    "genraven.escaping",
    "genraven.console",
    "genraven.progress",
    "genraven.memory",
    "genraven.signals",
    "genraven.paths",
    "genraven.ownership",
    "genraven.run_folder",
    "genraven.locks",
    "genraven.process",
    "genraven.states",
    "genraven.puzzles",
    "genraven.files",
    "genraven.outputs",
    "genraven.formats",
    "genraven.metrics",
    "genraven.networks",
    "genraven.methods",
    "genraven.flops",
    "genraven.timing",
    "genraven.probe",
    "genraven.trust",
    "genraven.report",
    "datamodules",
    "lightning_modules",
    "callbacks",
    "launch.errors",
    "launch.arguments",
    "launch.configs",
    "launch.schedulers",
    "launch.processes",
    "launch.runs",
    "launch.data",
    "launch.trained",
    "launch.training",
    "launch.jobs",
    "launch.advice",
    "launch.cli",
    "launch.demo",
    "genraven.__main__",
]
OURS = {room.partition(".")[0] for room in ROOMS}
APART = {  # what a room must not know although it stands above
    "genraven.networks": {"genraven.puzzles"},
    "genraven.methods": {f"genraven.puzzles.{name}" for name in ("corrupt", "generate", "render", "rules")},
}
DOORS = {"genraven.__main__", "genraven"}  # the command's entry, and that of users in Python: above all, of no room
OF_OTHERS = {"_exit", "_replace"}  # Python's own
OF_OTHERS |= {"_foreach_norm", "_foreach_lerp_", "_foreach_copy_", "_foreach_zero_", "_get_file_writer"}  # torch's
LIGHTNING = {"lightning", "pytorch_lightning", "lightning_fabric"}
MODULES = sorted(
    path.relative_to(ROOT) for top in OURS for path in (ROOT / top).rglob("*.py") if "__pycache__" not in path.parts
)


def module_name(path: Path) -> str:
    parts = path.with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def is_module(name: str) -> bool:
    path = ROOT / name.replace(".", "/")
    return path.is_dir() or path.with_suffix(".py").is_file()


def imports(source: str, path: Path) -> set[str]:
    """Names of the modules that ``source``, which stands at ``path``, imports: inside functions, and by text, too."""
    found: set[str] = set()
    package = module_name(path).split(".")
    package = package if path.name == "__init__.py" else package[:-1]
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            name = ".".join([*base, *([node.module] if node.module else [])])
            whole = {f"{name}.{alias.name}" for alias in node.names}
            found |= {inner if inner.split(".")[0] in OURS and is_module(inner) else name for inner in whole}
        elif isinstance(node, ast.Call) and getattr(node.func, "attr", "") == "import_module":
            found |= {arg.value for arg in node.args if isinstance(arg, ast.Constant)}
    return found


def room_of(module: str) -> str | None:
    return next((room for room in ROOMS if module == room or module.startswith(room + ".")), None)


def violations(source: str, path: Path) -> list[str]:
    """What ``source`` imports although it must not."""
    module = module_name(path)
    room, bad = room_of(module), []
    for name in sorted(imports(source, path)):
        top, other = name.partition(".")[0], room_of(name)
        if top in OURS:
            allowed = room is not None and other is not None and ROOMS.index(other) <= ROOMS.index(room)
            allowed = allowed or (module in DOORS and other is not None)
            allowed = allowed and not any(f"{name}.".startswith(f"{apart}.") for apart in APART.get(str(room), ()))
        else:
            allowed = not (module.startswith("genraven") and top in LIGHTNING)
        if not allowed:
            bad.append(name)
    return bad


@pytest.mark.parametrize("path", MODULES, ids=str)
def test_arrows_point_up_the_list_only(path: Path) -> None:
    assert violations((ROOT / path).read_text(), path) == []


def private_parts(tree: ast.AST) -> set[str]:
    """Names with a first underscore that are not the module's own: what another version of a library may lack."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] in LIGHTNING | {"jsonargparse"}:
            found.update(str(node.module).split("."), (alias.name for alias in node.names))
        elif isinstance(node, ast.Attribute) and not (isinstance(node.value, ast.Name) and node.value.id == "self"):
            found.add(node.attr)
    return {name for name in found if name.startswith("_") and not name.endswith("__")} - OF_OTHERS


@pytest.mark.parametrize("path", [path for path in MODULES if path.parts[0] != "genraven"], ids=str)
def test_private_parts_of_lightning_stand_in_one_file(path: Path) -> None:
    parts = private_parts(ast.parse((ROOT / path).read_text()))
    assert bool(parts) == (module_name(path) == "lightning_modules.lightning_internals"), parts


def test_every_module_stands_in_a_room() -> None:
    outside = [str(path) for path in MODULES if room_of(module_name(path)) is None]
    assert outside == ["genraven/__init__.py", "launch/__init__.py"]


def test_no_module_imports_itself_by_way_of_others() -> None:
    known = {module_name(path): imports((ROOT / path).read_text(), path) for path in MODULES}
    assert list(circles(known)) == []


def circles(imported: dict[str, set[str]]) -> Iterator[tuple[str, ...]]:
    """Modules that import each other, by way of others too; those of one circle together."""
    reached = {module: _reached(module, imported) for module in imported}
    yield from {tuple(sorted(m for m in reached[a] if a in reached[m])): None for a in imported if a in reached[a]}


def _reached(module: str, imported: dict[str, set[str]]) -> set[str]:
    found, left = set[str](), [module]
    while left:
        new = {name for name in imported[left.pop()] if name in imported} - found
        found |= new
        left += new
    return found


def test_a_circle_is_found() -> None:
    assert list(circles({"a": {"b"}, "b": {"c", "numpy"}, "c": {"b"}, "d": {"a"}})) == [("b", "c")]


def test_only_the_doors_lead_to_launch() -> None:
    guilty = {
        module_name(path)
        for path in MODULES
        if path.parts[0] != "launch"
        for name in imports((ROOT / path).read_text(), path)
        if name.partition(".")[0] == "launch"
    }
    assert guilty == DOORS


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("genraven/puzzles/rules.py", "from genraven.metrics import rates"),
        ("genraven/puzzles/rules.py", "from genraven import files"),
        ("genraven/puzzles/rules.py", "from ..metrics.rates import Rate"),
        ("genraven/errors.py", "import genraven.puzzles.spec"),
        ("genraven/networks/dit.py", "from genraven.puzzles.spec import GRID"),
        ("genraven/methods/masked.py", "def f():\n    from genraven.puzzles import rules"),
        ("genraven/metrics/scores.py", "from genraven.networks.dit import DiT"),
        ("genraven/metrics/scores.py", "import lightning as L"),
        ("genraven/metrics/scores.py", "from lightning.pytorch import Trainer"),
        ("genraven/methods/decoding.py", "from genraven.report import page"),
        ("datamodules/store.py", "from lightning_modules import PuzzleModule"),
        ("lightning_modules/base.py", "import callbacks.summary"),
        ("callbacks/summary.py", "from launch.runs.folder import load_run"),
        ("launch/runs/freeze.py", "from genraven.__main__ import main"),
        ("launch/runs/freeze.py", "import importlib\nimportlib.import_module('launch.jobs.submit')"),
        ("genraven/console.py", "from launch.cli import main"),
        ("launch/demo.py", "from genraven import load"),
        ("launch/configs/identity.py", "from launch.runs.folder import RunFolder"),
        ("launch/schedulers/slurm.py", "from launch.processes import started_by"),
        ("launch/trained/evaluate.py", "from launch.training.command import run"),
        ("launch/jobs/submit.py", "from launch.cli import main"),
    ],
)
def test_a_wrong_arrow_is_found(path: str, source: str) -> None:
    assert len(violations(source, Path(path))) == 1


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("genraven/puzzles/rules.py", "from genraven.errors import InputError\nfrom genraven.puzzles import instances"),
        ("genraven/formats/read.py", "from genraven.puzzles import layout\nfrom genraven.files import appears_whole"),
        ("genraven/methods/gaussian/samplers.py", "from genraven.methods.gaussian.process import Process"),
        ("datamodules/store.py", "import lightning\nfrom genraven.files import appears_whole"),
        ("launch/cli.py", "from callbacks import RunSummary\nimport torch"),
        ("genraven/__init__.py", "def f():\n    from launch.trained import model"),
        ("launch/jobs/sweep.py", "from launch.runs.status import read_status\nfrom launch.training import resolve"),
    ],
)
def test_a_right_arrow_is_let_pass(path: str, source: str) -> None:
    assert violations(source, Path(path)) == []
