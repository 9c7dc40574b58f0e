"""The one table of scores: what each is called, which way is better, and over what it is counted.

Needs no torch, so that the report and the command line read it at once.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from genraven.errors import InputError, suggestion

Kind = Literal["fraction", "number"]
Metric = Literal["consistency", "completion", "memorization", "variety", "loss", "likelihood"]
GENERATED, ROWS, PANELS = "generated puzzles", "generated rows", "generated panels"
COMPLETED, HELD_BACK = "completed puzzles", "evaluation puzzles"
OF_A_PUZZLE = {ROWS: 3, PANELS: 9}
"""How many of them a puzzle has: they are alike, and count for fewer."""
TRAINING_SET = "a training set"
OF_TRAINED, OF_HELD_OUT = "rules that are trained and scored", "rules that are held out and scored"
A_LIKELIHOOD = "a method with a likelihood"


@dataclass(frozen=True)
class Score:
    """One score of the table of all scores.

    Args:
        name: in files, and after ``val/`` in curves.
        label: for people.
        about: what it says, in one line.
        counted_over: the things that are counted.
        kind: a fraction of them, with hits, or a number.
        unit: of a number; empty where it has none.
        higher_is_better: None where neither way is.
        is_main: one of the few for charts and short tables.
        in_status: has it a column in the table of ``genraven status``?
        in_demo: has it one in the demo's?
        needs: what it needs and a validation may lack; empty where every validation has it.
        of_each: (B,) bool of a fraction, or float of a number, which is a mean, from generated or completed puzzles
            (B, 3, 9, 9) int8; None where a metric counts it.
        by: the metric of ``genraven.metrics.scores`` that counts it; None where ``of_each`` does.
    """

    name: str
    label: str
    about: str
    counted_over: str
    kind: Kind = "fraction"
    unit: str = ""
    higher_is_better: bool | None = True
    is_main: bool = False
    in_status: bool = False
    in_demo: bool = False
    needs: str = ""
    of_each: Callable[[Any], Any] | None = None
    by: Metric | None = None

    def of(self, puzzles: Any) -> Any:
        """(B,) what ``of_each`` gives of ``puzzles`` (B, 3, 9, 9).

        Raises:
            InputError: it gives something else: another shape, or no bool for a fraction.
        """
        assert self.of_each is not None
        found = self.of_each(puzzles)
        shape, kind = tuple(getattr(found, "shape", ())), str(getattr(found, "dtype", type(found).__name__))
        if shape != (len(puzzles),) or (self.kind == "fraction" and kind != "torch.bool"):
            wanted = "bool" if self.kind == "fraction" else "numbers"
            raise InputError(f"expected of_each of the score {self.name} to give a tensor of {wanted} of shape "
                             f"({len(puzzles)},), one for each puzzle, got {kind} of shape {shape}.")  # fmt: skip
        return found

    def __post_init__(self) -> None:
        assert (self.of_each is None) != (self.by is None), f"one thing counts {self.name}: of_each, or a metric"
        assert self.of_each is None or self.counted_over in (GENERATED, COMPLETED)


SCORES: dict[str, Score] = {
    score.name: score
    for score in (
        Score("completion", "completion", "the rule of the puzzle holds in the completed row", COMPLETED, is_main=True,
              in_status=True, in_demo=True, by="completion"),
        Score("completion_trained", "completion, trained rules", "as completion, of puzzles whose rule was trained",
              COMPLETED, needs=OF_TRAINED, by="completion"),
        Score("completion_held_out", "completion, held-out rules",
              "as completion, of puzzles whose rule was never trained", COMPLETED,
              needs=OF_HELD_OUT, by="completion"),
        Score("c3", "C3", "at least one rule holds in all three rows", GENERATED, is_main=True, in_status=True,
              in_demo=True, by="consistency"),
        Score("novel_c3", "novel C3", "as C3, and no row is in the training set", GENERATED, is_main=True,
              in_status=True, in_demo=True, needs=TRAINING_SET, by="memorization"),
        Score("different_novel_c3", "different novel C3", "as novel C3, with three different rows; copies count once",
              GENERATED, is_main=True, needs=TRAINING_SET, by="variety"),
        Score("different_puzzles", "different puzzles", "copies count once, in any order of their rows", GENERATED,
              by="variety"),
        Score("different_rows", "different rows", "copies count once", ROWS, by="variety"),
        Score("c2", "C2", "at least one rule holds in exactly two rows", GENERATED, higher_is_better=None,
              by="consistency"),
        Score("any_valid", "AnyValid", "at least one rule holds in the row", ROWS, by="consistency"),
        Score("memorized_puzzles", "memorised puzzles", "the puzzle is in the training set, with its rows in any order",
              GENERATED, higher_is_better=False, needs=TRAINING_SET, by="memorization"),
        Score("memorized_rows", "memorised rows", "the row is in the training set", ROWS, higher_is_better=False,
              in_demo=True, needs=TRAINING_SET, by="memorization"),
        Score("memorized_panels", "memorised panels", "the panel is in the training set", PANELS,
              higher_is_better=False, needs=TRAINING_SET, by="memorization"),
        Score("rule_entropy_bits", "entropy over rules", "how evenly the puzzles that have C3 spread over rules",
              GENERATED, "number", "bits", needs="puzzles with C3", by="consistency"),
        Score("loss", "loss", "the method's own training loss", HELD_BACK, "number", higher_is_better=False, by="loss"),
        Score("nats_per_cell", "negative log-likelihood", "exact, or a bound from above", HELD_BACK, "number",
              "nats per cell", higher_is_better=False, needs=A_LIKELIHOOD, by="likelihood"),
    )
}  # fmt: skip
"""In the order in which they are shown. A new one is an entry, also of a plugin: with ``of_each`` it is counted, kept,
offered and shown wherever the others are.
"""


def names_of(chosen: Callable[[Score], bool]) -> tuple[str, ...]:
    """The scores that are ``chosen``, in the order of the table as it is now."""
    return tuple(name for name, score in SCORES.items() if chosen(score))


def main_names() -> tuple[str, ...]:
    """The few for charts and short tables."""
    return names_of(lambda score: score.is_main)


def counted_of_each() -> tuple[str, ...]:
    """Scores that every evaluation counts by a function of each puzzle: those that a newcomer or a plugin adds."""
    return names_of(lambda score: score.of_each is not None)


def comparable() -> tuple[str, ...]:
    """Scores by which one checkpoint is better than another, that validations have, of a stream or of a set."""
    return names_of(lambda score: score.higher_is_better is not None and score.needs in ("", TRAINING_SET))


def direction(name: str) -> int:
    """1, or -1 of a score of which less is better; raises InputError where there is no such score."""
    if name not in SCORES:
        raise InputError(f"expected a score of the table, got {name}: {suggestion(name, SCORES, 'see SCORES.')}")
    return -1 if SCORES[name].higher_is_better is False else 1


def label(name: str) -> str:
    """Of a score, for people; a name that is not in the table stands for itself."""
    return SCORES[name].label if name in SCORES else name
