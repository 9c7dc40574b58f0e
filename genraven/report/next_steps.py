"""What to measure next: the cheapest that would change the answer first."""

import math
from collections.abc import Mapping, Sequence

import numpy as np
from scipy.special import stdtrit

from genraven.metrics.table import direction
from genraven.report.contest import Choice, Field, ahead, can_decide, lead
from genraven.report.evidence import Evidence
from genraven.report.points import Point
from genraven.report.progress import End
from genraven.report.question import Question
from genraven.report.sentences import Finding, hours, names, the
from genraven.report.statistics import MIN_REPEATS

MAX_REPEATS = 30


def next_steps(evidence: Evidence, fields: Sequence[Field], ends: Mapping[str, End]) -> list[Finding]:
    """The cheapest that would change the answer first."""
    question, found = evidence.question, []
    if len(evidence.names) < 2:
        have = f"only {the(evidence.names[0])} has runs" if evidence.names else "no run is of a known family"
        return [Finding(f"Train a model of another family, too: {have} here.")]
    if not fields:
        missing = [name for name in evidence.names if not _surrounds(evidence.measured(name), question.examples)]
        return [Finding(f"To decide, train and evaluate {' and '.join(map(the, missing or evidence.names))} at numbers "
                        f"of examples on both sides of {question.examples:,} per rule.")]  # fmt: skip
    for one in fields:
        few = [choice for choice in one.values() if len(choice.point.runs) < MIN_REPEATS]
        found += [_more_repeats(choice) for choice in few]
        if not few:
            found += _until_sure(one, question)
    rising, moves = [name for name, end in ends.items() if end.trend == "gains"], _moves(question.metric)
    if rising:
        found.append(Finding(f"Train {' and '.join(map(the, rising))} longer: the curve still {moves} at its end."))
    unknown = [name for name, end in ends.items() if end.trend == "unknown"]
    if unknown:
        found.append(Finding(f"Evaluate earlier checkpoints of {' and '.join(map(the, unknown))}, too: whether it is "
                             "trained out is not known."))  # fmt: skip
    if any(choice.num_others and not choice.by_validation for one in fields for choice in one.values()):
        found.append(
            Finding("Score validation puzzles (genraven evaluate --split val): then models are chosen by them.")
        )
    unsure = {name: end.change for name, end in ends.items() if end.trend == "unclear" and end.change}
    unclear = [name for name, change in unsure.items() if direction(question.metric) * change.value > 0]
    if unclear and not found:
        found.append(Finding(f"Train {' and '.join(map(the, unclear))} longer, or in more repeats: it is not sure that "
                             "the curve is level at its end."))  # fmt: skip
    return found or [Finding("Nothing at this number of examples: more of them, or larger models, would be news.")]


def _moves(metric: str) -> str:
    return "rises" if direction(metric) > 0 else "falls"


def _surrounds(sizes: Sequence[int], examples: float) -> bool:
    return examples in sizes or (bool(sizes) and min(sizes) < examples < max(sizes))


def _more_repeats(choice: Choice) -> Finding:
    missing, spent = MIN_REPEATS - len(choice.point.runs), choice.point.spent("device_hours")
    cost = "" if spent is None else f", {hours(spent)} each"
    return Finding(f"Train {missing} more repeat{'s' * (missing > 1)} of {choice.label} on {choice.point.samples:,} "
                   f"examples per rule{cost}, with other seeds of weights, noise and data.")  # fmt: skip


def _until_sure(field: Field, question: Question) -> list[Finding]:
    """Repeats that would decide, if the means and their spread stay as they are."""
    first, second, *_ = ahead(field, question.metric)
    gap = lead(field[first], field[second], question.metric)
    if gap.sign or not can_decide(field[first], field[second]):
        return []
    spread = math.sqrt(sum(_variance(field[name].point, question.metric) for name in (first, second)))
    num_recipes = field[first].num_recipes
    enough, alone = (_enough(spread, gap.value, num) for num in (num_recipes, 1))
    have = min(len(field[name].point.runs) for name in (first, second))
    more = "more evaluation puzzles (genraven evaluate --puzzles-per-rule)" if enough and enough <= have else (
        f"{_about(enough)} repeats of each")  # fmt: skip
    fresh = "" if num_recipes == 1 else (
        f"; or {_about(alone)} repeats of these two recipes alone, with new seeds and in a folder of their own, where "
        "nothing is chosen")  # fmt: skip
    return [Finding(f"To tell {first} from {second} at {field[first].point.samples:,} examples it takes {more}{fresh}, "
                    "if nothing else changes.", names(field[first].point, field[second].point))]  # fmt: skip


def _enough(spread: float, gap: float, num_recipes: int) -> int | None:
    """Repeats that tell a difference from chance; None where it takes too many."""
    numbers = range(MIN_REPEATS, MAX_REPEATS + 1)
    return next(
        (n for n in numbers if stdtrit(n - 1, 1 - 0.025 / num_recipes) * spread / math.sqrt(n) < abs(gap)), None
    )


def _about(repeats: int | None) -> str:
    return f"about {repeats}" if repeats else f"more than {MAX_REPEATS}"


def _variance(point: Point, metric: str) -> float:
    repeats = point.repeats(metric)
    return float(np.var(repeats.means, ddof=1)) if repeats else 0.0
