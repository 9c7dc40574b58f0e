"""The ``genraven`` command, which finds its own packages whatever Python's path holds.

Modules of Python's own are imported only after the folder that Python put first on the path by itself is gone from it:
it is that of the user's files, or of this one, and may hold others of the same names.
"""

import sys

if __name__ == "__main__" and not sys.flags.safe_path:
    del sys.path[0]

from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from types import ModuleType

PACKAGES = ("callbacks", "datamodules", "genraven", "launch", "lightning_modules")
CODE = Path(__file__).absolute().parents[1]


class OwnPackages(MetaPathFinder):
    """Finds ``PACKAGES`` beside this one, and nothing else."""

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Of a package; what is within it is found by Python as ever."""
        return PathFinder.find_spec(name, [str(CODE)]) if name in PACKAGES else None


def find_own_packages() -> None:
    """From now on ``PACKAGES`` are ours; others of these names that came in before are forgotten."""
    sys.meta_path.insert(0, OwnPackages())
    for name in [name for name in sys.modules if name.partition(".")[0] in PACKAGES]:
        module = sys.modules[name]
        places = [getattr(module, "__file__", None) or "", *getattr(module, "__path__", ())]
        if not any(Path(place).is_relative_to(CODE) for place in places):
            del sys.modules[name]


def command(code: Path = CODE) -> list[str]:
    """Words that start ``genraven`` in a new process, of the packages in ``code``, with the user's own path."""
    return [sys.executable, "-P", str(code / "genraven" / "__main__.py")]


def main() -> int:
    """Runs the command line; its exit status."""
    find_own_packages()
    from launch.cli import run_process

    return run_process()


if __name__ == "__main__":
    sys.exit(main())
