"""Where this code stands, and the words that start it in a new process. Imports nothing but Python's own."""

import sys
from pathlib import Path

PACKAGES = ("callbacks", "datamodules", "genraven", "launch", "lightning_modules")
CODE = Path(__file__).absolute().parents[1]


def command(code: Path = CODE) -> list[str]:
    """Words that start ``genraven`` in a new process, of the packages in ``code``, with the user's own path."""
    return [sys.executable, "-P", str(code / "genraven" / "__main__.py")]
