"""``make bench``: how fast this machine is at what a run needs, each against a peer, as a table in Markdown.

``make bench ONLY="data sampling"`` measures some parts, ``python tests/benchmarks/run.py --rows 'GPT-2|DiT'`` rows.
"""

import argparse
import importlib
import re
import shutil
import subprocess
import sys
from datetime import date
from pathlib import Path

import torch
from harness import HEADER, machine

from launch.trained.precision import default_precision

PARTS = ("data", "training", "sampling", "relational", "fitting", "tiny", "startup")


def main() -> None:
    """Prints one table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("parts", nargs="*", help=f"of {', '.join(PARTS)}; all of them when left out")
    parser.add_argument("--rows", default="", help="a regular expression: only rows in whose first column it is found")
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    if unknown := set(options.parts) - set(PARTS):
        sys.exit(f"expected parts of {', '.join(PARTS)}, got {', '.join(unknown)}.")
    git = ["git", "-C", str(Path(__file__).parent), "rev-parse", "--short", "HEAD"]
    commit = subprocess.run(git, capture_output=True, text=True).stdout.strip() if shutil.which("git") else ""
    torch.manual_seed(0)
    print(f"{date.today()}, commit {commit or 'unknown'}: {machine()}; a run of this machine trains in "
          f"{default_precision('auto')}\n\n{HEADER}", flush=True)  # fmt: skip
    for part in options.parts or PARTS:
        for row in importlib.import_module(part).rows(options.rounds):
            if re.search(options.rows, row.what):
                print(row.measure(), flush=True)


if __name__ == "__main__":
    main()
