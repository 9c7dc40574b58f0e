"""All scores of a model together: what validation, ``genraven evaluate`` and the demo share."""

import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torchmetrics import Metric

from genraven.metrics.completion import PanelCompletion, asked_and_held
from genraven.metrics.consistency import RuleConsistency
from genraven.metrics.likelihood import Kind, Likelihood, MeanLikelihood
from genraven.metrics.memorization import Memorization, TrainingIndex
from genraven.metrics.rates import Correlation, Rate
from genraven.metrics.table import COMPLETED, GENERATED, SCORES
from genraven.metrics.variety import Variety
from genraven.puzzles.spec import RULES


class MeanLoss(Metric):
    """The mean of losses, summed in float32: torch's default, in which torchmetrics sums, may be less."""

    full_state_update = False
    higher_is_better = False
    total: Tensor
    count: Tensor

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.add_state("total", torch.zeros((), dtype=torch.float32), dist_reduce_fx="sum")
        self.add_state("count", torch.zeros((), dtype=torch.int64), dist_reduce_fx="sum")

    def update(self, losses: Tensor) -> None:
        """Counts ``losses`` (B,)."""
        self.total += losses.float().sum()
        self.count += len(losses)

    def compute(self) -> float:
        """The mean of all that were counted, on all processes."""
        return (self.total / self.count).item()


class FractionOf(Metric):
    """The fraction of things that count, of all that are looked at."""

    full_state_update = False
    hits: Tensor
    total: Tensor

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        for name in ("hits", "total"):
            self.add_state(name, torch.zeros((), dtype=torch.int64), dist_reduce_fx="sum")

    def update(self, flags: Tensor) -> None:
        """Counts ``flags`` (B,) bool."""
        self.hits += flags.sum()
        self.total += len(flags)

    def compute(self) -> Rate:
        """Of all that were looked at, on all processes."""
        return Rate(self.hits.clone(), self.total.clone())


@dataclass
class ScoreResults:
    """What ``Scores.compute`` gives. What was not counted is absent."""

    rates: dict[str, Rate] = field(default_factory=dict)
    """By the names of the table: c3, c2, any_valid, novel_c3, different_*, memorized_*, completion, ..."""
    per_rule: dict[str, Rate] = field(default_factory=dict)
    """``c3`` and ``completion`` of each rule, (rules,)."""
    values: dict[str, float] = field(default_factory=dict)
    """``loss``, the mean of as many puzzles as were completed, and ``rule_entropy_bits`` of those with C3."""
    likelihood: Likelihood | None = None

    @property
    def correlation(self) -> Correlation | None:
        """Over the rules that were completed: of how often the model generates a rule with how well it completes it.

        About 0.8 in models of arXiv 2411.07873.
        """
        if self.per_rule.keys() < {"c3", "completion"}:
            return None
        rates = [self.per_rule[name] for name in ("c3", "completion")]
        counted = (rates[0].total > 0) & (rates[1].total > 0)
        return Correlation.of(*(rate.value[counted.cpu()] for rate in rates))

    def as_json(self) -> dict[str, Any]:
        """Plain numbers: every rate with its hits, count and 95% Wilson interval."""
        per_rule = {
            name: {
                rule.name: cell
                for rule in RULES
                if (cell := Rate(rate.hits[rule.id], rate.total[rule.id]).as_json()) is not None
            }
            for name, rate in self.per_rule.items()
        }
        rates = {name: rate.as_json() for name, rate in self.rates.items()}
        values: dict[str, Any] = {name: v if math.isfinite(v) else None for name, v in self.values.items()}
        r = self.correlation
        if self.likelihood is not None:
            values["nats_per_cell"] = self.likelihood.as_json()
        return {**rates, **values, "per_rule_correlation": r.as_json() if r else None, "per_rule": per_rule}


class Scores:
    """Counts losses, generated and completed puzzles; every process sees its shard, ``compute`` sums over all.

    Args:
        trained: ids of the rules that the model was trained on.
        index: of the training set; None where there is none to compare with.
        device: where the counts are kept.
        likelihood: what kind of it the model says, in how many draws of a puzzle; None where it says none.
    """

    def __init__(
        self,
        trained: Iterable[int],
        index: TrainingIndex | None = None,
        device: torch.device | str = "cpu",
        likelihood: tuple[Kind, int] | None = None,
    ) -> None:
        self._loss = MeanLoss().to(device)
        self._consistency = RuleConsistency().to(device)
        self._completion = PanelCompletion(trained).to(device)
        self._memorization = Memorization(index).to(device) if index is not None else None
        self._variety = Variety(index).to(device)
        self._likelihood = MeanLikelihood(*likelihood).to(device) if likelihood else None
        self._of_each: dict[str, FractionOf | MeanLoss] = {
            name: (FractionOf() if score.kind == "fraction" else MeanLoss()).to(device)
            for name, score in SCORES.items()
            if score.of_each is not None
        }

    @property
    def counts_likelihood(self) -> bool:
        """Was it asked for?"""
        return self._likelihood is not None

    def add_losses(self, losses: Tensor) -> None:
        """Counts losses (B,), one of each puzzle."""
        self._loss.update(losses)

    def add_likelihood(self, nats: Tensor) -> None:
        """Counts negative log-likelihoods (B, D) in nats per cell, D draws of each puzzle."""
        assert self._likelihood is not None
        self._likelihood.update(nats)

    def add_generated(self, puzzles: Tensor) -> None:
        """Counts generated ``puzzles`` (B, 3, 9, 9)."""
        self._consistency.update(puzzles)
        self._variety.update(puzzles)
        if self._memorization is not None:
            self._memorization.update(puzzles)
        self._add_of_each(GENERATED, puzzles)

    def add_completed(self, puzzles: Tensor, rules: Tensor) -> None:
        """Counts completed ``puzzles`` (B, 3, 9, 9), made by ``rules`` (B,)."""
        self._completion.update(puzzles, rules)
        if self._of_each:
            self._add_of_each(COMPLETED, puzzles[asked_and_held(puzzles, rules)[0]])

    def _add_of_each(self, over: str, puzzles: Tensor) -> None:
        for name, metric in self._of_each.items():
            score = SCORES[name]
            if score.counted_over == over and score.of_each is not None:
                metric.update(score.of(puzzles))

    def compute(self) -> ScoreResults:
        """The scores so far. A collective: every process must call it."""
        results = ScoreResults()
        counted = {"c3": self._consistency, "completion": self._completion, "novelty": self._memorization,
                   "variety": self._variety}  # fmt: skip
        for name, metric in counted.items():
            if metric is None or not _any_process_counted(metric):
                continue
            result = metric.compute()
            results.rates |= result["rates"]
            if "per_rule" in result:
                results.per_rule[name] = result["per_rule"]
            if "entropy" in result and results.rates["c3"].hits:
                results.values["rule_entropy_bits"] = result["entropy"].item()
        for name, of_each in self._of_each.items():
            if not _any_process_counted(of_each):
                continue
            if isinstance(found := of_each.compute(), Rate):
                results.rates[name] = found
            else:
                results.values[name] = found
        if _any_process_counted(self._loss):
            results.values["loss"] = self._loss.compute()
        if self._likelihood is not None and _any_process_counted(self._likelihood):
            results.likelihood = self._likelihood.compute()
        return results


def _any_process_counted(metric: Metric) -> bool:
    """Was the metric updated anywhere? Processes may have had no batch of their own."""
    counted = torch.tensor(int(metric.update_called), device=metric.device)
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        torch.distributed.all_reduce(counted)
    if counted and not metric.update_called:
        metric._update_count = 1  # spares torchmetrics' warning; the states are zeros, which add nothing
    return bool(counted)
