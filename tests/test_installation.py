"""In Python, too, genraven uses its own packages, or says that something else has their names."""

import subprocess
import sys
from pathlib import Path

import pytest

from genraven.installation import others


def test_here_are_our_own() -> None:
    assert others() == []


@pytest.mark.parametrize("name", ["launch.py", "callbacks/__init__.py"])
def test_a_file_of_the_users_by_the_name_of_a_package_is_named(name: str, tmp_path: Path) -> None:
    """Beside a script Python finds it first. It is not run."""
    other = tmp_path / name
    other.parent.mkdir(exist_ok=True)
    other.write_text("raise SystemExit('this was run')")
    script = tmp_path / "script.py"
    script.write_text("import genraven\ngenraven.load\n")
    ended = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, check=False)
    assert ended.stderr.splitlines()[-1] == (
        f"genraven.errors.InputError: expected genraven's own packages, got {other}, which Python finds first by that "
        "name: rename it, or run Python from another folder."
    )
