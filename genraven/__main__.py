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


class OwnPackages(MetaPathFinder):
    """Finds the packages ``names`` beside this one, and nothing else."""

    def __init__(self, code: Path) -> None:
        self.code = code
        self.names: tuple[str, ...] = ("genraven",)

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Of a package; what is within it is found by Python as ever."""
        return PathFinder.find_spec(name, [str(self.code)]) if name in self.names else None


def find_own_packages() -> None:
    """From now on our packages are found; others of their names that came in before are forgotten."""
    finder = OwnPackages(Path(__file__).absolute().parents[1])
    sys.meta_path.insert(0, finder)
    forget_others(finder)
    from genraven.installation import PACKAGES  # which says the names: found only now

    finder.names = PACKAGES
    forget_others(finder)


def forget_others(own: OwnPackages) -> None:
    """Forgets modules of the names of ``own`` that are from elsewhere."""
    for name in [name for name in sys.modules if name.partition(".")[0] in own.names]:
        module = sys.modules[name]
        places = [getattr(module, "__file__", None) or "", *getattr(module, "__path__", ())]
        if not any(Path(place).is_relative_to(own.code) for place in places):
            del sys.modules[name]


def main() -> int:
    """Runs the command line; its exit status."""
    find_own_packages()
    from launch.cli import run_process

    return run_process()


if __name__ == "__main__":
    sys.exit(main())
