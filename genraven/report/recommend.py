"""Which family to invest in: a pure function of a table of runs and a question.

A family is as good at N examples as the point that stands for it: the mean of the repeats of one model and recipe,
chosen on validation puzzles. It wins where it is surely ahead of every other family, with three repeats or more of
each; where not, or where nothing was measured, the answer is that the evidence is not enough, and what would be.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from genraven.metrics.table import direction
from genraven.report import sentences
from genraven.report.contest import Choice, Duel, Field, ahead, better, can_decide, duels
from genraven.report.english import sentence
from genraven.report.forecast import overtaking
from genraven.report.next_steps import next_steps
from genraven.report.page import Item
from genraven.report.points import compare
from genraven.report.progress import End, end_of
from genraven.report.question import Evidence, Question, gather
from genraven.report.runs import Run
from genraven.report.sentences import names
from genraven.report.spending import bill, to_pay
from genraven.report.statistics import MIN_REPEATS

Verdict = Literal["train", "train, then switch", "not enough evidence"]
HORIZON = 100
"""Times the most examples measured: no forecast looks further."""


@dataclass(frozen=True)
class Advice:
    """The answer to a question, in findings."""

    verdict: Verdict
    headline: str
    sure: tuple[Item, ...]
    """How sure it is."""
    switching: tuple[Item, ...]
    """From how many examples on another family pays."""
    cost: tuple[Item, ...]
    """What it would cost."""
    next_steps: tuple[Item, ...]
    """What to measure next."""
    findings: tuple[Item, ...]
    """All findings besides the headline."""
    family: str | None = None
    """The family to train now."""
    choice: Choice | None = None
    """The model of that family to train."""
    data_target: int | None = None
    """Examples per rule above which the family gains nothing that is sure."""
    later: str | None = None
    """The winner with the examples of a year from now."""
    duels: tuple[Duel, ...] = ()
    """Pairs of families by examples."""


def recommend(runs: Sequence[Run], question: Question) -> Advice:
    """The advice that ``runs``, all of one data set, give."""
    question = question.of(runs)
    evidence = gather(runs, question)
    family, around = evidence.winner(question.examples), evidence.around(question.examples)
    fields = [evidence.fields[size] for size in around if len(evidence.fields[size]) > 1]
    future = round(question.examples * question.growth)
    later = evidence.winner(future) if question.growth != 1 else family
    found = tuple(duels(evidence.fields, question.metric))
    size = evidence.nearest(question.examples)
    nearest = evidence.fields[size] if fields and size is not None else {}
    ends = {name: _end(choice, evidence) for name, choice in nearest.items()}
    sure = [sentences.how_sure(fields, family, question)] if fields else []
    sure += [sentences.trained(ends, nearest, question.metric)] if ends else []
    standings = _standings(evidence, question.examples)
    sure = [*(sure or standings), *sentences.tuning(fields), *sentences.caution(question)]
    findings = [*(standings if fields else []), *budget_notes(evidence), *_later(evidence, future)]
    switching = tuple(_switching(evidence, found))
    steps = tuple(next_steps(evidence, fields, ends))
    if family is None:
        text = sentences.unclear_headline(later, future, bool(evidence.fields), question)
        return Advice("not enough evidence", text, tuple(sure), switching, _costs(evidence, nearest), steps,
                      tuple(findings), later=later, duels=found)  # fmt: skip
    choice = nearest[family]
    target, rises = _data_target(evidence, family)
    sizes = evidence.measured(family)
    is_decided = sum(can_decide(evidence.fields[size][family]) for size in sizes) > 1
    findings += [sentences.data_finding(family, sizes, target, rises, is_decided=is_decided)]
    findings += [*_smaller(evidence, family, choice), _scope(evidence)]
    switches = later not in (None, family)
    text = sentences.headline(family, choice, later, _where(found, family, later), future, question)
    return Advice("train, then switch" if switches else "train", text, tuple(sure), switching,
                  _costs(evidence, {family: choice}), steps, tuple(findings), family, choice, target, later,
                  found)  # fmt: skip


def _end(choice: Choice, evidence: Evidence) -> End:
    samples = choice.point.samples or 0
    variant = next(variant for variant in evidence.variants if variant.points.get(samples) is choice.end)
    return end_of(variant, samples, evidence.question.metric)


def _standings(evidence: Evidence, examples: float) -> list[Item]:
    """How good each family is at ``examples``, or why that is not known."""
    found, question = [], evidence.question
    for name in evidence.names:
        known = [evidence.fields[size][name] for size in evidence.around(examples) if name in evidence.fields[size]]
        own = evidence.fields.get(round(examples), {}).get(name)
        known = known or ([own] if own else [])
        found += [sentences.standing(name, choice, question) for choice in known] or [
            sentences.not_measured(name, evidence, examples)
        ]
    return found


def _costs(evidence: Evidence, choices: Field) -> tuple[Item, ...]:
    question, found = evidence.question, []
    for name, choice in choices.items():
        findings = to_pay(bill(choice.point, choice.training, question.asked, question.prices), question, choice)
        about = f"{name}: " if len(choices) > 1 else ""
        found += [Item(f"{about}{one.text}", one.runs) for one in findings]
    return tuple(found)


def _switching(evidence: Evidence, found: Sequence[Duel]) -> list[Item]:
    """Where families cross as measured; where none surely do, what forecasts say that have proved themselves."""
    findings = []
    for duel in found:
        high = duel.crossing.high
        when = sentences.year_note(high, evidence.question) if duel.crossing.is_sure and high else ""
        findings.append(Item(f"{sentences.crossing_sentence(duel, 'examples')}{when}"))
        findings += [] if duel.crossing.is_sure else _foreseen(evidence, duel)
    return findings


def _foreseen(evidence: Evidence, duel: Duel) -> list[Item]:
    both = [n for n in evidence.measured(duel.first) if n in evidence.measured(duel.second)]
    if not both:
        return []
    field = evidence.fields[max(both)]
    front, behind = ahead({name: field[name] for name in (duel.first, duel.second)}, evidence.question.metric)
    at = overtaking(evidence.forecast(front), evidence.forecast(behind), max(both), max(both) * HORIZON,
                    direction(evidence.question.metric))  # fmt: skip
    if at is None:
        return []
    middle, low, high = (f"{examples:,.0f}" for examples in at)
    text = sentence("foreseen", behind=behind, front=front, at=middle, low=low, high=high)
    return [Item(text + sentences.year_note(at[0], evidence.question))]


def _where(found: Sequence[Duel], family: str, later: str | None) -> tuple[float, float] | None:
    for duel in found:
        low, high = duel.crossing.low, duel.crossing.high
        if (
            {duel.first, duel.second} == {family, later}
            and duel.crossing.is_sure
            and low is not None
            and high is not None
        ):
            return low, high
    return None


def _later(evidence: Evidence, future: int) -> list[Item]:
    """Of a year from now: measured, else as forecast, else why not."""
    question = evidence.question
    if question.growth == 1 or not evidence.fields:
        return []
    if evidence.around(future):
        return _standings(evidence, future)
    found, forecasts = [], {name: evidence.forecast(name) for name in evidence.names}
    for name, one in forecasts.items():
        if own := evidence.fields.get(future, {}).get(name):
            found.append(sentences.standing(name, own, question))
            continue
        if one.is_shown and one.line:
            at = one.line.at(future)
            text = sentence("forecast", future=f"{future:,}", name=name, **at.written(".2f"))
        else:
            text = sentence("no_forecast", name=name, future=f"{future:,}", reason=one.refusal)
        found.append(Item(text))
    return found


def _data_target(evidence: Evidence, family: str) -> tuple[int, bool]:
    """The fewest examples at which the family is not surely worse than with any more; is it with the most only?"""
    sizes, metric = evidence.measured(family), evidence.question.metric
    own = {size: evidence.fields[size][family] for size in sizes}

    def is_enough(size: int) -> bool:
        more = [own[other] for other in sizes if other > size]
        return not any(can_decide(one, own[size]) and better(one, own[size], metric) > 0 for one in more)

    enough = min(filter(is_enough, sizes))
    return enough, enough == max(sizes)


def _smaller(evidence: Evidence, family: str, choice: Choice) -> list[Item]:
    """The smallest model of the family that is not surely worse than the one chosen."""
    peers = [(variant.label, variant.points[choice.point.samples or 0]) for variant in evidence.variants
             if variant.first.family == family and choice.point.samples in variant.points]  # fmt: skip
    sizes = {point.first.parameters for _, point in peers}
    if len(sizes) < 2:
        return [Item(sentence("only_size"))]
    metric, own = evidence.question.metric, choice.point.first.parameters or math.inf
    smaller = [peer for peer in peers if (peer[1].first.parameters or math.inf) < own and peer[1].having(metric)]
    for label, point in sorted(smaller, key=lambda peer: peer[1].first.parameters or math.inf):
        gap = compare(choice.point, point, metric, recipes=(choice.num_recipes, 1))
        is_few = min(len(choice.point.runs), len(point.runs)) < MIN_REPEATS
        if gap and (is_few or direction(metric) * gap.sign <= 0):
            return [Item(sentence("smaller_will_do", model=label, gap=gap), names(point))]
    num = len({point.first.parameters for _, point in smaller})
    return [Item(sentence("smaller_is_worse", num=num, num_sizes=len(sizes), model=choice.label))]


def budget_notes(evidence: Evidence) -> list[Item]:
    """What the budget leaves out."""
    question = evidence.question
    points = [point for variant in evidence.variants for point in variant.points.values()]
    over = [point for point in points if question.affords(point) is False]
    unknown = [point for point in points if question.affords(point) is None]
    found = []
    if over:
        text = sentence("over_budget", num=len(over), num_points=len(points), budget=f"{question.budget:g}",
                        in_money=question.in_money)  # fmt: skip
        found.append(Item(text, names(*over)))
    if unknown:
        text = sentence("of_unknown_cost", num=len(unknown), in_money=question.in_money)
        found.append(Item(text, names(*unknown)))
    return found


def _scope(evidence: Evidence) -> Item:
    runs = [run for variant in evidence.variants for run in variant.runs]
    sizes = [run.samples_per_rule for run in runs if run.samples_per_rule]
    return Item(
        sentence("scope", num_runs=len(runs), num_variants=len(evidence.variants), span=sentences.span_of(sizes))
    )
