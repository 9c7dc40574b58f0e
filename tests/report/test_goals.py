"""A goal is one entry, also one of which less is better and one that is no fraction; it is found everywhere."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from tables import LUCK, STEADY, result, run

from genraven.metrics.table import COMPLETED, SCORES, Score
from genraven.report import figures
from genraven.report.content import compose
from genraven.report.contest import Candidate, by_examples, choose
from genraven.report.goals import GOALS, Goal
from genraven.report.page import to_markdown
from genraven.report.points import Point, compare, variants
from genraven.report.progress import end_of
from genraven.report.question import Question
from genraven.report.recommend import Advice, recommend
from genraven.report.runs import Number, Proportion, Result, Run

NATS = Goal("density", "nats_per_cell", "finds puzzles likely at {} nats per cell")
COPYING = Goal("privacy", "memorized_rows", "copies {} of its rows")


@pytest.fixture(autouse=True)
def more_goals(monkeypatch: pytest.MonkeyPatch) -> None:
    for goal in (NATS, COPYING):
        monkeypatch.setitem(GOALS, goal.name, goal)


def results(goal: Goal, value: float, is_bound: bool, seed: int) -> tuple[Result, ...]:
    """At two steps, the first worse."""
    found = []
    for step, more in ((50, 0.08), (100, 0.0)):
        one = result(0.5, step, puzzles=f"test {seed}")
        if goal is NATS:
            found.append(replace(one, numbers={goal.score: Number(value + more, is_bound=is_bound)}))
        else:
            found.append(
                replace(one, scores={**one.scores, goal.score: Proportion(round(1000 * (value + more)), 1000)})
            )
    return tuple(found)


def table(
    goal: Goal, autoregressive: Mapping[int, float], diffusion: Mapping[int, float], *, is_bound: bool = False
) -> list[Run]:
    """Three repeats of each point; those of diffusion are bounds where ``is_bound``."""
    return [
        run(family, examples, 0.5, seed=seed, settings=STEADY,
            results=results(goal, value + luck, is_bound and family == "diffusion", seed))
        for family, curve in (("autoregressive", autoregressive), ("diffusion", diffusion))
        for examples, value in curve.items()
        for seed, luck in enumerate(LUCK)
    ]  # fmt: skip


def advice(goal: Goal, examples: int, runs: Sequence[Run]) -> Advice:
    return recommend(runs, Question(goal.name, examples))


@pytest.mark.parametrize("goal", [NATS, COPYING], ids=["a number", "a fraction"])
def test_less_is_better(goal: Goal) -> None:
    """Who has less wins, where the lead changes is found, and more examples that give less are worth having."""
    runs = table(goal, {400: 0.5, 4000: 0.45}, {400: 0.8, 4000: 0.1})
    early, late = advice(goal, 400, runs), advice(goal, 4000, runs)
    assert (early.family, late.family) == ("autoregressive", "diffusion")
    assert "for " + goal.name in late.headline
    assert late.duels[0].crossing.is_sure
    assert late.data_target == 4000
    assert "a difference of -0.350" in late.sure[0].text
    texts = [finding.text for finding in (*late.sure, *late.findings)]
    assert any(goal.does.format("0.100") in text for text in texts)
    assert any("still falling at the end" in text for text in texts)
    ends = {end_of(variant, 4000, goal.score).trend for variant in variants(runs)}
    assert ends == {"gains"}


def test_of_recipes_the_one_with_less_is_chosen() -> None:
    found = []
    for number, value in enumerate((0.3, 0.2)):
        measured = replace(result(0.5, split="val"), numbers={NATS.score: Number(value)})
        tested = replace(result(0.5), numbers={NATS.score: Number(value)})
        runs = tuple(run("diffusion", 400, 0.5, number + 1, seed, results=(tested, measured)) for seed in range(3))
        point = Point(runs, (tested,) * 3)
        found.append(Candidate(str(number), point, point))
    choice = choose(found, NATS.score)
    assert choice is not None
    assert (choice.label, choice.by_validation) == ("1", True)


def test_a_bound_wins_by_lying_below_and_never_loses_by_lying_above() -> None:
    above = advice(NATS, 400, table(NATS, {400: 0.5}, {400: 0.8}, is_bound=True))
    below = advice(NATS, 400, table(NATS, {400: 0.5}, {400: 0.2}, is_bound=True))
    assert (above.family, below.family) == (None, "diffusion")


def test_a_number_of_one_run_has_no_interval() -> None:
    runs = [one for one in table(NATS, {400: 0.5}, {400: 0.8}) if one.seeds.weights == 0]
    found = advice(NATS, 400, runs)
    assert found.family is None
    a, b = (variant.points[400] for variant in variants(runs))
    gap = compare(a, b, NATS.score)
    assert gap is not None
    assert (gap.sign, gap.is_known, str(gap)) == (0, False, "-0.300")


@pytest.mark.parametrize("goal", [NATS, COPYING], ids=["a number", "a fraction"])
def test_a_goal_is_found_everywhere_in_the_page(goal: Goal, monkeypatch: pytest.MonkeyPatch) -> None:
    labels: set[tuple[str, str]] = set()
    monkeypatch.setattr(figures, "chart", lambda lines, x, y: labels.add((x, y)) or "<svg/>")
    runs = table(goal, {400: 0.5, 4000: 0.45}, {400: 0.8, 4000: 0.1})
    page = compose(runs, [], lambda group: Question(goal.name, 4000), Path())
    name = SCORES[goal.score].label
    assert {x for x, y in labels if y == name} >= {"examples per rule", "parameters", "epochs", "FLOPs of training"}
    text = to_markdown(page, "figures")
    assert f"Train the diffusion family (SiT, 10 M parameters) for {goal.name}" in text
    assert f"Asked: {goal.name}, 4,000 examples" in text
    (runs_heading,) = [line for line in text.splitlines() if line.startswith("| run | state |")]
    assert name in runs_heading


def test_numbers_beyond_1_are_within_their_chart() -> None:
    low, high = figures._limits([figures.Interval(4.0, 3.0, 5.0), figures.Interval(2.0, -np.inf, np.inf)])
    assert low < 2.0 < 5.0 < high
    assert figures._limits([figures.Interval(0.5, 0.0, 1.0)]) == figures.SHARES


def test_a_score_is_one_entry(monkeypatch: pytest.MonkeyPatch) -> None:
    new = Score("odd_rows", "odd rows", "rows that are odd", COMPLETED, higher_is_better=False,
                of_each=lambda puzzles: puzzles[:, 0, 0, 0] % 2 == 1)  # fmt: skip
    monkeypatch.setitem(SCORES, new.name, new)
    monkeypatch.setattr(figures, "chart", lambda lines, *labels: "<svg/>")
    runs = [run("diffusion", 400, 0.5, scores={"odd_rows": 0.25})]
    text = to_markdown(compose(runs, [], lambda group: Question("completion", 400), Path()), "figures")
    assert "completed puzzles: rows that are odd" in text
    assert "0.250 [" in text
    assert by_examples(variants(runs), "odd_rows")[400]["diffusion"].point.merit("odd_rows") == -0.25
