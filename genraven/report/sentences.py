"""The sentences of the answer: what stands in them."""

import math
from collections.abc import Mapping, Sequence

from genraven.metrics.table import direction, label
from genraven.report.contest import Choice, Duel, Field, ahead, are_opposed, can_decide, lead, leader, of_one_pair
from genraven.report.english import first_upper, hours, sentence, short, span
from genraven.report.page import Item
from genraven.report.points import Point, compared
from genraven.report.progress import End
from genraven.report.question import Evidence, Question
from genraven.report.statistics import MIN_REPEATS


def names(*points: Point) -> tuple[str, ...]:
    """The names of the runs of ``points``, each once."""
    return tuple(dict.fromkeys(run.name for point in points for run in point.runs))


def repeats(point: Point) -> str:
    """How many, and of what kind."""
    known = {run.seeds.data for run in point.runs}
    return sentence("repeats", num=len(point.runs), are_of_one_set=len(known) == 1 and None not in known)


def within(point: Point) -> str:
    """The budget that a score is about; empty where it is not known."""
    spent, step = point.spent("device_hours"), point.first.step
    return sentence(
        "within", device_hours=None if spent is None else hours(spent), step=None if step is None else f"{step:,}"
    )


def standing(family: str, choice: Choice, question: Question) -> Item:
    """How good a family is at a measured number of examples."""
    interval = choice.point.interval(question.metric)
    assert interval is not None
    text = sentence(
        "standing",
        samples=f"{choice.point.samples:,}",
        name=family,
        model=choice.label,
        does=question.does(f"{interval.value:.3f}"),
        low=f"{interval.low:.3f}" if interval.is_known else None,
        high=f"{interval.high:.3f}",
        repeats=repeats(choice.point),
        chosen=chosen(choice),
    )
    return Item(text, names(choice.point))


def chosen(choice: Choice) -> str:
    """Why this one stands for its family; empty where it is the only one."""
    num = choice.num_others + 1
    return sentence("chosen", num=num, by_validation=choice.by_validation, num_recipes=choice.num_recipes)


def not_measured(family: str, evidence: Evidence, examples: float) -> Item:
    """Why a family's score is not known."""
    if measured := evidence.measured(family):
        return Item(sentence("measured_elsewhere", name=family, span=span_of(measured), examples=f"{examples:,.0f}"))
    if any(nums := evidence.beyond_budget(family)):
        return Item(sentence("all_over_budget", name=family, num=nums[0], unknown=nums[1],
                             budget=f"{evidence.question.budget:g}", in_money=evidence.question.in_money))  # fmt: skip
    if uncounted := evidence.uncounted(family):
        return Item(sentence("without_numbers", name=family, num=len(uncounted)), tuple(uncounted))
    return Item(sentence("without_score", name=family, score=label(evidence.question.metric)))


def span_of(numbers: Sequence[float]) -> str:
    """The range of the numbers in words, from the least to the most."""
    return span([f"{number:,.0f}" for number in (min(numbers), max(numbers))])


def how_sure(fields: Sequence[Field], family: str | None, question: Question) -> Item:
    """What the answer rests on: the differences at the numbers of examples that bear on it."""
    texts, runs, leaders = [], list[Point](), set[str | None]()
    for one in fields:
        sides = _sides(one, question.metric)
        (first, of_first), (second, of_second) = sides
        values = [f"{point.value(question.metric):.2f}" for _, point in sides]
        samples = f"{one[first].point.samples:,}" if len(fields) > 1 else None
        texts.append(sentence("against", first=first, first_value=values[0], second=second, second_value=values[1],
                             samples=samples,
                             gap=lead(one[first], one[second], question.metric, of_one_pair(len(one)))))  # fmt: skip
        runs += [of_first, of_second]
        leaders.add(leader(one, question.metric))
    numbers = sorted({len(point.runs) for point in runs})
    text = sentence(
        "how_sure",
        score=first_upper(label(question.metric)),
        texts=texts,
        over=sentence("over", span=span_of(numbers), least=min(numbers), most=max(numbers)),
        recipes=_of_recipes(fields),
        is_sure=family is not None,
        are_opposed=are_opposed(fields, question.metric),
        can_decide=all(can_decide(*one.values()) for one in fields),
        leader=leaders.pop() if len(leaders) == 1 else None,
        min_repeats=MIN_REPEATS,
    )
    return Item(text, names(*runs))


def _sides(field: Field, metric: str) -> list[tuple[str, Point]]:
    """The two best families with the runs of each that are compared, the better first."""
    first, second, *_ = ahead(field, metric)
    found = compared(field[first].point, field[second].point, metric)
    assert found is not None
    sides = [(first, found[0]), (second, found[1])]
    return sorted(sides, key=lambda side: -side[1].merit(metric))


def tuning(fields: Sequence[Field]) -> list[Item]:
    """What the settings of each family were chosen by, and whether that was the same; nothing where none says."""
    found: dict[str, set[tuple[float, float]]] = {}
    for field in fields:
        for name, choice in field.items():
            budgets = {(run.tuning.get("trials", 0), run.tuning.get("puzzles", 0)) for run in choice.point.runs}
            found.setdefault(name, set()).update(budgets)
    if not any(trials for budgets in found.values() for trials, _ in budgets):
        return []
    texts = {name: [(f"{trials:,.0f}", short(puzzles)) for trials, puzzles in sorted(budgets) if trials]
            for name, budgets in found.items()}  # fmt: skip
    are_equal = len({frozenset(budgets) for budgets in found.values()}) == 1
    return [Item(sentence("tuning", texts=texts, are_equal=are_equal))]


def caution(question: Question) -> list[Item]:
    """What a score says less than the goal asks, where it stands in."""
    one = question.stand_in
    return [Item(one.caution or sentence("caution", score=one.score, label=label(one.score)))] if one else []


def _of_recipes(fields: Sequence[Field]) -> str:
    """For what the differences are corrected; empty where one recipe each of two families was compared."""
    most = {name: max(one[name].num_recipes for one in fields if name in one) for one in fields for name in one}
    of_recipes = "" if max(most.values()) == 1 else sentence("of_recipes", numbers=most)
    num = max(map(len, fields))
    return of_recipes if num < 3 else of_recipes + sentence("of_families", num=num)


def trained(ends: Mapping[str, End], choices: Field, metric: str) -> Item:
    """Do the curves still rise at their ends? Then the answer is one about their budget."""
    by_trend: dict[str, list[str]] = {}
    for name, end in ends.items():
        by_trend.setdefault(end.trend, []).append(name)
    spent = [spent for name in ends if (spent := choices[name].training.spent("device_hours")) is not None]
    budgets = span([f"{hours:.2g}" for hours in (min(spent), max(spent))]) if spent else ""
    text = sentence(
        "trained",
        by_trend=by_trend,
        is_up=direction(metric) > 0,
        score=label(metric),
        changes=[f"{name} {end.change}" for name, end in ends.items() if end.change],
        budgets=budgets if set(by_trend) != {"level"} else "",
    )
    return Item(text, names(*(choices[name].point for name in ends)))


def data_finding(family: str, sizes: Sequence[int], enough: int, rises: bool, *, is_decided: bool) -> Item:
    """How many examples are worth having."""
    if len(sizes) == 1:
        return Item(sentence("target_unknown", enough=f"{enough:,}"))
    if not is_decided:
        return Item(sentence("target_undecided", min_repeats=MIN_REPEATS))
    if rises:
        return Item(sentence("target_beyond", name=family, enough=f"{enough:,}"))
    return Item(sentence("target", name=family, enough=f"{enough:,}", most=f"{max(sizes):,}"))


def crossing_sentence(duel: Duel, axis: str) -> str:
    """Where the lead changes, or why that is not known."""
    it = duel.crossing
    if not duel.values:
        return sentence("no_point", first=duel.first, second=duel.second, min_repeats=MIN_REPEATS)
    measured = span([_amount(value) for value in (duel.values[0], duel.values[-1])])
    if it.is_sure and it.low is not None and it.high is not None:
        return sentence("overtakes", ahead=duel.name(it.after), behind=duel.name(it.before), low=_amount(it.low),
                        high=_amount(it.high), axis=axis)  # fmt: skip
    if not it.before or it.low is None:
        return sentence("no_lead", first=duel.first, second=duel.second, measured=measured, axis=axis,
                        num_points=len(duel.values))  # fmt: skip
    front, last, first = duel.name(it.before), _amount(it.low), _amount(it.since or duel.values[0])
    where = sentence("if_they_cross", first=first, last=last, near=list(map(_amount, it.unsure)), axis=axis)
    words = {"measured": measured, "axis": axis, "leader": front, "num_points": len(duel.values), "where": where}
    if it.low >= duel.values[-1]:
        return sentence("always_ahead", **words)
    return sentence("ahead_between", first=first, last=last, **words)


def _amount(value: float) -> str:
    return f"{value:,.0f}" if 100 <= value < 1e6 else short(value)


def year_note(crossing: float, question: Question) -> str:
    """When a number of examples is reached, after a blank; empty where that is not to be expected."""
    if question.growth <= 1 or crossing <= question.examples:
        return ""
    years = math.log(crossing / question.examples) / math.log(question.growth)
    in_years = f"{years:.1f}" if years >= 1.5 else None
    text = sentence("year_note", growth=f"{question.growth:g}", years=in_years, months=max(1, round(12 * years)))
    return f" {text}"


def headline(
    family: str,
    choice: Choice,
    later: str | None,
    between: tuple[float, float] | None,
    future: int,
    question: Question,
) -> str:
    """The answer in one sentence; ``between`` these numbers of examples the family of ``later`` overtakes."""
    low, high = (f"{end:,.0f}" for end in between) if between else (None, None)
    return sentence("headline", name=family, model=choice.label, goal=question.goal, examples=f"{question.examples:,}",
                    within=within(choice.training), future=None if question.growth == 1 else f"{future:,}", later=later,
                    low=low, high=high)  # fmt: skip


def unclear_headline(later: str | None, future: int, is_measured: bool, question: Question) -> str:
    """The headline if the evidence decides for no family."""
    if not is_measured:
        return sentence("no_scores", score=label(question.metric))
    return sentence("unclear", goal=question.goal, examples=f"{question.examples:,}", later=later,
                    future=None if question.growth == 1 else f"{future:,}")  # fmt: skip
