"""Does the completed row obey its puzzle's rule? (Panel completion of arXiv 2411.07873.)"""

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor
from torchmetrics import Metric

from genraven.metrics.rates import Rate
from genraven.puzzles.rules import row_rules
from genraven.puzzles.spec import NUM_RULES


def rule_holds(puzzles: Tensor, rules: Tensor) -> Tensor:
    """(B,) bool: does rule ``rules`` (B,) int64 hold in the last row of ``puzzles`` (B, 3, 9, 9)?"""
    return (row_rules(puzzles)[:, -1] >> rules & 1).bool()


class PanelCompletion(Metric):
    """Share of completed puzzles whose rule holds in row 3: all, of trained rules, of held-out rules, and of each rule.

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
        for name in ("correct", "total"):
            self.add_state(name, torch.zeros(NUM_RULES, dtype=torch.int64), dist_reduce_fx="sum")

    def update(self, puzzles: Tensor, rules: Tensor) -> None:
        """Counts completed ``puzzles`` (B, 3, 9, 9) that were made by ``rules`` (B,) int64."""
        self.correct += torch.bincount(rules[rule_holds(puzzles, rules)], minlength=NUM_RULES)
        self.total += torch.bincount(rules, minlength=NUM_RULES)

    def compute(self) -> dict[str, Any]:
        """``rates``: those of ``completion``, ``completion_trained``, ``completion_held_out`` that were counted;
        ``per_rule``: (40,).
        """
        trained = torch.zeros(NUM_RULES, dtype=torch.bool, device=self.total.device)
        trained[list(self.trained)] = True
        groups = {"completion": trained | True, "completion_trained": trained, "completion_held_out": ~trained}
        rates = {name: Rate(self.correct[g].sum(), self.total[g].sum()) for name, g in groups.items()}
        return {
            "rates": {name: rate for name, rate in rates.items() if rate.total},
            "per_rule": Rate(self.correct.clone(), self.total.clone()),
        }
