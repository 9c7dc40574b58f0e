"""Families against each other: who stands for each, who is surely ahead, where the lead changes."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Literal

import numpy as np

from genraven.metrics.intervals import CONFIDENCE, Interval
from genraven.metrics.table import direction
from genraven.report.english import sentence
from genraven.report.points import SAME_BUDGET, Point, Variant, best_checkpoints, compare
from genraven.report.statistics import MIN_REPEATS, Crossing, crossing, per_point
from genraven.run_folder import BEST

MAX_LEVELS = 5


@dataclass(frozen=True)
class Choice:
    """Who stands for a family: chosen on validation puzzles; without, the most trained. Never by the test score."""

    point: Point
    label: str
    end: Point
    """The point at the end of the same training."""
    num_others: int
    """How many others were not chosen."""
    by_validation: bool
    """False where nothing was to choose, too."""
    num_recipes: int = 1
    """That it is the best of by its own runs, for which its lead is corrected; 1 where none was chosen by a score."""
    is_measured_here: bool = True
    """Was its family measured at the budget itself? False where only at smaller ones: it may be better than this."""

    @property
    def training(self) -> Point:
        """What has to be trained for it: to the end, where the best checkpoint was chosen, which is known only then."""
        return self.end if any(result.checkpoint == BEST for result in self.point.results) else self.point

    @property
    def stops_at(self) -> int | None:
        """The step at which this training ends, where that is a checkpoint of a longer one; None of a whole one."""
        pairs = list(zip(self.training.runs, self.training.results, strict=True))
        is_earlier = all(run.final is not None and result.step < run.final.step for run, result in pairs)
        return pairs[0][1].step if is_earlier else None


Field = Mapping[str, Choice]
"""The chosen model of each family."""


@dataclass(frozen=True)
class Candidate:
    """Who could stand for a family."""

    label: str
    point: Point
    end: Point
    """Of the same training: the point itself, where that is not an earlier checkpoint."""
    is_best_checkpoint: bool = False
    """Beside the end of its training. Of one recipe the two count as one, which simulation shows to be enough."""


def choose(candidates: Sequence[Candidate], metric: str) -> Choice | None:
    """Of those that have the score, by their repeats that have it: the best on validation puzzles at its point, else
    at its training's end.

    Where not all have validation scores it is the most trained.
    """
    having = [replace(one, point=point) for one in candidates if (point := one.point.having(metric))]
    if not having:
        return None
    spent = [(one.point.spent("flops") or 0.0, one.point.first.parameters or 0) for one in having]
    by_validation, place = False, spent.index(max(spent))
    for points in ([one.point for one in having], [one.end for one in having]):
        scores = [score for point in points if (score := point.validation(metric)) is not None]
        if len(scores) == len(having):
            ranks = [(direction(metric) * score, cost) for score, cost in zip(scores, spent, strict=True)]
            by_validation, place = len(having) > 1, ranks.index(max(ranks))
            break
    chosen = having[place]
    recipes = max(sum(not one.is_best_checkpoint for one in having), 1) if by_validation else 1
    return Choice(chosen.point, chosen.label, chosen.end, len(having) - 1, by_validation, recipes)


By = Literal["family", "architecture"]


def groups(variants: Iterable[Variant], by: By = "family") -> list[str]:
    """Names of all families or architectures, in alphabetical order."""
    return sorted({name for variant in variants if (name := getattr(variant.first, by))})


Pick = Callable[[Variant, int], Point | None]
"""The point of a variant that counts, of those on so many examples per rule."""


def at_the_end(variant: Variant, samples: int) -> Point | None:
    """The point of ``variant`` at the end of its trainings on ``samples`` examples per rule."""
    return variant.points.get(samples)


def by_examples(
    variants: Sequence[Variant], metric: str, pick: Pick = at_the_end, by: By = "family"
) -> dict[int, dict[str, Choice]]:
    """For each number of examples per rule, who stands for each family (or architecture) that was measured there.

    Trainings that were cut short stand for it only where none of their recipe was not.
    """
    fields = {}
    for size in sorted({size for variant in variants for size in variant.points}):
        candidates: dict[str, list[Candidate]] = {name: [] for name in groups(variants, by)}
        for variant in variants:
            name, point = getattr(variant.first, by), pick(variant, size)
            if name and point and not _is_superseded(variant, variants, size):
                candidates[name].append(Candidate(variant.label, point, end := variant.points[size]))
                if point is end and (best := best_checkpoints(point, metric)):
                    candidates[name].append(Candidate(sentence("at_best", model=variant.label), best, end, True))
        fields[size] = _field(candidates, metric)
    return {size: field for size, field in fields.items() if field}


def _is_superseded(variant: Variant, variants: Sequence[Variant], size: int) -> bool:
    """Was it cut short where whole trainings of the same recipe are there, too?"""
    is_stream = variant.points[size].first.is_stream  # of which more is seen in a longer training
    return any((is_stream or size in other.points) and variant.is_cut_short_of(other) for other in variants)


def by_budget(variants: Sequence[Variant], samples: int, axis: str, metric: str) -> dict[float, dict[str, Choice]]:
    """The same for up to five budgets of ``axis``, spent by trainings on ``samples`` examples per rule.

    Each is what a training or a checkpoint took that was measured. Within a budget is each training that ended within
    it, and each steady one at the checkpoints until then.
    """
    spent: dict[str, list[tuple[float, Candidate]]] = {name: [] for name in groups(variants)}
    for variant in variants:
        end = variant.points.get(samples)
        points = variant.along(samples, metric) if variant.is_steady else [end] if end else []
        for point in points:
            cost = point.spent(axis)
            if variant.first.family and cost and point.having(metric):
                candidate = Candidate(variant.label, point, variant.points[samples])
                spent[variant.first.family].append((cost, candidate))
    if len(spent) < 2 or not all(spent.values()):
        return {}
    low = max(min(cost for cost, _ in found) for found in spent.values())
    high = min(max(cost for cost, _ in found) for found in spent.values())
    if low > high * SAME_BUDGET:
        return {}
    costs = {name: [cost for cost, _ in found] for name, found in spent.items()}
    fields = {}
    for level in _levels([cost for found in costs.values() for cost in found], low, high):
        within = {name: [candidate for cost, candidate in found if cost <= level * SAME_BUDGET]
                  for name, found in spent.items()}  # fmt: skip
        fields[level] = {
            name: replace(choice, is_measured_here=any(_are_one_budget(cost, level) for cost in costs[name]))
            for name, choice in _field(within, metric).items()
        }
    return fields


def _levels(costs: Iterable[float], low: float, high: float) -> list[float]:
    """Of the costs between two, one of those that are one budget, and of more than five those most evenly apart."""
    if high <= low * SAME_BUDGET:
        return [max(low, high)]
    found: list[float] = []
    for cost in sorted(cost for cost in costs if low <= cost <= high):
        if not (found and _are_one_budget(found[-1], cost)):
            found.append(cost)
    if len(found) <= MAX_LEVELS:
        return found
    evenly = np.geomspace(found[0], found[-1], MAX_LEVELS)
    return sorted({min(found, key=lambda cost: abs(math.log(cost / level))) for level in evenly})


def _are_one_budget(a: float, b: float) -> bool:
    return max(a, b) <= SAME_BUDGET * min(a, b)


def _field(candidates: Mapping[str, Sequence[Candidate]], metric: str) -> dict[str, Choice]:
    priors = sorted({one.point.first.prior for found in candidates.values() for one in found})
    if len(priors) > 1:  # then what differs is not the family
        raise ValueError(f"expected runs of one prior in a contest, got {' and '.join(priors)}")
    chosen = {name: choose(points, metric) for name, points in candidates.items()}
    return {name: choice for name, choice in chosen.items() if choice}


def can_decide(*choices: Choice) -> bool:
    """Are there three repeats or more of each?"""
    return all(len(choice.point.runs) >= MIN_REPEATS for choice in choices)


def lead(a: Choice, b: Choice, metric: str, confidence: float = CONFIDENCE) -> Interval:
    """``a`` less ``b``, corrected for the recipes that each was chosen of; both have the score."""
    found = compare(a.point, b.point, metric, confidence, (a.num_recipes, b.num_recipes))
    assert found is not None
    return found


def better(a: Choice, b: Choice, metric: str, confidence: float = CONFIDENCE) -> int:
    """1 where ``a`` is surely the better one by ``lead``, -1 where ``b`` is, else 0."""
    return direction(metric) * int(lead(a, b, metric, confidence).sign)


def of_one_pair(num_families: int) -> float:
    """The confidence of each comparison of the best of so many families with the others."""
    return 1 - (1 - CONFIDENCE) / max(num_families - 1, 1)


def winner(field: Field, names: Sequence[str], metric: str) -> str | None:
    """The one of at least two families that is surely ahead of all others, by three repeats or more of each."""
    if len(names) < 2 or any(name not in field for name in names) or not can_decide(*field.values()):
        return None
    confidence = of_one_pair(len(names))
    return next((name for name in names if all(better(field[name], field[other], metric, confidence) > 0
                                               for other in names if other != name)), None)  # fmt: skip


def are_opposed(fields: Sequence[Field], metric: str) -> bool:
    """Is one family surely ahead in one of the ``fields``, and another in another?"""
    return len({name for field in fields if (name := winner(field, list(field), metric))}) > 1


def ahead(field: Field, metric: str) -> list[str]:
    """The families by their means, best first."""
    return sorted(field, key=lambda name: -field[name].point.merit(metric))


def leader(field: Field, metric: str) -> str | None:
    """The family that is ahead by its mean; None where two are level."""
    first, *others = ahead(field, metric)
    is_level = any(field[name].point.merit(metric) == field[first].point.merit(metric) for name in others)
    return None if is_level else first


@dataclass(frozen=True)
class Duel:
    """Two families along an axis."""

    first: str
    second: str
    values: tuple[float, ...]
    """Of the axis, at which both were measured, by three repeats or more of each."""
    crossing: Crossing

    def name(self, sign: int) -> str:
        """The family that is ahead where the sign of the difference is this."""
        return self.first if sign > 0 else self.second


def _lead_here(a: Choice, b: Choice, metric: str, confidence: float) -> int:
    """As ``better``; 0 where the one behind was not measured here, since it may be ahead with all of the budget."""
    sign = better(a, b, metric, confidence)
    behind = b if sign > 0 else a
    return sign if behind.is_measured_here else 0


def duels(fields: Mapping[float, Field] | Mapping[int, Field], metric: str) -> list[Duel]:
    """All pairs of families; a crossing is claimed falsely in at most 5% of the trials, over all points together.

    So is a lead where no crossing is: of it either family may be accused, so that each point is asked more.
    """
    names = sorted({name for field in fields.values() for name in field})
    found = []
    for first, second in combinations(names, 2):
        shared = {value: (field[first], field[second]) for value, field in sorted(fields.items())
                  if first in field and second in field and can_decide(field[first], field[second])}  # fmt: skip
        values, num = tuple(map(float, shared)), max(len(shared), 1)
        for confidence in (per_point(num), 1 - (1 - CONFIDENCE) / num):
            it = crossing(values, [_lead_here(a, b, metric, confidence) for a, b in shared.values()])
            if it.is_sure:
                break
        found.append(Duel(first, second, values, it))
    return found
