"""The advice on made-up tables of runs whose right answer is known."""

import math
import re
from dataclasses import replace
from typing import Any

import pytest
from tables import CROSSING, STEADY, repeats, result, run, table, validated

from genraven.errors import InputError
from genraven.metrics.intervals import Interval
from genraven.report.question import Prices, Question
from genraven.report.recommend import Advice, recommend
from genraven.report.runs import Proportion, Run
from genraven.report.trust import Trust


def text_of(advice: Advice) -> str:
    findings = (*advice.sure, *advice.switching, *advice.cost, *advice.next_steps, *advice.findings)
    return " ".join([advice.headline, *(finding.text for finding in findings)])


def test_crossing_curves_few_examples() -> None:
    advice = recommend(CROSSING, Question("completion", 400))
    assert (advice.verdict, advice.family) == ("train", "autoregressive")
    assert advice.headline == (
        "Train the autoregressive family (GPT-2, 10 M parameters) for completion with 400 examples per rule, "
        "within 1 device-hour of training."
    )
    assert {"GPT-2-10000000-400-s0", "SiT-10000000-400-s2"} <= set(advice.sure[0].runs)
    assert "autoregressive 0.40 against diffusion 0.05: a difference of 0.350" in text_of(advice)


def test_crossing_curves_many_examples() -> None:
    advice = recommend(CROSSING, Question("generation", 40000))
    assert (advice.verdict, advice.family, advice.data_target) == ("train", "diffusion", 40000)
    assert "more than 40,000 examples per rule" in text_of(advice)


def test_a_crossing_is_an_interval() -> None:
    (duel,) = recommend(CROSSING, Question("completion", 400)).duels
    assert (duel.name(duel.crossing.before), duel.name(duel.crossing.after)) == ("autoregressive", "diffusion")
    assert (duel.crossing.low, duel.crossing.high) == (4000, 40000)


def test_growth_leads_over_the_crossing() -> None:
    advice = recommend(CROSSING, Question("completion", 4000, growth=10))
    assert (advice.verdict, advice.family, advice.later) == ("train, then switch", "autoregressive", "diffusion")
    assert "change to the diffusion family between 4,000 and 40,000 examples per rule" in advice.headline
    assert "in about 12 months" in text_of(advice)  # at 40 000, where the lead has surely changed


def test_growth_that_does_not_reach_the_crossing_changes_nothing() -> None:
    advice = recommend(CROSSING, Question("completion", 400, growth=10))
    assert (advice.verdict, advice.family, advice.later) == ("train", "autoregressive", "autoregressive")
    assert "stay with it" in advice.headline


def test_between_two_measured_sizes_both_must_agree() -> None:
    assert recommend(CROSSING, Question("completion", 1265)).family == "autoregressive"
    advice = recommend(CROSSING, Question("completion", 12650))  # led by one on the left, by the other on the right
    assert (advice.verdict, advice.family) == ("not enough evidence", None)
    assert "No verdict: one family is surely ahead with fewer examples, and another with more." in advice.sure[0].text
    assert [step.text for step in advice.next_steps if step.text.startswith("Measure")] == [
        "Measure between 4,000 and 40,000 examples, where the lead changes."
    ]


def test_the_means_beside_a_difference_are_of_the_runs_that_it_is_of() -> None:
    """Here of the three repeats that learned from the same puzzles, not of two more of one family."""
    runs = [run("autoregressive", 400, value, seed=seed) for seed, value in enumerate((0.6, 0.61, 0.59, 0.7, 0.71))]
    runs += [run("diffusion", 400, value, seed=seed) for seed, value in enumerate((0.63, 0.64, 0.62))]
    advice = recommend(runs, Question("completion", 400))
    assert advice.family == "diffusion"
    assert "diffusion 0.63 against autoregressive 0.60: a difference of 0.030" in advice.sure[0].text


def test_between_two_measured_sizes_the_nearer_one_gives_the_model_and_the_cost() -> None:
    """By how many times more or fewer it has."""
    of_few = table({400: 0.4}, {400: 0.1}, device_hours=1.0)
    of_many = table({4000: 0.5}, {4000: 0.1}, parameters=20_000_000, device_hours=7.0)
    for examples, model, cost in ((1200, "10 M", "1 device-hour"), (1300, "20 M", "7 device-hours")):
        advice = recommend([*of_few, *of_many], Question("completion", examples))
        assert advice.headline.startswith(f"Train the autoregressive family (GPT-2, {model} parameters)")
        assert advice.headline.endswith(f"within {cost} of training.")
        assert advice.cost[0].text.startswith(f"Training took {cost} ")


def test_switching_is_foreseen_where_forecasts_have_proved_themselves() -> None:
    """Log odds of 1 + 0.2 x and -1 + 0.5 x, over x = log(examples / 100): they meet at e^(2/0.3) times 100."""
    sizes = (100, 400, 1600, 6400, 25600)
    curves = ({n: 1 / (1 + math.exp(-a - b * math.log(n / 100))) for n in sizes} for a, b in ((1, 0.2), (-1, 0.5)))
    advice = recommend(table(*curves), Question("completion", 25600, growth=10))
    (crossing, foreseen) = advice.switching
    assert crossing.text.startswith("No crossing")
    found = re.search(r"overtakes the autoregressive family at about ([\d,]+) examples per rule, 80%", foreseen.text)
    assert found
    assert int(found[1].replace(",", "")) == pytest.approx(100 * math.exp(2 / 0.3), rel=0.2)
    assert "Forecast, not measured: with 256,000 examples per rule the diffusion family has 0.9" in text_of(advice)


@pytest.mark.parametrize("num", [1, 2])
def test_a_verdict_takes_three_repeats_of_each(num: int) -> None:
    many, few = repeats("autoregressive", 400, 0.9), repeats("diffusion", 400, 0.1)[:num]
    advice = recommend([*many, *few], Question("completion", 400))
    assert (advice.verdict, advice.family) == ("not enough evidence", None)
    assert (
        "a verdict needs at least 3 repeats of each family. So far the autoregressive family seems to be ahead"
        in text_of(advice)
    )
    assert f"Train {3 - num} more repeat{'s' * (3 - num > 1)} of SiT, 10 M parameters on 400 examples" in (
        advice.next_steps[0].text
    )


def test_a_lucky_run_does_not_win() -> None:
    lucky = [run("diffusion", 400, value, seed=seed) for seed, value in enumerate((0.95, 0.3, 0.3))]
    advice = recommend([*lucky, *repeats("autoregressive", 400, 0.4)], Question("completion", 400))
    assert advice.verdict == "not enough evidence"
    assert "the difference may be chance" in text_of(advice)


def test_more_runs_are_no_advantage() -> None:
    """Nine runs of one family, of which the best is above all of the other's."""
    many = [run("diffusion", 400, 0.3 + 0.03 * seed, seed=seed) for seed in range(9)]
    advice = recommend([*many, *repeats("autoregressive", 400, 0.5)], Question("completion", 400))
    assert advice.family == "autoregressive" or advice.verdict == "not enough evidence"


def test_the_model_is_chosen_on_validation_puzzles() -> None:
    """Of two sizes the test scores prefer one, the validation scores the other."""
    small = validated(repeats("diffusion", 400, 0.5, 1_000_000), 0.6)
    large = validated(repeats("diffusion", 400, 0.9, 90_000_000), 0.2)
    advice = recommend([*small, *large, *repeats("autoregressive", 400, 0.3)], Question("completion", 400))
    assert advice.choice is not None
    assert advice.choice.label == "SiT, 1 M parameters"
    assert "chosen among 2 as the best on validation puzzles" in text_of(advice)


def test_without_validation_scores_the_most_trained_is_chosen_and_said_so() -> None:
    small, large = (
        repeats("diffusion", 400, 0.9, 1_000_000, flops=1e14),
        repeats("diffusion", 400, 0.5, 9_000_000, flops=1e16),
    )
    advice = recommend([*small, *large, *repeats("autoregressive", 400, 0.3)], Question("completion", 400))
    assert advice.choice is not None
    assert advice.choice.label == "SiT, 9 M parameters"
    assert "as the one that was trained the most, because not all have validation scores" in text_of(advice)
    assert "genraven evaluate --split val" in text_of(advice)


def test_any_number_of_architectures_and_families() -> None:
    runs = [
        *validated(repeats("diffusion", 400, 0.6, architecture="Masked"), 0.7),
        *validated(repeats("diffusion", 400, 0.2, architecture="SiT one-hot"), 0.1),
        *repeats("autoregressive", 400, 0.4),
        *repeats("copying", 400, 0.1, architecture="Copier"),
    ]
    advice = recommend(runs, Question("completion", 400))
    assert advice.family == "diffusion"
    assert advice.choice is not None
    assert advice.choice.label.startswith("Masked")
    assert len(advice.duels) == 3


def test_a_model_that_memorises_does_not_win_generation() -> None:
    runs = [*table({400: 0.3}, {}), *repeats("diffusion", 400, 0.9, scores={"novel_c3": 0.01})]
    assert recommend(runs, Question("generation", 400)).family == "autoregressive"
    assert recommend(runs, Question("completion", 400)).family == "diffusion"


def test_a_model_that_writes_one_puzzle_again_and_again_does_not_win_generation() -> None:
    """Where different puzzles were counted of all; else it is said that they were not."""
    copier = repeats("diffusion", 400, 0.9, scores={"different_novel_c3": 0.001})
    counted = repeats("autoregressive", 400, 0.3, scores={"different_novel_c3": 0.3})
    advice = recommend([*copier, *counted], Question("generation", 400))
    assert advice.family == "autoregressive"
    assert "Different novel C3: autoregressive 0.30 against diffusion 0.00" in text_of(advice)
    assert "a new, consistent and different puzzle" in text_of(recommend(copier, Question("generation", 400)))
    advice = recommend([*copier, *repeats("autoregressive", 400, 0.3)], Question("generation", 400))
    assert advice.family == "diffusion"
    assert "counts a puzzle that is written again as new" in text_of(advice)
    assert "written again" not in text_of(recommend([*copier, *counted], Question("completion", 400)))


def test_different_puzzles_of_other_numbers_are_not_compared() -> None:
    """Of more puzzles, fewer are different: the same model would seem to be two."""

    def wrote(count: int, different: float) -> Any:
        found = result(0.9)
        score = Proportion(round(different * count), count)
        return (replace(found, scores={**found.scores, "different_novel_c3": score}),)

    runs = [*repeats("autoregressive", 400, 0.9, results=wrote(4000, 0.43)),
            *repeats("diffusion", 400, 0.9, results=wrote(400, 0.91))]  # fmt: skip
    advice = recommend(runs, Question("generation", 400))
    assert advice.family is None
    assert "of as many puzzles. Novel C3 counts a puzzle that is written again as new." in text_of(advice)


def test_a_tie_is_not_enough_evidence() -> None:
    runs = [run("diffusion", 400, value, seed=seed) for seed, value in enumerate((0.40, 0.44, 0.42))]
    advice = recommend([*table({400: 0.40}, {}), *runs], Question("completion", 400))
    assert (advice.verdict, advice.family, advice.choice) == ("not enough evidence", None, None)
    assert "you need about 6 repeats of each" in text_of(advice)


def test_repeats_do_not_separate_what_the_puzzles_cannot() -> None:
    """All runs share their thousand puzzles: what these leave open, no number of repeats tells."""
    shared = (0.500, 0.504, 0.496), (0.512, 0.516, 0.508)
    runs = [run(family, 400, value, seed=seed, results=(result(value, puzzles="one file"),))
            for family, values in zip(("autoregressive", "diffusion"), shared, strict=True)
            for seed, value in enumerate(values)]  # fmt: skip
    told = text_of(recommend(runs, Question("completion", 400)))
    assert "you need more than 30 repeats of each, or more evaluation puzzles" in told


@pytest.mark.parametrize("value", [0.0, 0.5, 1.0])
def test_of_two_that_are_level_none_is_ahead(value: float) -> None:
    runs = [one for one in table({400: value}, {400: value}) if one.seeds.data != 2]
    told = text_of(recommend(runs, Question("completion", 400)))
    assert "a verdict needs at least 3 repeats" in told
    assert "seems to be ahead" not in told


def test_one_run_is_surely_better_than_nothing() -> None:
    """Neither with more examples nor with more parameters."""
    few = [run("autoregressive", 400, value, seed=seed) for seed, value in enumerate((0.5, 0.6, 0.7))]
    runs = [*few, run("autoregressive", 4000, 0.9), *repeats("diffusion", 400, 0.1)]
    told = text_of(recommend(runs, Question("completion", 400)))
    assert "Enough examples: unknown, because fewer than two numbers of examples have 3 repeats of this" in told
    small = run("autoregressive", 400, 0.4, parameters=1_000_000)
    told = text_of(recommend([*few, small, *repeats("diffusion", 400, 0.1)], Question("completion", 400)))
    assert "Size: the smaller GPT-2, 1 M parameters is not surely worse" in told


def test_enough_examples_are_those_that_no_larger_number_surely_beats() -> None:
    curve = {400: 0.5, 4000: 0.8, 40000: 0.5}
    told = text_of(recommend(table(curve, dict.fromkeys(curve, 0.1)), Question("completion", 400)))
    assert "Enough examples: about 4,000 examples per rule. With more, up to 40,000," in told


def test_one_run_against_several_says_nothing_of_how_runs_differ() -> None:
    runs = [run("autoregressive", 400, value, seed=seed) for seed, value in enumerate((0.2, 0.5, 0.8))]
    told = text_of(recommend([*runs, run("diffusion", 400, 0.6)], Question("completion", 400)))
    assert "(95% over the puzzles only, because a family has one run; 1 to 3 repeats each)" in told


def test_the_best_of_three_families_is_shown_with_the_interval_that_decides() -> None:
    third = repeats("copying", 400, 0.1)
    told = text_of(recommend([*table({400: 0.5}, {400: 0.526}), *third], Question("completion", 400)))
    assert "corrected for comparing 3 families" in told
    low = re.search(r"a difference of 0\.026 \[(-?[\d.]+), ", told)
    assert low is not None
    assert ("The difference is beyond chance" in told) == (float(low[1]) > 0)


def test_a_tie_now_and_a_winner_in_a_year() -> None:
    advice = recommend(table({400: 0.40, 4000: 0.5}, {400: 0.401, 4000: 0.9}), Question("completion", 400, growth=10))
    assert (advice.verdict, advice.later) == ("not enough evidence", "diffusion")
    assert "the diffusion family wins with the 4,000 that you will have in a year" in advice.headline


def test_one_family_missing() -> None:
    advice = recommend(table({400: 0.9}, {}), Question("completion", 400))
    assert (advice.verdict, advice.family) == ("not enough evidence", None)
    assert "Also train a model of another family: only the autoregressive family has runs here" in text_of(advice)


def test_a_family_whose_runs_failed() -> None:
    runs = [*table({400: 0.9}, {}), *repeats("diffusion", 400, 0.1, state="failed")]
    advice = recommend(runs, Question("completion", 400))
    assert advice.verdict == "not enough evidence"
    assert "No finished diffusion run counts here: its completion is missing." in text_of(advice)


def test_nothing_finished() -> None:
    runs = [Run("a", state="failed", family="diffusion"), Run("b", state="new")]
    advice = recommend(runs, Question("completion", 400))
    assert advice.verdict == "not enough evidence"
    assert "no finished run that counts here has scores of completion" in advice.headline


def test_runs_stopped_by_a_limit_count_at_the_step_they_reached() -> None:
    runs = [replace(one, state="stopped", step=60) for one in table({400: 0.9}, {400: 0.1})]
    assert recommend(runs, Question("completion", 400)).family == "autoregressive"


@pytest.mark.parametrize("examples", [100, 100_000])
def test_examples_outside_the_measured_range(examples: int) -> None:
    advice = recommend(CROSSING, Question("completion", examples))
    assert advice.verdict == "not enough evidence"
    assert f"was measured only with 400 to 40,000 examples per rule, not with {examples:,}" in text_of(advice)
    assert f"on both sides of {examples:,} per rule" in text_of(advice)


def test_a_year_outside_the_measured_range_leaves_today() -> None:
    advice = recommend(CROSSING, Question("completion", 40000, growth=10))
    assert (advice.verdict, advice.family, advice.later) == ("train", "diffusion", None)
    assert "There is not enough evidence" in advice.headline
    assert "No forecast of the diffusion family for 400,000 examples per rule: a forecast needs 4" in text_of(advice)


def test_a_smaller_model_that_is_not_surely_worse_is_named() -> None:
    sizes = {1_000_000: 0.5, 10_000_000: 0.795, 100_000_000: 0.8}
    runs = [one for n, value in sizes.items() for one in validated(repeats("diffusion", 400, value, n), value)]
    advice = recommend([*runs, *table({400: 0.1}, {})], Question("completion", 400))
    assert advice.choice is not None
    assert advice.choice.point.first.parameters == 100_000_000
    assert "Size: the smaller SiT, 10 M parameters is not surely worse" in text_of(advice)


def test_where_the_smallest_model_is_chosen_none_is_called_worse() -> None:
    sizes = {1_000_000: 0.8, 10_000_000: 0.5}
    runs = [one for n, value in sizes.items() for one in validated(repeats("diffusion", 400, value, n), value)]
    text = text_of(recommend([*runs, *table({400: 0.1}, {})], Question("completion", 400)))
    assert "Size: 2 sizes were measured. No smaller model than SiT, 1 M parameters has this score." in text


def test_the_data_target_is_where_nothing_is_gained() -> None:
    curve = {400: 0.5, 4000: 0.895, 40000: 0.9}
    advice = recommend(table(curve, dict.fromkeys(curve, 0.1)), Question("completion", 400))
    assert advice.data_target == 4000
    assert "Enough examples: about 4,000 examples" in text_of(advice)


def rising(value: float, earlier: float) -> Any:
    return tuple(result(v, step) for v, step in ((earlier, 50), (value, 100)))


def test_a_verdict_between_curves_that_still_rise_names_its_budget() -> None:
    runs = [
        *(run("autoregressive", 400, 0.9, seed=seed, results=rising(0.9 + 0.01 * seed, 0.9)) for seed in range(3)),
        *(run("diffusion", 400, 0.3, seed=seed, results=rising(0.3 + 0.005 * seed, 0.1)) for seed in range(3)),
    ]
    advice = recommend(runs, Question("completion", 400))
    assert advice.family == "autoregressive"
    assert "diffusion still rising at the end" in text_of(advice)
    assert "So the answer holds for about 1 device-hour of training." in text_of(advice)
    assert "Train the diffusion family longer" in text_of(advice)


def test_a_curve_that_may_still_rise_is_trained_longer_next() -> None:
    level = (run("autoregressive", 400, 0.9, seed=seed, results=rising(0.9, 0.9)) for seed in range(3))
    unclear = (run("diffusion", 400, 0.3, seed=seed, results=rising(0.3, 0.3 - 0.1 * seed)) for seed in range(3))
    advice = recommend([*level, *unclear], Question("completion", 400))
    assert [step.text for step in advice.next_steps] == [
        "Train the diffusion family longer, or in more repeats: the curve is not surely level at its end."
    ]


def test_a_budget_leaves_out_what_is_dearer_or_of_unknown_cost() -> None:
    runs = [
        *table({400: 0.3}, {400: 0.1}),
        *validated(repeats("diffusion", 400, 0.9, 90_000_000, device_hours=100.0), 0.9),
        *repeats("diffusion", 400, 0.8, 80_000_000, device_hours=None),
    ]
    advice = recommend(runs, Question("completion", 400, budget=10))
    assert advice.family == "autoregressive"
    assert "1 of 4 points took more than the budget of 10 device-hours" in text_of(advice)
    assert "The cost of 1 point in device-hours is not known" in text_of(advice)


def test_a_family_that_is_wholly_beyond_the_budget_is_said_to_be_so() -> None:
    runs = [*table({400: 0.3}, {}), *repeats("diffusion", 400, 0.9, device_hours=100.0)]
    said = text_of(recommend(runs, Question("completion", 400, budget=10)))
    assert "No diffusion run counts here: all its 3 runs took more than the budget of 10 device-hours." in said
    assert "is missing" not in said
    runs[-1] = replace(runs[-1], device_hours=None)
    said = text_of(recommend(runs, Question("completion", 400, budget=10)))
    assert (
        "No diffusion run counts here: 2 runs took more than the budget of 10 device-hours, and the cost of 1 run is"
        in said
    )


def test_a_family_of_unknown_cost_is_not_said_to_be_beyond_the_budget() -> None:
    runs = [*table({400: 0.3}, {}), *repeats("diffusion", 400, 0.9, device_hours=None)]
    said = text_of(recommend(runs, Question("completion", 400, budget=10)))
    assert "No diffusion run counts here: the cost of 3 runs is not known, so they cannot be held against" in said
    assert "took more" not in said


def test_a_steady_training_counts_at_the_checkpoint_within_the_budget() -> None:
    steady = [
        run("diffusion", 400, 0.9, seed=seed, settings=STEADY, device_hours=100.0, results=rising(0.9, 0.5))
        for seed in range(3)
    ]
    advice = recommend([*steady, *table({400: 0.3}, {})], Question("completion", 400, budget=60))
    assert advice.family == "diffusion"
    assert advice.choice is not None
    assert advice.choice.point.value("completion") == pytest.approx(0.5)
    assert "within 50 device-hours" in advice.headline


def test_a_budget_in_money() -> None:
    runs = table({400: 0.3}, {400: 0.1}, price=2.0)
    dear = validated(repeats("diffusion", 400, 0.9, 90_000_000, price=50.0), 0.9)
    assert recommend([*runs, *dear], Question("completion", 400, budget=10, in_money=True)).family == "autoregressive"


def test_the_total_cost_leaves_review_out_and_says_so() -> None:
    timed = {"complete": 36.0, "generate": 1.0}
    runs = [
        *repeats("autoregressive", 400, 0.9, results=(result(0.9, seconds=timed),)),
        *repeats("diffusion", 400, 0.1),
    ]
    prices = Prices(device_hour=2.0, puzzles_per_year=100_000, review_price=0.5)
    advice = recommend(runs, Question("completion", 400, prices=prices))
    told = " ".join(finding.text for finding in advice.cost)
    assert "Training took 1 device-hour, which cost 2.00" in told
    assert "Writing 100,000 puzzles a year takes 1 device-hour, which costs 2.00." in told  # 0.036 s each
    assert "the fraction to review is not known until `genraven calibrate` has calibrated these runs" in told
    assert "(if all are reviewed: 50,000)" in told
    assert "for the first year without review: 4.00" in told


def told_of_reviews(goal: str, trust: Trust, seconds: dict[str, float], weights: str = "w") -> str:
    runs = [
        *repeats("autoregressive", 400, 0.9, results=(result(0.9, seconds=seconds, weights=weights),), trust=trust),
        *repeats("diffusion", 400, 0.1),
    ]
    prices = Prices(device_hour=2.0, puzzles_per_year=100_000, review_price=0.5)
    return " ".join(finding.text for finding in recommend(runs, Question(goal, 400, prices=prices)).cost)


TRUST = Trust("agreement", Interval.exactly(0.1), 0.2, 0.0, 0.0, {0.05: 0.8}, "w", "d", 0.36)


def test_the_total_cost_with_the_reviews_that_a_calibration_asks_for() -> None:
    """Of 100 000 puzzles a fifth at 0.5, each written with all its candidates; to generate them nothing is reviewed."""
    timed = {"complete": 36.0, "generate": 36.0}  # of 1 000 puzzles written once
    told = told_of_reviews("completion", TRUST, timed)
    assert "Writing 100,000 puzzles a year takes 10 device-hours, which costs 20.00." in told
    assert (
        "It accepts 80% of puzzles like those of its calibration, with at most 5% of them wrong, and leaves 20%" in told
    )
    assert "to review, which costs 10,000 at 0.5 each." in told
    assert "In all, for the first year: 10,022.00." in told
    told = told_of_reviews("generation", TRUST, timed)
    assert "accepts" not in told
    assert "Writing 100,000 puzzles a year takes 1 device-hour" in told


def test_a_share_to_review_never_stands_beside_the_time_of_one_bare_completion() -> None:
    told = told_of_reviews("completion", replace(TRUST, seconds=None), {"complete": 36.0})
    assert "as calibrated" in told
    assert "not known until `genraven evaluate --trust` has timed it" in told
    assert "In all, for the first year without writing: 10,002.00." in told


def test_a_calibration_of_other_weights_counts_for_nothing() -> None:
    told = told_of_reviews("completion", TRUST, {"complete": 36.0}, weights="other")
    assert "Writing 100,000 puzzles a year takes 1 device-hour" in told
    assert "the fraction to review is not known" in told


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"goal": "fame"}, "goal= to be completion or held-out-completion or generation, got 'fame'"),
        ({"examples": 0}, "examples= above 0, got 0"),
        ({"growth": -1.0}, "growth= above 0"),
        ({"budget": float("nan")}, "budget= above 0"),
    ],
)
def test_questions_that_make_no_sense(settings: dict[str, Any], says: str) -> None:
    with pytest.raises(InputError, match=says):
        Question(**{"goal": "completion", "examples": 400, **settings})
