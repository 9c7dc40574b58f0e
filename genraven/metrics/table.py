"""The one table of scores: what each is called, which way is better, and over what it is counted.

Needs no torch, so that the report and the command line read it at once.
"""

from dataclasses import dataclass
from typing import Literal

Kind = Literal["share", "number"]
GENERATED, ROWS, PANELS = "generated puzzles", "generated rows", "generated panels"
COMPLETED, HELD_BACK = "completed puzzles", "evaluation puzzles"
OF_A_PUZZLE = {ROWS: 3, PANELS: 9}
"""How many of them a puzzle has: they are alike, and count for fewer."""


@dataclass(frozen=True)
class Score:
    """One score.

    Args:
        name: in files, and after ``val/`` in curves.
        label: for people.
        about: what it says, in one line.
        counted_over: the things that are counted.
        kind: a share of them, with hits, or a number.
        unit: of a number; empty where it has none.
        higher_is_better: None where neither way is.
        is_main: one of the few for charts and short tables.
    """

    name: str
    label: str
    about: str
    counted_over: str
    kind: Kind = "share"
    unit: str = ""
    higher_is_better: bool | None = True
    is_main: bool = False


SCORES: dict[str, Score] = {
    score.name: score
    for score in (
        Score("completion", "completion", "the rule of the puzzle holds in the completed row", COMPLETED, is_main=True),
        Score("completion_trained", "completion, trained rules", "the same, of rules trained on", COMPLETED),
        Score("completion_held_out", "completion, held-out rules", "the same, of rules never trained on", COMPLETED),
        Score("c3", "C3", "at least one rule is common to all three rows", GENERATED, is_main=True),
        Score("novel_c3", "novel C3", "C3, and none of its rows is in the training set", GENERATED, is_main=True),
        Score("different_novel_c3", "different novel C3", "novel C3 of three different rows, each puzzle once",
              GENERATED, is_main=True),
        Score("different_puzzles", "different puzzles", "each once, up to the order of rows", GENERATED),
        Score("different_rows", "different rows", "each once", ROWS),
        Score("c2", "C2", "at least one rule is held by exactly two rows", GENERATED, higher_is_better=None),
        Score("any_valid", "AnyValid", "the row obeys some rule", ROWS),
        Score("memorized_puzzles", "memorised puzzles", "in the training set, its rows in any order", GENERATED,
              higher_is_better=False),
        Score("memorized_rows", "memorised rows", "in the training set", ROWS, higher_is_better=False),
        Score("memorized_panels", "memorised panels", "in the training set", PANELS, higher_is_better=False),
        Score("rule_entropy_bits", "entropy over rules", "of puzzles that have C3", GENERATED, "number", "bits"),
        Score("loss", "loss", "of the method's own kind", HELD_BACK, "number", higher_is_better=False),
        Score("nats_per_cell", "negative log-likelihood", "exact, or a bound from above", HELD_BACK, "number",
              "nats per cell", higher_is_better=False),
    )
}  # fmt: skip
"""In the order in which they are shown."""

MAIN = tuple(score.name for score in SCORES.values() if score.is_main)


def direction(name: str) -> int:
    """1, or -1 of a score of which less is better."""
    return -1 if SCORES[name].higher_is_better is False else 1


def label(name: str) -> str:
    """Of a score, for people; a name that is not in the table stands for itself."""
    return SCORES[name].label if name in SCORES else name
