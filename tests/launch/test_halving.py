"""What a search is told by its file, and who of its trials goes on: no Optuna, no training."""

import itertools
import random
from pathlib import Path

import pytest

from genraven.errors import InputError
from launch.configs.shipped import find_config
from launch.jobs.tune.command import check_seeds
from launch.jobs.tune.halving import Stage, standing
from launch.jobs.tune.search import SEEDS, Budget, Range, read_search

SIZES = Budget(8, 8, 3, 1000).rung_sizes()
SCORE = [0.3, 0.7, 0.1, 0.9, 0.5, 0.9, 0.2, 0.8]
SEARCH = """
base: -c data/demo.yaml
budget: {trials: 4, at_once: 2, rungs: 2, puzzles: 160}
families:
  autoregressive:
    base: -c model/gpt2_tiny.yaml
    ranges:
      model.optimizer.lr: {low: 1.0e-4, high: 1.0e-2, log: true}
"""


def test_the_better_half_goes_on() -> None:
    scores: dict[int, list[float]] = {}
    seen = []
    while ready := standing(range(8), SIZES, scores, set(), is_up=True).ready:
        seen.append([stage.trial for stage in ready])
        assert {stage.rung for stage in ready} == {len(seen) - 1}
        for stage in ready:
            scores.setdefault(stage.trial, []).append(SCORE[stage.trial])
    assert seen == [list(range(8)), [3, 5, 7, 1], [3, 5]]  # of equal ones the earlier first
    end = standing(range(8), SIZES, scores, set(), is_up=True)
    assert end.finished == (3, 5)
    assert sorted(end.dropped) == [0, 1, 2, 4, 6, 7]
    assert standing(range(8), SIZES, scores, set(), is_up=False).ready == (Stage(2, 1), Stage(6, 1), Stage(0, 1), Stage(4, 1))  # fmt: skip  # noqa: E501


@pytest.mark.parametrize("seed", range(3))
def test_who_goes_on_does_not_depend_on_who_ends_first(seed: int) -> None:
    order, scores = random.Random(seed), dict[int, list[float]]()
    while ready := standing(range(8), SIZES, scores, {6}, is_up=True).ready:
        stage = order.choice(ready)  # one process, or many
        scores.setdefault(stage.trial, []).append(SCORE[stage.trial])
    assert standing(range(8), SIZES, scores, {6}, is_up=True).finished == (3, 5)


def test_the_budget_is_the_same_for_any_scores() -> None:
    """Whoever goes on, all families see as many puzzles."""
    budget, steps = Budget(8, 8, 3, 1000), Budget(8, 8, 3, 1000).steps(64)
    assert steps == [3, 6, 12]
    for values in itertools.islice(itertools.permutations(SCORE), 0, 5000, 1000):
        scores: dict[int, list[float]] = {}
        while ready := standing(range(8), budget.rung_sizes(), scores, set(), is_up=True).ready:
            for stage in ready:
                scores.setdefault(stage.trial, []).append(values[stage.trial])
        assert sum(steps[len(found) - 1] for found in scores.values()) == 4 * 3 + 2 * 6 + 2 * 12


def test_a_search_is_read(tmp_path: Path) -> None:
    path = tmp_path / "search.yaml"
    path.write_text(SEARCH)
    found = read_search(path)
    (family,) = found.families
    assert family.arguments == ("fit", "-c", "data/demo.yaml", "-c", "model/gpt2_tiny.yaml")
    assert family.ranges == {"model.optimizer.lr": Range(low=1e-4, high=1e-2, log=True)}
    assert (found.score, found.seeds, found.budget) == ("completion", SEEDS, Budget(4, 2, 2, 160))


def test_the_shipped_search_gives_both_families_the_same() -> None:
    found = read_search(Path(find_config("tune/structured.yaml")))
    ranges = {family.name: dict(family.ranges) for family in found.families}
    ranges["diffusion"].pop("model.method.masked_share")
    assert ranges["autoregressive"] == ranges["diffusion"]
    assert found.budget.trials > found.budget.at_once  # else Optuna suggests nothing
    check_seeds(found)


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        ("low: 1.0e-4, high: 1.0e-2", "low: 1.0e-2, high: 1.0e-4", "expected low below high for model.optimizer.lr of"),
        ("low: 1.0e-4", "low: 0", "expected low above 0 for model.optimizer.lr"),
        ("{low: 1.0e-4, high: 1.0e-2, log: true}", "[0.1]", "expected two different values or more"),
        ("{low: 1.0e-4, high: 1.0e-2, log: true}", "a lot", "got 'a lot'"),
        ("trials: 4", "trials: 3", "to be a multiple of at_once, got 3 and 2"),
        ("rungs: 2", "rungs: 3", "expected at most 2 rungs for 2 trials at once"),
        ("puzzles: 160", "puzzles: none", "a whole number above 0 for budget.puzzles"),
        ("budget:", "budgets:", "expected base, score, budget, seeds, families in"),
        ("base: -c data", "score: colour\nbase: -c data", "to be a score, got 'colour'"),
        ("base: -c data", "seeds: {data: -1}\nbase: -c data", "expected a whole number for seeds.data"),
        ("    ranges:", "    range:", "expected base, ranges in autoregressive of"),
    ],
)  # fmt: skip
def test_what_is_refused_in_one_line(before: str, after: str, said: str, tmp_path: Path) -> None:
    path = tmp_path / "search.yaml"
    path.write_text(SEARCH.replace(before, after))
    with pytest.raises(InputError) as refused:
        read_search(path)
    assert said in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_budget_without_a_step_is_refused() -> None:
    with pytest.raises(InputError, match="expected budget.puzzles of 128 or more"):
        Budget(2, 2, 2, 127).steps(64)


def test_puzzles_of_a_study_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "search.yaml"
    path.write_text("seeds: {data: 0}\n" + SEARCH)
    with pytest.raises(InputError, match="expected a seeds.data that no shipped study has, got 0, which "):
        check_seeds(read_search(path))
