"""Measured points, and how far they are from a question."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from genraven.metrics.intervals import Interval
from genraven.networks.prior import Prior
from genraven.report.contest import winner
from genraven.report.english import hours
from launch.advice import words
from launch.advice.asked import Asked
from launch.advice.studies import Body, Put

NUM_NEAREST = 3


@dataclass(frozen=True)
class Near:
    """A measured point, and how far it is from what was asked."""

    study: str
    num_rules: int | None
    prior: Prior
    examples: int
    """Examples of each rule that were measured."""
    scores: Mapping[str, Interval]
    """By family, of the one that stands for it."""
    num_repeats: int
    """Repeats of the family that has the fewest."""
    winner: str | None
    """The family that is surely ahead here."""
    flops: float | None
    """Of one training, the mean over families."""
    device_hours: float | None
    distance: float
    """In doublings: of examples and, where they were asked for, of rules; infinite of another prior."""
    apart: str
    """The distance from the question in words."""

    def __str__(self) -> str:
        flops = None if self.flops is None else words.with_unit(self.flops, "FLOP")
        return words.said("near", study=self.study, examples=f"{self.examples:,}", num_rules=self.num_rules,
                          prior=self.prior, scores=[f"{name} {interval}" for name, interval in self.scores.items()],
                          repeats=self.num_repeats, winner=self.winner, flops=flops,
                          hours=None if self.device_hours is None else hours(self.device_hours),
                          apart=self.apart)  # fmt: skip


def nearest(found: Iterable[Put], asked: Asked) -> list[Near]:
    """The few measured points that are nearest to the question, with the most repeats first where they are as near."""
    points = [_point(put, size, asked) for put in found for size in put.evidence.fields]
    return sorted(points, key=lambda near: (near.distance, -near.num_repeats, near.study))[:NUM_NEAREST]


def _point(put: Put, size: int, asked: Asked) -> Near:
    choices, metric = put.evidence.fields[size], put.evidence.question.metric
    scores = {name: choice.point.interval(metric) for name, choice in choices.items()}
    apart = math.hypot(doublings(size, asked.examples), rules_apart(put.body, asked))
    is_other = asked.prior not in (None, put.body.prior)
    device_hours = _mean(choice.training.spent("device_hours") for choice in choices.values())
    return Near(
        put.body.study,
        put.body.num_rules,
        put.body.prior,
        size,
        {name: interval for name, interval in scores.items() if interval},
        min(len(choice.point.runs) for choice in choices.values()),
        winner(choices, put.evidence.names, metric),
        _mean(choice.training.spent("flops") for choice in choices.values()),
        device_hours,
        math.inf if is_other else apart,
        words.apart(size, put.body, device_hours, asked),
    )


def _mean(values: Iterable[float | None]) -> float | None:
    listed = list(values)
    known = [value for value in listed if value is not None]
    return sum(known) / len(known) if known and len(known) == len(listed) else None


def rules_apart(body: Body, asked: Asked) -> float:
    """Doublings between the numbers of rules; 0 where it is the rules asked for."""
    return 0.0 if body.is_of(asked.rule_names) else doublings(body.num_rules, asked.num_rules)


def doublings(measured: float | None, asked: float | None) -> float:
    """Between the two, up or down; 0 where one is not known."""
    return abs(math.log2(measured / asked)) if measured and asked else 0.0
