"""Quality against examples: the best run of each kind, what lies between, and where it collapses."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import pairwise

from genraven.report.runs import Run, Score

Curve = dict[int, Run]
"""For each measured number of examples per rule, in order, the best run."""


def curve(runs: Iterable[Run], metric: str) -> Curve:
    """The best finished run by ``metric`` at each number of examples."""
    best: Curve = {}
    for run in runs:
        n = run.samples_per_rule
        if not run.is_evidence or n is None or metric not in run.scores:
            continue
        if n not in best or run.scores[metric].value > best[n].scores[metric].value:
            best[n] = run
    return dict(sorted(best.items()))


def by_architecture(runs: Iterable[Run]) -> dict[str, list[Run]]:
    """Runs by architecture, in alphabetical order; those of none are left out."""
    groups: dict[str, list[Run]] = {}
    for run in sorted(runs, key=lambda run: run.architecture or ""):
        if run.architecture:
            groups.setdefault(run.architecture, []).append(run)
    return groups


def by_model(runs: Iterable[Run]) -> dict[tuple[str, int], list[Run]]:
    """Runs by architecture and parameters."""
    return {
        (architecture, parameters): [run for run in group if run.parameters == parameters]
        for architecture, group in by_architecture(runs).items()
        for parameters in sorted({run.parameters for run in group if run.parameters})
    }


@dataclass(frozen=True)
class Estimate:
    """A score at a number of examples, and the runs it rests on: one, or the two on both sides."""

    value: float
    low: float
    high: float
    runs: tuple[Run, ...]

    def __str__(self) -> str:
        return f"{self.value:.3f} [{self.low:.3f}, {self.high:.3f}]"


def estimate(curve: Mapping[int, Run], examples: float, metric: str) -> Estimate | None:
    """The score at ``examples``, between two measured numbers on a straight line over their logarithm; None outside."""
    if examples in curve:
        run = curve[int(examples)]
        score = run.scores[metric]
        return Estimate(score.value, score.low, score.high, (run,))
    for left, right in pairwise(curve):
        if left < examples < right:
            share = math.log(examples / left) / math.log(right / left)
            a, b = (curve[n].scores[metric] for n in (left, right))
            value, low, high = (
                (1 - share) * x + share * y for x, y in ((a.value, b.value), (a.low, b.low), (a.high, b.high))
            )
            return Estimate(value, low, high, (curve[left], curve[right]))
    return None


def plateau(curve: Mapping[int, Run], metric: str) -> tuple[int, bool]:
    """The fewest examples whose score is not measurably below the best, and whether these are the most measured."""
    best = max(curve.values(), key=lambda run: run.scores[metric].value).scores[metric]
    enough = min(n for n, run in curve.items() if run.scores[metric].high >= best.low)
    return enough, enough == max(curve)


@dataclass(frozen=True)
class Collapse:
    """A run that came out far worse than its kind can, for want of examples."""

    run: Run
    kind: str
    """``falls`` below half of what more examples give, ``memorises`` (half of C3 or more is not new), or a signal that
    crossed its threshold while training."""
    detail: str


def collapses(runs: Iterable[Run]) -> list[Collapse]:
    """Every collapse of finished runs, models in order, fewest examples first; beyond the 95% intervals."""
    found = []
    for model in by_model(runs).values():
        for metric in ("novel_c3", "completion"):
            found += _falls(curve(model, metric), metric)
        for run in sorted((run for run in model if run.is_evidence), key=lambda run: run.samples_per_rule or math.inf):
            c3, novel = run.scores.get("c3"), run.scores.get("novel_c3")
            if c3 and novel and novel.high < 0.5 * c3.low:
                found.append(Collapse(run, "memorises", f"C3 {c3}, of which new only {novel}"))
            for signal, crossing in run.collapse.items():
                value, limit, step = (crossing.get(key) for key in ("value", "threshold", "step"))
                detail = f"{signal} {value} crossed {limit} at step {step}"
                found.append(Collapse(run, "while training", detail))
    return found


def _falls(curve: Curve, metric: str) -> list[Collapse]:
    found = []
    for n, run in curve.items():
        score = run.scores[metric]
        more = [other for larger, other in curve.items() if larger > n]
        best = max(more, key=lambda other: other.scores[metric].value, default=None)
        if best is not None and score.high < 0.5 * best.scores[metric].low:
            detail = f"{LABELS[metric]} {score}, with {best.samples_per_rule:,} examples {best.scores[metric]}"
            found.append(Collapse(run, "falls", detail))
    return found


LABELS = {
    "c3": "C3",
    "novel_c3": "novel C3",
    "completion": "completion",
    "completion_trained": "completion (trained rules)",
    "completion_held_out": "completion (held-out rules)",
}


def shown(score: Score | None) -> str:
    """A score in a table; a dash where it is missing."""
    return "–" if score is None else str(score)
