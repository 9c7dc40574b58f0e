"""Do the rows of a generated puzzle share a rule? (C3, C2 and AnyValid of arXiv 2411.07873.)"""

from typing import Any

import torch
from torch import Tensor
from torchmetrics import Metric

from genraven.metrics.rates import Rate, entropy_bits
from genraven.puzzles.rules import pair_rules, row_rules, rule_bits, shared_rules
from genraven.puzzles.spec import NUM_ROWS, NUM_RULES


class RuleConsistency(Metric):
    """C3, C2, AnyValid, C3 of each rule, and the entropy of the rules generated.

    ``compute`` gives ``rates``: ``c3`` and ``c2`` of puzzles, ``any_valid`` of rows; ``per_rule`` (rules,): the
    fraction of puzzles whose three rows share rule k; ``entropy``: bits over the rules shared, at most log2(rules).
    """

    full_state_update = False
    higher_is_better = True
    c3: Tensor
    c2: Tensor
    valid_rows: Tensor
    valid_rows_squared: Tensor
    num_puzzles: Tensor
    c3_per_rule: Tensor

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        for name in ("c3", "c2", "valid_rows", "valid_rows_squared", "num_puzzles"):
            self.add_state(name, torch.zeros((), dtype=torch.int64), dist_reduce_fx="sum")
        self.add_state("c3_per_rule", torch.zeros(NUM_RULES, dtype=torch.int64), dist_reduce_fx="sum")

    def update(self, puzzles: Tensor) -> None:
        """Counts ``puzzles`` (B, 3, 9, 9) of an integer dtype."""
        masks = row_rules(puzzles)
        shared = shared_rules(masks)
        self.c3 += (shared != 0).sum()
        self.c2 += (pair_rules(masks) != 0).sum()
        valid = (masks != 0).sum(1)
        self.valid_rows += valid.sum()
        self.valid_rows_squared += valid.square().sum()
        self.num_puzzles += len(puzzles)
        self.c3_per_rule += rule_bits(shared).sum(0)

    def compute(self) -> dict[str, Any]:
        """The scores of all puzzles counted, on all processes."""
        n = self.num_puzzles
        return {
            "rates": {
                "c3": Rate(self.c3, n),
                "c2": Rate(self.c2, n),
                "any_valid": Rate(self.valid_rows, n * NUM_ROWS, NUM_ROWS, self.valid_rows_squared),
            },
            "per_rule": Rate(self.c3_per_rule, n.expand(NUM_RULES)),
            "entropy": entropy_bits(self.c3_per_rule),
        }
