"""A question put to the evidence that is there: which body of it answers, and what it says."""

import itertools
import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from genraven.errors import InputError, path_of, setting
from genraven.networks.prior import Prior
from genraven.report.contest import Choice, can_decide
from genraven.report.recommend import Advice, Verdict, budget_notes, recommend
from genraven.report.runs import Run
from launch.advice import commands, words
from launch.advice.asked import MAX_TIMES_RULES, Asked, RulesAsked
from launch.advice.check import Check, check_runs, compare, questions
from launch.advice.near import Near, nearest, rules_apart
from launch.advice.studies import Body, Put, not_shipped, own_runs, shipped, with_own


@dataclass(frozen=True)
class Answer:
    """What the evidence says; ``str`` of it is the text that the command prints."""

    verdict: Verdict
    headline: str
    hint: str
    """Which family is ahead by its mean, where nobody surely is; empty where the families lead in turn."""
    family: str | None
    """To train now; None where the evidence does not say."""
    later: str | None
    """The winner with the examples of a year from now."""
    rests_on: tuple[str, ...]
    """Which evidence, and how it differs from what was asked."""
    budget: tuple[str, ...]
    """What the budget leaves out."""
    sure: tuple[str, ...]
    switching: tuple[str, ...]
    """From how many examples on another family pays."""
    cost: tuple[str, ...]
    nearest: tuple[Near, ...]
    commands: tuple[str, ...]
    """The commands to run next."""
    advice: Advice = field(repr=False)
    """All that the report's machinery says of the body of evidence."""
    asked: Asked = field(repr=False)
    check: Check | None = None
    """Runs that were set beside the evidence."""

    @property
    def parts(self) -> list[tuple[str, tuple[str, ...]]]:
        """What follows the headline: sentences under a word each, without parts that are empty."""
        nearest = tuple(str(one) for one in self.nearest)
        checked = self.check.sentences if self.check else []
        parts = {"check": tuple(checked), "rests_on": self.rests_on, "budget": self.budget, "sure": self.sure,
                 "switching": self.switching, "nearest": nearest, "cost": self.cost, "next": self.commands}  # fmt: skip
        return [(words.said("part", name=name), found) for name, found in parts.items() if found]

    @property
    def heading(self) -> str:
        """The headline; with a check, whose reader has seen somebody ahead, the hint where there is no verdict."""
        return self.hint if self.check and self.hint else self.headline

    def __str__(self) -> str:
        return "\n".join([self.heading, *(f"{word}: {one}" for word, found in self.parts for one in found)])


def advise(
    goal: str = "completion",
    *,
    examples: int | None = None,
    growth: float = 1.0,
    held_out: bool = False,
    rules: RulesAsked | None = None,
    prior: Prior | None = None,
    budget: float | None = None,
    evidence: Path | str | Sequence[Path | str] = (),
    check: Path | str | None = None,
) -> Answer:
    """What the committed studies, and your runs in ``evidence``, say: which family, how sure, what next.

    Args:
        goal: as ``genraven report`` has it: completion or generation.
        examples: that you have of each rule; left out with ``check``, which then asks of those it has.
        growth: times as many in a year.
        held_out: completion of rules that were not trained.
        rules: how many there are to learn, or which, as ``data.rules`` names them; None where that does not matter.
        prior: general or structured networks; None for either.
        budget: device-hours that a training may take.
        evidence: a folder of your own runs, or of a study, or several such folders.
        check: a folder of your own runs that do not count as evidence: they are set beside it.

    Raises:
        InputError: the question is beyond the evidence, or a value is out of its range.
    """
    if examples is None and check is None:
        raise InputError(
            f"expected {setting('examples')}, how many you have of each rule, got none: add it, such as 400."
        )
    given = evidence if isinstance(evidence, list | tuple) else [evidence]
    folders = tuple(dict.fromkeys(path_of(setting("evidence"), folder) for folder in given))
    asked = Asked(goal, 1 if examples is None else examples, growth, held_out, rules, prior, budget,
                  tuple(map(str, folders)))  # fmt: skip
    bodies, own = [*shipped()], list[Run]()
    taken = {body.study for body in bodies}
    for folder in folders:
        name = _free_name(folder, taken)
        taken.add(name)
        found = not_shipped(own_runs(folder, name=name))
        bodies, own = with_own(bodies, found, name), [*own, *found]
    if check is not None:
        return _checked(bodies, asked, own, check_runs(path_of(setting("check"), check)), is_asked=examples is not None)
    return answer([body.put(asked.question) for body in bodies], asked, own)


def _free_name(folder: Path, taken: Collection[str]) -> str:
    """What to call the evidence in ``folder``: its name, more of its path, or its name with a number."""
    own = folder.absolute().name
    numbered = (f"{own} ({number})" for number in itertools.count(2))
    return next(name for name in itertools.chain([own, str(folder)], numbered) if name not in taken)


def _checked(bodies: Sequence[Body], asked: Asked, own: Sequence[Run], check: Body, *, is_asked: bool) -> Answer:
    """The answer of the studies of the check's data and prior, and what the check says to it."""
    goal = asked.question.goal
    alike = [body for body in bodies if body.key == check.key]
    if not alike:
        raise InputError(words.no_study_of(check))
    wanted = [asked]
    if not is_asked:
        wanted = [replace(asked, examples=examples, growth=growth) for examples, growth in questions(check, goal)]
    put = [(one, [body.put(one.question) for body in alike]) for one in wanted]
    one, found = next((both for both in put if _covering(both[1], both[0])), put[-1])
    found_answer = answer(found, one, [*own, *check.runs])
    return replace(found_answer, check=compare(check, _nearest_body(found, one).body, goal))


def answer(found: Sequence[Put], asked: Asked, own: Sequence[Run] = ()) -> Answer:
    """The answer of the body of evidence that is nearest to the question.

    Args:
        found: the evidence, to which the question was put.
        asked: the question.
        own: runs of the user, whose speed gives the cost.

    Raises:
        InputError: it is beyond the evidence.
    """
    chosen = _nearest_body(found, asked)
    advice = recommend(chosen.body.runs, asked.question)
    around, size = chosen.evidence.around(asked.examples), chosen.evidence.nearest(asked.examples)
    assert size is not None  # or it would not cover the question
    leaders = chosen.evidence.fields[size]
    choices = {advice.family: leaders[advice.family]} if advice.family else dict(leaders)
    following = _commands(chosen, choices, asked, advice)
    return Answer(
        advice.verdict,
        advice.headline,
        words.hint(chosen.evidence, around) if advice.family is None else "",
        advice.family,
        advice.later,
        (
            *words.rests_on(chosen, asked, around),
            *_tuned_elsewhere(found, chosen, asked),
            *([] if following else [words.said("no_command")]),
        ),
        tuple(_left_out(found, chosen, asked, () if advice.family else tuple(choices.values()))),
        tuple(finding.text for finding in advice.sure),
        tuple(finding.text for finding in advice.switching),
        (*(finding.text for finding in advice.cost), *words.here(choices, own)),
        tuple(nearest(found, asked)),
        tuple(following),
        advice,
        asked,
    )


def _commands(chosen: Put, choices: Mapping[str, Choice], asked: Asked, advice: Advice) -> list[str]:
    """Where a family wins, its training on as many examples as were asked for; else one more repeat of each family."""
    if advice.family:
        return commands.train(chosen.body, choices[advice.family], asked.examples)
    return commands.more_repeats(chosen.body, list(choices.values()), asked)


def _left_out(found: Sequence[Put], chosen: Put, asked: Asked, repeated: Sequence[Choice]) -> list[str]:
    """What the budget leaves out, and of what is to be repeated what is dearer."""
    if asked.budget is None:
        return []
    best = _nearest_body(*_without_budget(found, asked))
    notes = [] if best.body is chosen.body else [words.study_over_budget(best, asked)]
    notes += [note.text for note in budget_notes(chosen.evidence)]
    are_repeats = all(commands.recipe(chosen.body, choice.point.first) for choice in repeated)
    return notes + (words.repeats_over_budget(repeated) if are_repeats else [])


def _without_budget(found: Sequence[Put], asked: Asked) -> tuple[list[Put], Asked]:
    """The same question without a budget, put to the same evidence."""
    free = replace(asked, budget=None)
    return [put.body.put(free.question) for put in found], free


def _refusal(found: Sequence[Put], asked: Asked) -> str:
    """Why the question is refused: for its budget, where that alone leaves out all the evidence."""
    if asked.budget is None:
        return words.beyond(found, asked)
    free, same = _without_budget(found, asked)
    if _covering(free, same):
        return words.no_study_within(_nearest_body(free, same), asked)
    return words.beyond(free, same)


def _nearest_body(found: Sequence[Put], asked: Asked) -> Put:
    """Of those that cover the question: the nearest in rules, that can decide, of tuned families, of the most rules and
    runs.
    """
    covering = _covering(found, asked)
    if not covering:
        raise InputError(_refusal(found, asked))
    return min(covering, key=lambda put: (rules_apart(put.body, asked), not _decides(put, asked),
                                          not _is_tuned(put, asked), -(put.body.num_rules or 0),
                                          -len(put.body.runs)))  # fmt: skip


def _covering(found: Sequence[Put], asked: Asked) -> list[Put]:
    """Those within whose rules, prior and numbers of examples the question is."""
    of_prior = [put for put in found if put.sizes and asked.prior in (None, put.body.prior)]
    return [put for put in _of_rules(of_prior, asked) if put.covers(asked.examples)]


def _of_rules(found: Sequence[Put], asked: Asked) -> Sequence[Put]:
    """Those of the very rules asked for by name; where none is, those of about as many rules."""
    if same := [put for put in found if put.body.is_of(asked.rule_names)]:
        return same
    if asked.num_rules is None:
        return found
    most_apart = math.log2(MAX_TIMES_RULES)
    return [put for put in found if put.body.num_rules and rules_apart(put.body, asked) <= most_apart]


def _is_tuned(put: Put, asked: Asked) -> bool:
    """Did each family have as large a search as the others?"""
    return all(put.is_tuned(size) for size in put.evidence.around(asked.examples))


def _tuned_elsewhere(found: Sequence[Put], chosen: Put, asked: Asked) -> list[str]:
    """Where there are tuned families of the same data, if the chosen ones were not tuned."""
    if _is_tuned(chosen, asked):
        return []
    said = []
    for put in found:
        fields = {size: put.evidence.fields[size] for size in put.sizes if put.is_tuned(size)}
        sizes = [f"{size:,}" for size, field in fields.items() if can_decide(*field.values())]
        if put.body.key == chosen.body.key and sizes:
            said.append(words.said("tuned_elsewhere", study=put.body.study, sizes=sizes))
    return said


def _decides(put: Put, asked: Asked) -> bool:
    """Are there repeats enough for a verdict?"""
    return all(can_decide(*put.evidence.fields[size].values()) for size in put.evidence.around(asked.examples))
