"""What the study measured: Wang, Shang and Sompolinsky 2024, arXiv 2411.07873."""

import csv
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from genraven.networks.prior import GENERAL, Prior
from genraven.puzzles.spec import NUM_STUDY_RULES, RULES
from genraven.report.dataset import CLEAN, CORRUPTION, FILE_ASKED, HELD_OUT, RULES_ASKED, TRAINED_ON, rules_of

TABLE = Path(__file__).with_name("published.csv")
NUM_HELD_OUT = 5
"""Rules in each of the study's splits."""
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


def beside(dataset: Mapping[str, str], prior: Prior) -> list[Published]:
    """Those that may stand beside runs of this data set and prior, as ``Run`` has them: what learned the same task.

    Of the 40 rules all are scored, and all were trained or five were held out; with networks that know nothing of
    puzzles, on data that nobody corrupted. Empty where something differs.
    """
    study = {rule.name for rule in RULES[:NUM_STUDY_RULES]}
    trained, held_out, asked = (rules_of(dataset, word) for word in (TRAINED_ON, HELD_OUT, RULES_ASKED))
    is_clean = dataset.get(CORRUPTION, CLEAN) == CLEAN and FILE_ASKED not in dataset
    are_rules = asked == study and trained | held_out == study and len(held_out) in (0, NUM_HELD_OUT)
    if prior != GENERAL or not is_clean or not are_rules:
        return []
    return [row for row in published() if row.rules_held_out == bool(held_out)]
