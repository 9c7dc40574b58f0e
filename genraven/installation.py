"""Where this code stands, and the words that start it in a new process. Imports nothing but Python's own."""

import sys
from importlib.util import find_spec
from pathlib import Path

PACKAGES = ("callbacks", "datamodules", "genraven", "launch", "lightning_modules")
CODE = Path(__file__).absolute().parents[1]


def others() -> list[str]:
    """What Python would import instead of packages of ours: files or folders on its path, such as beside a script."""
    return [place or name for name in PACKAGES
            if not Path(place := _place(name)).absolute().is_relative_to(CODE / name)]  # fmt: skip


def _place(name: str) -> str:
    """The file of the module of that name; empty where there is none, or nobody knows."""
    try:
        spec = find_spec(name)
    except ValueError:  # one that was made by hand
        return ""
    return spec.origin or "" if spec else ""


def command(code: Path = CODE) -> list[str]:
    """Words that start ``genraven`` in a new process, of the packages in ``code``, with the user's own path."""
    return [sys.executable, "-P", str(code / "genraven" / "__main__.py")]
