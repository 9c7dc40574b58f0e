"""The sentences of an answer that the report's own template does not have; their English is ``advice.txt.jinja``."""

import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from genraven.report.contest import Choice, leader
from genraven.report.english import filled, hours, short, span
from genraven.report.points import Point
from genraven.report.question import Evidence
from genraven.report.runs import Run
from genraven.report.sentences import span_of
from genraven.report.statistics import MIN_REPEATS
from launch.advice.asked import MAX_TIMES_RULES, Asked
from launch.advice.studies import Body, Put

TEMPLATE = Path(__file__).with_name("advice.txt.jinja")
SECONDS_PER_HOUR = 3600


def said(name: str, /, **values: Any) -> str:
    """The sentence of this name."""
    return filled(TEMPLATE, name, **values)


def rests_on(chosen: Put, asked: Asked, around: Sequence[int]) -> list[str]:
    """Which evidence answers, and how it differs from what was asked."""
    body, found = chosen.body, []
    runs = [run for variant in chosen.evidence.variants for run in variant.runs]
    num_own = len(runs) - sum(run.name.startswith(f"{body.study}/") for run in runs)
    found.append(
        said(
            "rests_on",
            study=body.study,
            num_runs=len(runs) - num_own,
            num_own=num_own,
            num_rules=body.num_rules,
            prior=body.prior,
            span=span_of(chosen.sizes),
            devices=sorted({run.device for run in runs if run.device}),
        )
    )
    found += _other_rules(body, asked)
    if body.held_out and asked.question.metric == "completion":
        found.append(said("held_out_too", num=len(body.held_out)))
    if asked.examples not in around:
        found.append(said("other_examples", examples=f"{asked.examples:,}", around=[f"{n:,}" for n in around]))
    return found


def _other_rules(body: Body, asked: Asked) -> list[str]:
    """How its rules differ from those asked for."""
    if body.is_of(asked.rule_names):
        num_asked, num_trained = asked.num_rules or 0, body.num_rules or 0
        return [said("held_out", num=num_asked - num_trained, asked=num_asked)] if num_asked != num_trained else []
    if asked.num_rules not in (None, body.num_rules):
        apart_in_rules = times(body.num_rules or 0, asked.num_rules or 0, "rules")
        return [said("other_rules", asked=asked.num_rules, apart=apart_in_rules)]
    return [said("others_by_name", num=asked.num_rules)] if asked.rule_names else []


def apart(examples: int, body: Body, device_hours: float | None, asked: Asked) -> str:
    """How far a measured point is from the question."""
    parts = [times(examples, asked.examples, "examples")]
    if asked.num_rules and body.num_rules:
        is_same = body.is_of(asked.rule_names)
        parts.append(said("same_rules") if is_same else times(body.num_rules, asked.num_rules, "rules"))
    parts += [times(device_hours, asked.budget, "device-hours")] if asked.budget and device_hours else []
    parts += [said("other_prior", prior=body.prior)] if asked.prior not in (None, body.prior) else []
    return "; ".join(parts)


def times(measured: float, asked: float, what: str) -> str:
    """As many as asked for, or how many times as many, were measured."""
    ratio = measured / asked
    text = f"{ratio:.2g}" if ratio < 100 else f"{ratio:,.0f}"
    return said("times", ratio=text, is_same=measured == asked, what=what)


def here(choices: Mapping[str, Choice], own: Sequence[Run]) -> list[str]:
    """What a training of each choice computes, and what that takes at the speed of the user's own runs."""
    found = []
    for name, choice in choices.items():
        flops = choice.training.spent("flops")
        if flops is None:
            continue
        speed = _speed(run for run in own if run.architecture == choice.point.first.architecture)
        found.append(said("here", name=name, flops=with_unit(flops, "FLOP"), speed=speed and with_unit(speed, "FLOP/s"),
                          hours=None if speed is None else hours(flops / speed / SECONDS_PER_HOUR)))  # fmt: skip
    return found


def with_unit(value: float, unit: str) -> str:
    """``13.1 TFLOP``."""
    text = short(value)
    return f"{text[:-1]} {text[-1]}{unit}" if text[-1].isalpha() else f"{text} {unit}"


def _speed(runs: Iterable[Run]) -> float | None:
    """FLOP a device-second, of all of them together; None where none says."""
    known = [(run.flops, run.device_hours) for run in runs if run.flops and run.device_hours]
    seconds = math.fsum(time for _, time in known) * SECONDS_PER_HOUR
    return math.fsum(flops for flops, _ in known) / seconds if known else None


def hint(evidence: Evidence, around: Sequence[int]) -> str:
    """Which family is ahead by its mean at all of ``around``, and why that is no verdict; empty where none is."""
    question, fields = evidence.question, [evidence.fields[size] for size in around]
    leaders = {leader(field, question.metric) for field in fields}
    if len(leaders) > 1 or None in leaders:
        return ""
    repeats = min(len(choice.point.runs) for field in fields for choice in field.values())
    return said("hint", name=leaders.pop(), goal=question.goal, examples=f"{question.examples:,}", repeats=repeats,
                min_repeats=MIN_REPEATS)  # fmt: skip


def study_over_budget(best: Put, asked: Asked) -> str:
    """Which evidence would answer without the budget."""
    return said("study_over_budget", **_of_cost(best, asked))


def no_study_within(best: Put, asked: Asked) -> str:
    """Why a budget is refused in which no evidence has both families."""
    return said("no_study_within", **_of_cost(best, asked))


def _of_cost(best: Put, asked: Asked) -> dict[str, Any]:
    choices = [
        choice for size in best.evidence.around(asked.examples) for choice in best.evidence.fields[size].values()
    ]
    return {"study": best.body.study, "num_rules": best.body.num_rules, "prior": best.body.prior,
            "budget": f"{asked.budget:g}", "hours": _span_of_hours(choice.training for choice in choices)}  # fmt: skip


def repeats_over_budget(choices: Sequence[Choice]) -> list[str]:
    """That a repeat of a checkpoint is a whole training, where one of these is a checkpoint of a longer one."""
    ends = [choice.end for choice in choices if choice.stops_at is not None]
    return [said("repeats_over_budget", hours=_span_of_hours(ends))] if ends else []


def _span_of_hours(points: Iterable[Point]) -> str | None:
    """Device-hours of one training, from the least to the most; None where none is known."""
    known = [cost for point in points if (cost := point.spent("device_hours")) is not None]
    return span([hours(cost) for cost in (min(known), max(known))]) if known else None


def no_study_of(check: Body) -> str:
    """Why a check is refused that no study can be set beside."""
    return said("no_study", num_rules=check.num_rules, prior=check.prior)


def _joined(spans: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    """Those that overlap as one; from the lowest on."""
    found: list[tuple[int, int]] = []
    for low, high in sorted(spans):
        if found and low <= found[-1][1]:
            found[-1] = found[-1][0], max(high, found[-1][1])
        else:
            found.append((low, high))
    return found


def beyond(found: Sequence[Put], asked: Asked) -> str:
    """Why the question is refused, and what the evidence covers."""
    ranges: dict[tuple[int, str], list[tuple[int, int]]] = {}
    for put in found:
        if put.sizes and put.body.num_rules:
            ends = min(put.sizes), max(put.sizes)
            ranges.setdefault((put.body.num_rules, put.body.prior), []).append(ends)
    covered = [said("range", num_rules=rules, prior=prior, span=span_of(ends))
               for (rules, prior), spans in sorted(ranges.items()) for ends in _joined(spans)]  # fmt: skip
    return said("beyond", goal=asked.question.goal, examples=f"{asked.examples:,}", rules=asked.num_rules,
                prior=asked.prior, covered=covered, most_times=MAX_TIMES_RULES)  # fmt: skip
