"""Repeats that choose a recipe and then decide: false verdicts on simulated families that are equal."""

import math

import numpy as np
import pytest
from scipy.special import expit
from tables import repeats, table, validated

from genraven.metrics.intervals import CONFIDENCE
from genraven.report.contest import by_examples, lead, winner
from genraven.report.points import variants
from genraven.report.question import Question
from genraven.report.recommend import recommend
from genraven.report.runs import Run
from genraven.report.statistics import Repeats, difference

NUM_SWEEPS, NUM_PUZZLES = 2000, 300
PUZZLE_SD, PAIR_SD = 1.0, 0.3  # in log odds, as is a training's luck
CHECKPOINTS, ALIKE = 2, 0.8  # of a training, the last and the best; how far they share its luck
BY_CHANCE = 2 * math.sqrt(0.05 * 0.95 / NUM_SWEEPS)  # above a true 5%, in the simulation itself


class EqualFamilies:
    """One of several recipes, of which the luckiest is chosen on puzzles without end; one of a single recipe.

    All recipes are equally good. All are trained on shared examples and asked the same puzzles.
    """

    def __init__(self, num_recipes: int, num_runs: int, run_sd: float, other_sd: float) -> None:
        self.random, self.num_recipes, shape = np.random.default_rng(1), num_recipes, (NUM_SWEEPS, num_recipes)
        self.puzzles = PUZZLE_SD * self.random.normal(size=(NUM_SWEEPS, 1, NUM_PUZZLES))
        self.pairs = PAIR_SD * self.random.normal(size=(NUM_SWEEPS, num_runs, 1))
        of_training, of_checkpoint = (self.random.normal(size=(*shape, k, num_runs)) for k in (1, CHECKPOINTS))
        luck = run_sd * (math.sqrt(ALIKE) * of_training + math.sqrt(1 - ALIKE) * of_checkpoint)
        luck = luck.reshape(NUM_SWEEPS, -1, num_runs)
        best = expit(luck).mean(-1).argmax(1)
        self.chosen = self._repeats(luck[np.arange(NUM_SWEEPS), best][..., None])
        self.other = self._repeats(other_sd * self.random.normal(size=(NUM_SWEEPS, num_runs, 1)))

    def _repeats(self, luck: np.ndarray) -> Repeats:
        odds = expit(luck + self.pairs + self.puzzles).astype(np.float32)
        return Repeats.of(self.random.random(odds.shape, np.float32) < odds)

    def false_verdicts(self, recipes: int, confidence: float = CONFIDENCE) -> float:
        """Fraction of the sweeps in which either family is surely ahead."""
        gap = difference(self.chosen, self.other, are_paired=True, confidence=confidence, recipes=(recipes, 1))
        return float((gap.sign != 0).mean())


@pytest.mark.parametrize(
    ("num_runs", "run_sd", "other_sd"), [(3, 0.3, 0.3), (3, 0.8, 0.8), (3, 0.8, 0.0), (6, 0.3, 0.0)]
)
@pytest.mark.parametrize("num_recipes", [1, 5, 20])
def test_false_verdicts_are_as_rare_as_promised(
    num_recipes: int, num_runs: int, run_sd: float, other_sd: float
) -> None:
    families = EqualFamilies(num_recipes, num_runs, run_sd, other_sd)
    corrected, plain = (families.false_verdicts(num) for num in (num_recipes, 1))
    print(
        f"{num_recipes} recipes, {num_runs} repeats, spread {run_sd} against {other_sd}: {corrected:.3f}, {plain:.3f}"
    )
    assert corrected <= 0.05 + BY_CHANCE
    if num_recipes == 20:
        assert plain > 0.1, "the correction is for something"


def test_a_real_difference_is_still_found() -> None:
    """Of five recipes, by six repeats, in log odds of 2 against 0."""
    families = EqualFamilies(5, 6, 0.3, 0.3)
    better = families._repeats(np.full((NUM_SWEEPS, 6, 1), 2.0))
    gap = difference(better, families.other, are_paired=True, recipes=(5, 1))
    assert (gap.sign > 0).mean() > 0.95


def recipes(num: int) -> list[Run]:
    """Of the diffusion family, the first the best on validation and test puzzles."""
    values = [0.6 - 0.02 * place for place in range(num)]
    return [
        one
        for place, value in enumerate(values)
        for one in validated(repeats("diffusion", 400, value, settings={"width": f"{place}"}), value)
    ]


def test_verdicts_are_corrected_for_the_recipes_chosen_of() -> None:
    against = table({400: 0.57}, {})
    found = {num: by_examples(variants([*recipes(num), *against]), "completion")[400] for num in (1, 5)}
    assert [field["diffusion"].num_recipes for field in found.values()] == [1, 5]
    names = ["autoregressive", "diffusion"]
    one, five = (lead(field["diffusion"], field["autoregressive"], "completion") for field in found.values())
    assert five.low < one.low and five.high == one.high
    assert five.value == one.value
    assert winner(found[1], names, "completion") == "diffusion"
    assert winner(found[5], names, "completion") is None
    advice = recommend([*recipes(5), *against], Question("completion", 400))
    assert advice.verdict == "not enough evidence"
    assert "corrected for choosing among 1 autoregressive and 5 diffusion recipes" in advice.sure[0].text
    assert "of only these two recipes, with new seeds" in advice.next_steps[0].text


def test_the_most_trained_is_not_chosen_by_a_score() -> None:
    unscored = [one for place in range(5) for one in repeats("diffusion", 400, 0.5, settings={"width": f"{place}"})]
    choice = by_examples(variants(unscored), "completion")[400]["diffusion"]
    assert (choice.num_others, choice.num_recipes) == (4, 1)
