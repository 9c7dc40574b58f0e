"""How likely a model finds puzzles that it has not seen: nats per cell, exact or as a bound."""

import math
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor
from torchmetrics import Metric

Kind = Literal["exact", "bound"]


class Likelihood(NamedTuple):
    """Mean negative log-likelihood of puzzles."""

    value: float
    """Nats per cell."""
    standard_error: float | None
    """Of a bound that is estimated from draws, over these; None where nothing is drawn."""
    kind: Kind
    num_puzzles: int

    def as_json(self) -> dict[str, Any]:
        """Value, standard error and kind as plain values for JSON."""
        return {"value": self.value, "standard_error": self.standard_error, "kind": self.kind,
                "count": self.num_puzzles}  # fmt: skip


class MeanLikelihood(Metric):
    """The mean over puzzles, for each of D draws; the draws are independent, and tell the error of their mean.

    Args:
        kind: exact, or a bound in expectation.
        num_draws: D; 1 where nothing is drawn.
    """

    full_state_update = False
    higher_is_better = False
    totals: Tensor
    count: Tensor

    def __init__(self, kind: Kind, num_draws: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.kind = kind
        self.add_state("totals", torch.zeros(num_draws, dtype=torch.float32), dist_reduce_fx="sum")
        self.add_state("count", torch.zeros((), dtype=torch.int64), dist_reduce_fx="sum")

    def update(self, nats: Tensor) -> None:
        """Counts ``nats`` (B, D) per cell."""
        self.totals += nats.float().sum(0)
        self.count += len(nats)

    def compute(self) -> Likelihood:
        """The mean of all puzzles counted, on all processes."""
        means = self.totals.double().cpu() / int(self.count)
        error = means.std().item() / math.sqrt(len(means)) if len(means) > 1 else None
        return Likelihood(means.mean().item(), error, self.kind, int(self.count))
