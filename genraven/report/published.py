"""What the study measured: Wang, Shang and Sompolinsky 2024, arXiv 2411.07873."""

import csv
from dataclasses import dataclass
from pathlib import Path

TABLE = Path(__file__).with_name("published.csv")
SOURCE = "Wang, Shang and Sompolinsky 2024, arXiv 2411.07873"


@dataclass(frozen=True)
class Published:
    """One model of the study. It gives no counts, so there are no intervals; None is what it does not report."""

    architecture: str
    model: str
    head: str
    """Of a GPT-2 or Mamba: one softmax of a cell's three attributes each, or one of all."""
    parameters: int | None
    samples_per_rule: int
    rules_held_out: bool
    scores: dict[str, float]
    """``c3`` and ``completion``, of 40 rules after up to a million steps."""


def published() -> list[Published]:
    """All models of the study with the embeddings that are its default."""
    with TABLE.open(newline="") as file:
        return [
            Published(
                row["architecture"],
                row["model"],
                row["head"],
                int(row["parameters"]) if row["parameters"] else None,
                int(row["samples_per_rule"]),
                row["rules_held_out"] == "yes",
                {name: float(row[name]) for name in ("c3", "completion") if row[name]},
            )
            for row in csv.DictReader(file)
        ]
