"""What is promised of versions is what is tried."""

import tomllib
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[1]


def test_the_pythons_that_are_promised_are_those_that_are_tested() -> None:
    """The oldest and the newest, on a public runner; no later one is promised."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    prefix = "Programming Language :: Python :: 3."
    promised = sorted(int(name.removeprefix(prefix)) for name in project["classifiers"] if name.startswith(prefix))
    (job,) = yaml.safe_load((ROOT / ".github" / "workflows" / "ci.yml").read_text())["jobs"].values()
    assert job["strategy"]["matrix"]["python"] == [f"3.{promised[0]}", f"3.{promised[-1]}"]
    assert promised == list(range(promised[0], promised[-1] + 1))
    assert project["requires-python"] == f">=3.{promised[0]}"
