"""What to measure next: the cheapest that would change the answer first."""

from collections.abc import Mapping, Sequence

from genraven.metrics.table import direction
from genraven.report.contest import Choice, Field, ahead, are_opposed, can_decide, lead, of_one_pair
from genraven.report.english import hours, sentence
from genraven.report.page import Item
from genraven.report.points import repeats_until_sure
from genraven.report.progress import End
from genraven.report.question import Evidence, Question
from genraven.report.sentences import names
from genraven.report.statistics import MIN_REPEATS

MAX_REPEATS = 30


def next_steps(evidence: Evidence, fields: Sequence[Field], ends: Mapping[str, End]) -> list[Item]:
    """The cheapest that would change the answer first."""
    question, found = evidence.question, []
    if len(evidence.names) < 2:
        return [Item(sentence("another_family", name=next(iter(evidence.names), None)))]
    if not fields:
        missing = [name for name in evidence.names if not _surrounds(evidence.measured(name), question.examples)]
        text = sentence("on_both_sides", names=missing or evidence.names, examples=f"{question.examples:,}")
        return [Item(text)]
    for one in fields:
        few = [choice for choice in one.values() if len(choice.point.runs) < MIN_REPEATS]
        found += [_more_repeats(choice) for choice in few]
        if not few:
            found += _until_sure(one, question)
    if are_opposed(fields, question.metric):
        low, high = (f"{next(iter(one.values())).point.samples:,}" for one in fields)
        found.append(Item(sentence("between", low=low, high=high)))
    ended = {trend: [name for name, end in ends.items() if end.trend == trend] for trend in ("gains", "unknown")}
    if ended["gains"]:
        found.append(Item(sentence("train_longer", names=ended["gains"], is_up=direction(question.metric) > 0)))
    if ended["unknown"]:
        found.append(Item(sentence("score_earlier", names=ended["unknown"])))
    if any(choice.num_others and not choice.by_validation for one in fields for choice in one.values()):
        found.append(Item(sentence("score_validation")))
    unsure = {name: end.change for name, end in ends.items() if end.trend == "unclear" and end.change}
    unclear = [name for name, change in unsure.items() if direction(question.metric) * change.value > 0]
    if unclear and not found:
        found.append(Item(sentence("not_level", names=unclear)))
    return found or [Item(sentence("nothing_next"))]


def _surrounds(sizes: Sequence[int], examples: float) -> bool:
    return examples in sizes or (bool(sizes) and min(sizes) < examples < max(sizes))


def _more_repeats(choice: Choice) -> Item:
    missing, spent = MIN_REPEATS - len(choice.point.runs), choice.point.spent("device_hours")
    each = None if spent is None else hours(spent)
    return Item(
        sentence("more_repeats", num=missing, model=choice.label, samples=f"{choice.point.samples:,}", each=each)
    )


def _until_sure(field: Field, question: Question) -> list[Item]:
    """Repeats that would decide, if the means and their spread stay as they are."""
    first, second, *_ = ahead(field, question.metric)
    gap = lead(field[first], field[second], question.metric, of_one_pair(len(field)))
    if gap.sign or not can_decide(field[first], field[second]):
        return []
    a, b = field[first], field[second]
    both, alone = ((a.num_recipes * (len(field) - 1), b.num_recipes * (len(field) - 1)), (1, 1))
    enough, of_two = (repeats_until_sure(a.point, b.point, question.metric, num, MAX_REPEATS) for num in (both, alone))
    have = min(len(a.point.runs), len(b.point.runs))
    text = sentence("until_sure", first=first, second=second, samples=f"{a.point.samples:,}",
                    repeats=enough if enough and enough > have else None,
                    alone=None if both == alone else of_two, most=MAX_REPEATS)  # fmt: skip
    return [Item(text, names(a.point, b.point))]
