"""Which family to invest in: a pure function of a table of runs and a question.

A family is as good at N examples as its best run within the budget there, whatever its architecture and size. It wins
where its 95% interval lies above that of every other family; where they overlap, or nothing was measured, the answer is
that the evidence is not enough.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

from genraven.report.curves import Curve, Estimate, curve, estimate, plateau
from genraven.report.runs import Run
from genraven.report.sentences import (
    FAMILIES,
    Finding,
    Question,
    budget_notes,
    data_finding,
    family_finding,
    headline,
    overtaking,
    scope,
    size_finding,
    unclear_headline,
    why_unclear,
)

Verdict = Literal["train", "train, then switch", "not enough evidence"]


@dataclass(frozen=True)
class Advice:
    """The answer."""

    verdict: Verdict
    headline: str
    findings: tuple[Finding, ...]
    family: str | None = None
    """To train now."""
    run: Run | None = None
    """Whose model to train: the smallest of the family that is not measurably worse than its best."""
    data_target: int | None = None
    """Examples per rule above which the family gains nothing that was measurable."""
    later: str | None = None
    """The winner with the examples of a year from now."""
    crossing: float | None = None
    """Examples per rule where the other family overtakes."""


def recommend(runs: Sequence[Run], question: Question) -> Advice:
    """The advice that ``runs``, all of one data set, give."""
    affordable = [run for run in runs if question.affords(run)]
    notes = budget_notes(runs, question)
    curves = {name: curve([run for run in affordable if run.family == name], question.metric) for name in FAMILIES}
    now = _estimates(curves, question.examples, question)
    findings = [family_finding(name, now[name], curves[name], question.examples, question) for name in FAMILIES]
    family = _winner(now)
    future_examples = round(question.examples * question.growth)
    future = _estimates(curves, future_examples, question)
    later = _winner(future) if question.growth != 1 else family
    findings += notes
    if question.growth != 1:
        findings += [family_finding(name, future[name], curves[name], future_examples, question) for name in FAMILIES]
    if family is None:
        findings += [why_unclear(now, question)]
        text = unclear_headline(later, future_examples, curves, question)
        return Advice("not enough evidence", text, tuple(findings), later=later)
    choice = _smallest_as_good(affordable, family, curves[family], question)
    enough, still_rising = plateau(curves[family], question.metric)
    crossing = _crossing(curves, family, question)
    findings += [
        size_finding(choice, family, affordable, question),
        data_finding(family, curves[family], enough, still_rising, question),
    ]
    findings += [overtaking(crossing, family, question)] if crossing else []
    findings += [scope(affordable)]
    switches = later not in (None, family)
    text = headline(family, choice, later, crossing, future_examples, question)
    return Advice("train, then switch" if switches else "train", text, tuple(findings), family, choice, enough,
                  later, crossing)  # fmt: skip


def _estimates(curves: Mapping[str, Curve], examples: float, question: Question) -> dict[str, Estimate | None]:
    return {name: estimate(curve, examples, question.metric) for name, curve in curves.items()}


def _winner(estimates: Mapping[str, Estimate | None]) -> str | None:
    """The family above all others beyond doubt; None where there is none, or one of them is not known."""
    known = {name: e for name, e in estimates.items() if e is not None}
    if len(known) < len(estimates):
        return None
    best = max(known, key=lambda name: known[name].value)
    return best if all(known[best].low > e.high for name, e in known.items() if name != best) else None


def _smallest_as_good(runs: Sequence[Run], family: str, curve: Curve, question: Question) -> Run:
    """Of the family's runs at the measured size of data next to the question's."""
    metric = question.metric
    nearest = min(curve, key=lambda n: abs(math.log(n / question.examples)))
    best = curve[nearest].scores[metric]
    peers = [
        run
        for run in runs
        if run.family == family and run.samples_per_rule == nearest and run.is_evidence and metric in run.scores
        if run.scores[metric].high >= best.low
    ]
    return min(peers, key=lambda run: (run.parameters or math.inf, -run.scores[metric].value))


def _crossing(curves: Mapping[str, Curve], family: str, question: Question) -> float | None:
    """Examples, more than now, at which the other family's curve passes that of ``family`` and then clearly wins."""
    other = next(name for name in curves if name != family)
    points = sorted({question.examples, *(n for c in curves.values() for n in c if n > question.examples)})
    estimates = [(n, _estimates(curves, n, question)) for n in points]
    known = [(n, e) for n, e in estimates if None not in e.values()]
    gaps = [(n, e[family].value - e[other].value, _winner(e)) for n, e in known]  # type: ignore[union-attr]
    for (left, a, _), (right, b, _) in pairwise(gaps):
        if a > 0 >= b and any(winner == other for n, _, winner in gaps if n >= right):
            return float(left * (right / left) ** (a / (a - b)))
    return None
