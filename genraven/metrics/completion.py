"""Does the completed row obey its puzzle's rule? (Panel completion of arXiv 2411.07873.)"""

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor
from torchmetrics import Metric

from genraven.formats.puzzles import UNKNOWN_RULE
from genraven.metrics.rates import Rate
from genraven.puzzles.rules import row_rules
from genraven.puzzles.spec import NUM_ROWS, NUM_RULES


def rule_holds(puzzles: Tensor, rules: Tensor, mask: Tensor | None = None) -> Tensor:
    """(B,) bool: does rule ``rules`` (B,) int64 hold in each row of ``puzzles`` (B, 3, 9, 9) that was written in?

    Where the rule is ``UNKNOWN_RULE``: does one that all rows share which were given whole?

    Args:
        puzzles: completed.
        rules: of the puzzles.
        mask: (B, 9, 9) or (9, 9) bool, true where cells were written; None for the last row.
    """
    return asked_and_held(puzzles, rules, mask)[1]


def asked_and_held(puzzles: Tensor, rules: Tensor, mask: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """(B,) bool each: is there a rule to ask for, and does each row obey it that was written in, as ``mask`` says?"""
    masks = row_rules(puzzles)
    if mask is None:
        shared, held = masks[:, 0] & masks[:, 1], masks[:, -1]
    else:
        is_written = mask.expand(len(puzzles), -1, -1).unflatten(1, (NUM_ROWS, -1)).flatten(2).any(2).to(masks.device)
        shared, held = (_in_all(masks.where(which, -1)) for which in (~is_written, is_written))
    asked = torch.where(rules == UNKNOWN_RULE, shared, 1 << rules.clamp(min=0))
    return asked != 0, asked & held != 0


def _in_all(masks: Tensor) -> Tensor:
    """(B,): the rules that are in all of ``masks`` (B, rows)."""
    return masks[:, 0] & masks[:, 1] & masks[:, 2]


class PanelCompletion(Metric):
    """Fraction of completed puzzles whose rule holds in row 3: of all, trained, held-out rules, and of each rule.

    A puzzle whose rule is unknown counts among all, if its first two rows share one.

    Args:
        trained: ids of the rules that the model was trained on; every other rule counts as held out.
    """

    full_state_update = False
    higher_is_better = True
    correct: Tensor
    total: Tensor

    def __init__(self, trained: Iterable[int], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.trained = tuple(trained)
        for name in ("correct", "total"):  # of each rule, and last of the unknown one
            self.add_state(name, torch.zeros(NUM_RULES + 1, dtype=torch.int64), dist_reduce_fx="sum")

    def update(self, puzzles: Tensor, rules: Tensor) -> None:
        """Counts completed ``puzzles`` (B, 3, 9, 9) that were made by ``rules`` (B,) int64."""
        asked, held = asked_and_held(puzzles, rules)
        indices = rules % (NUM_RULES + 1)
        self.correct += torch.bincount(indices[held], minlength=NUM_RULES + 1)
        self.total += torch.bincount(indices[asked], minlength=NUM_RULES + 1)

    def compute(self) -> dict[str, Any]:
        """``rates``: those of ``completion``, ``completion_trained``, ``completion_held_out`` that were counted;
        ``per_rule``: (rules,).
        """
        trained = torch.zeros(NUM_RULES + 1, dtype=torch.bool, device=self.total.device)
        trained[list(self.trained)] = True
        known = torch.arange(NUM_RULES + 1, device=trained.device) < NUM_RULES
        groups = {
            "completion": known | True,
            "completion_trained": trained,
            "completion_held_out": known & ~trained,
        }
        rates = {name: Rate(self.correct[g].sum(), self.total[g].sum()) for name, g in groups.items()}
        return {
            "rates": {name: rate for name, rate in rates.items() if rate.total},
            "per_rule": Rate(self.correct[:NUM_RULES].clone(), self.total[:NUM_RULES].clone()),
        }
