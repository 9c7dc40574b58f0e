"""Which runs are repeats of each other, who stands for a family, and where families cross."""

from dataclasses import replace

import numpy as np
import pytest
from tables import STEADY, repeats, result, run, table, validated

from genraven.report.budgets import along_training
from genraven.report.contest import Candidate, by_budget, by_examples, choose, duels, winner
from genraven.report.page import Picture
from genraven.report.points import Point, best_checkpoints, compare, differences, distinct, variants
from genraven.report.progress import best_and_last, end_of, reach
from genraven.report.quality import by_rule, transfer
from genraven.report.runs import INIT, Proportion, Result, Seeds
from genraven.report.sentences import crossing_sentence


def test_runs_that_differ_in_seeds_alone_are_one_point() -> None:
    (variant,) = variants(repeats("diffusion", 400, 0.5))
    interval = variant.points[400].interval("completion")
    assert interval is not None
    assert interval.value == pytest.approx(0.5)
    assert len(variant.points[400].runs) == 3


@pytest.mark.parametrize(
    "changed",
    [
        {"settings": {"model.init_args.dropout": "0.1"}},
        {"parameters": 5},
        {"architecture": "DiT"},
        {"results": (result(0.5, decoding={"temperature": 0.7}),)},
        {"results": (result(0.5, split="val"),)},
    ],
)
def test_other_recipes_and_decodings_are_never_averaged(changed: dict[str, object]) -> None:
    first, *_ = repeats("diffusion", 400, 0.5)
    other = replace(first, name="other", seeds=Seeds(9, 9, 9), **changed)  # type: ignore[arg-type]
    found = variants([first, other])
    assert [len(variant.runs) for variant in found] == [1, 1]


def test_of_numerics_a_label_says_what_differs() -> None:
    one, other = (
        repeats("diffusion", 400, 0.5, settings={"trainer.precision": precision},
                results=(result(0.5, decoding={"numerics": {"precision": precision, "tf32": False}}),))
        for precision in ("32-true", "bf16-mixed")
    )  # fmt: skip
    assert [variant.label for variant in variants([*one, *other])] == [
        "SiT, 10 M parameters, precision 32-true",
        "SiT, 10 M parameters, precision bf16-mixed",
    ]


def test_a_word_that_says_two_things_is_said_with_the_one_before_it() -> None:
    runs = [
        run for trained, scored in (("bf16", "bf16"), ("bf16", "32"), ("32", "32"))
        for run in repeats("diffusion", 400, 0.5, settings={"trainer.precision": trained},
                           results=(result(0.5, decoding={"numerics": {"precision": scored}}),))
    ]  # fmt: skip
    assert [variant.label for variant in variants(runs)] == [
        "SiT, 10 M parameters, precision 32",
        "SiT, 10 M parameters, numerics.precision 32, trainer.precision bf16",
        "SiT, 10 M parameters, precision bf16",
    ]


def test_a_run_without_a_decoding_is_labelled_by_none() -> None:
    one, other = (repeats("diffusion", 400, 0.5, results=(result(0.5, decoding=decoding),))
                  for decoding in ({}, {"temperature": 0.7}))  # fmt: skip
    assert not any("{}" in variant.label for variant in variants([*one, *other]))


@pytest.mark.parametrize(
    ("rates", "said"),
    [
        (("0.007469903041107008", "0.002"), ("0.00747", "0.002")),
        (("0.007469903041107008", "0.007469903041107009"), ("0.007469903041107008", "0.007469903041107009")),
    ],
)
def test_a_rate_that_was_drawn_is_rounded_where_it_still_tells_variants_apart(
    rates: tuple[str, ...], said: tuple[str, ...]
) -> None:
    groups = [repeats("diffusion", 400, 0.5, settings={"model.optimizer.lr": rate}) for rate in rates]
    found = variants([run for group in groups for run in group])
    assert {variant.label for variant in found} == {f"SiT, 10 M parameters, lr {rate}" for rate in said}


def test_what_sets_variants_apart_is_said() -> None:
    plain = repeats("diffusion", 400, 0.5, settings={"model.init_args.dropout": "0.0", "trainer.max_steps": "100"})
    dropped = repeats("diffusion", 400, 0.5, settings={"model.init_args.dropout": "0.1", "trainer.max_steps": "100"})
    assert [variant.label for variant in variants([*plain, *dropped])] == [
        "SiT, 10 M parameters, dropout 0.0",
        "SiT, 10 M parameters, dropout 0.1",
    ]
    assert differences([plain, dropped]) == [{"dropout": "0.0"}, {"dropout": "0.1"}]


def test_networks_that_differ_in_kind_and_size_are_told_by_both() -> None:
    network = "model.init_args.network.init_args."
    runs = [
        run
        for head, width, parameters in (("joint", "48", 9_000), ("separate", "48", 8_000), ("separate", "96", 30_000))
        for run in repeats("autoregressive", 400, 0.5, parameters, settings={f"{network}head": head,
                           f"{network}width": width, "model.init_args.schedule": f"of{width}"})
    ]  # fmt: skip
    assert [variant.label for variant in variants(runs)] == [
        "GPT-2, 8 k parameters, head separate",
        "GPT-2, 9 k parameters, head joint",
        "GPT-2, 30 k parameters, head separate",
    ]


def test_networks_of_nearly_one_size_are_told_apart() -> None:
    """By what was set, where their sizes are the same in words."""
    block, set_to = "model.init_args.method.init_args.input_masking", ("0.1", "none")
    runs = [run for parameters, value in zip((10_000_001, 10_000_000), set_to, strict=True)
            for run in repeats("autoregressive", 100, 0.5, parameters, settings={block: value})]  # fmt: skip
    assert {variant.label for variant in variants(runs)} == {
        "GPT-2, 10 M parameters", "GPT-2, 10 M parameters, input_masking 0.1"
    }  # fmt: skip


def test_an_order_is_named_as_it_was_decoded_and_what_was_left_open_is_not() -> None:
    """Whether a config says it or it is the method's own."""
    sampling = "model.init_args.method.init_args.sampling."
    set_by_config = {f"{sampling}order": "left_to_right", f"{sampling}temperature": "1.0"}
    runs = [run for settings, order in ((set_by_config, "left_to_right"), ({}, "random"))
            for run in repeats("autoregressive", 100, 0.5, settings=settings, results=(result(
                0.5, decoding={"order": order, "completion_order": None, "temperature": 1.0}),))]  # fmt: skip
    assert {variant.label for variant in variants(runs)} == {
        "GPT-2, 10 M parameters, order left_to_right", "GPT-2, 10 M parameters, order random"
    }  # fmt: skip


def test_what_nobody_set_and_a_class_that_is_set_are_no_part_of_a_label() -> None:
    block = "model.init_args.method"
    plain = repeats("autoregressive", 100, 0.5, settings={block: "none"})
    masks = {f"{block}.class_path": "genraven.methods.autoregressive.Autoregressive",
             f"{block}.init_args.masked_share": "0.25", f"{block}.init_args.sampling": "none"}  # fmt: skip
    runs = [*plain, *repeats("autoregressive", 100, 0.6, settings=masks)]
    assert {variant.label for variant in variants(runs)} == {
        "GPT-2, 10 M parameters", "GPT-2, 10 M parameters, masked_share 0.25"
    }  # fmt: skip
    only_class = repeats("autoregressive", 100, 0.6, settings={f"{block}.class_path": "mine.Other"})
    assert {variant.label for variant in variants([*plain, *only_class])} == {
        "GPT-2, 10 M parameters", "GPT-2, 10 M parameters, class_path mine.Other"
    }  # fmt: skip


def test_lines_of_one_architecture_have_numbers() -> None:
    dropout = {"model.init_args.network.init_args.dropout": "0.1"}
    runs = [
        *repeats("diffusion", 400, 0.5),
        *repeats("autoregressive", 400, 0.5),
        *repeats("autoregressive", 400, 0.6, settings=dropout),
        *repeats("autoregressive", 800, 0.6, 20_000_000),
    ]  # no line on 400 examples
    (picture,) = along_training(variants(runs), 400, "completion", "")
    assert isinstance(picture, Picture)
    assert [row[:2] for row in picture.table.rows] == [
        ["GPT-2 1", "GPT-2, 10 M parameters, dropout 0.1"], ["GPT-2 2", "GPT-2, 10 M parameters"],
        ["SiT", "SiT, 10 M parameters"]
    ]  # fmt: skip
    assert all(name in picture.panels[0].svg for name in ("GPT-2 1", "GPT-2 2", "SiT"))


def test_a_copy_of_a_training_is_no_repeat() -> None:
    first, second, _ = repeats("diffusion", 400, 0.5)
    copy = replace(first, name="copy")
    assert distinct([first, copy, second]) == [first, second]
    unknown = replace(first, seeds=Seeds())
    assert len(distinct([unknown, replace(unknown, name="other")])) == 2


def with_outcomes(seeds: range, right: float, puzzles: str) -> Point:
    """Runs that got the first share of 400 puzzles right, and each a few others."""
    runs, results = [], []
    for seed in seeds:
        flags = np.arange(400) < right * 400
        flags[-1 - seed :] = True
        results.append(Result(1, {"completion": Proportion(int(flags.sum()), 400, flags)}, puzzles=puzzles))
        runs.append(run("diffusion", 400, right, seed=seed, results=(results[-1],)))
    return Point(tuple(runs), tuple(results))


def test_shared_puzzles_widen_a_mean_and_narrow_a_difference() -> None:
    shared, apart = (with_outcomes(range(3), 0.5, name).interval("completion") for name in ("test 7", "own"))
    assert shared is not None
    assert apart is not None
    assert shared.high - shared.low > 0.09  # of 400 puzzles, not of 1 200
    a, b = with_outcomes(range(3), 0.6, "test 7"), with_outcomes(range(3), 0.5, "test 7")
    gap, unpaired = compare(a, b, "completion"), compare(a, with_outcomes(range(3, 6), 0.5, "test 7"), "completion")
    assert gap is not None
    assert unpaired is not None
    assert gap.high - gap.low < unpaired.high - unpaired.low


def test_puzzles_are_shared_also_where_a_run_was_scored_on_more_of_them() -> None:
    point = with_outcomes(range(3), 0.5, "test 7")
    more = replace(point.results[0], puzzles_per_rule=2 * point.results[0].puzzles_per_rule + 1)
    other = replace(point.results[0], puzzles="test 8")
    for result_of_one, is_shared in ((more, True), (other, False)):
        found = Point(point.runs, (result_of_one, *point.results[1:])).repeats("completion")
        assert found is not None
        assert found.are_shared == is_shared


def test_trained_weights_are_set_beside_the_same_recipe_from_nothing() -> None:
    rate = "model.init_args.optimizer.init_args.lr"
    runs = [
        *repeats("diffusion", 400, 0.3, settings={rate: "0.0001"}),
        *repeats("diffusion", 400, 0.7, settings={rate: "0.001"}),
        *repeats("diffusion", 400, 0.6, settings={rate: "0.001", INIT: "trained weights"}),
    ]
    (table_of_all,) = transfer(variants(runs))
    (row,) = table_of_all.rows  # type: ignore[union-attr]
    assert row[2].startswith("0.600") and row[3].startswith("0.700") and row[4].startswith("-0.100")


def test_the_choice_is_never_by_the_test_score() -> None:
    points = {
        label: variants(validated(repeats("diffusion", 400, value, size), val))[0].points[400]
        for label, value, size, val in (("a", 0.9, 1, 0.1), ("b", 0.2, 2, 0.6), ("c", 0.8, 3, 0.3))
    }
    chosen = choose([Candidate(label, point, point) for label, point in points.items()], "completion")
    assert chosen is not None
    assert (chosen.label, chosen.num_others, chosen.by_validation) == ("b", 2, True)


def test_the_checkpoint_is_chosen_on_validation_puzzles_too() -> None:
    both = (result(0.5), result(0.9, 40, checkpoint="best.ckpt"))
    for value, says in ((0.7, "SiT, 10 M parameters, best checkpoint"), (0.1, "SiT, 10 M parameters")):
        scored = (*both, result(0.3, split="val"), result(value, 40, split="val"))
        runs = [run("diffusion", 400, 0.5, seed=seed, results=scored) for seed in range(3)]
        assert by_examples(variants(runs), "completion")[400]["diffusion"].label == says
    runs = [run("diffusion", 400, 0.5, seed=seed, results=both) for seed in range(3)]  # without: the most trained
    assert by_examples(variants(runs), "completion")[400]["diffusion"].label == "SiT, 10 M parameters"


def test_a_winner_needs_all_families() -> None:
    fields = by_examples(variants(table({400: 0.9}, {400: 0.1})), "completion")
    assert winner(fields[400], ["autoregressive", "diffusion"], "completion") == "autoregressive"
    assert winner(fields[400], ["autoregressive", "diffusion", "third"], "completion") is None
    assert winner(fields[400], ["autoregressive"], "completion") is None


def steady(family: str, values: dict[int, float], flops: float = 1e15) -> list[object]:
    return [
        run(family, 400, values[100], seed=seed, flops=flops, settings=STEADY,
            results=tuple(result(v + 0.002 * seed, step) for step, v in values.items()))
        for seed in range(3)
    ]  # fmt: skip


def test_a_steady_training_gives_the_whole_curve_in_flops() -> None:
    runs = [
        *steady("autoregressive", {10: 0.3, 50: 0.4, 100: 0.45}),
        *steady("diffusion", {10: 0.1, 50: 0.3, 100: 0.8}),
    ]
    found = variants(runs)  # type: ignore[arg-type]
    (duel,) = duels(by_budget(found, 400, "flops", "completion"), "completion")
    assert duel.crossing.is_sure
    assert duel.crossing.low is not None
    assert duel.crossing.high == pytest.approx(1e15)
    assert 1e14 <= duel.crossing.low < 1e15
    assert "The diffusion family overtakes the autoregressive family between" in crossing_sentence(duel, "flops")


@pytest.mark.parametrize(
    ("autoregressive", "diffusion", "flops", "levels", "ends"),
    [
        ({50: 0.5, 100: 0.5}, {50: 0.1, 100: 0.9}, 120, [60, 120], (60, 120)),
        # between its 60 and its 90 nobody knows what the autoregressive family does with the 80 of the other
        ({25: 0.5, 50: 0.5, 75: 0.5, 100: 0.5}, {25: 0.1, 50: 0.7, 100: 0.9}, 160, [40, 60, 80, 90, 120], (40, 90)),
        # of more than five, those most evenly apart, with both ends
        (dict.fromkeys(range(10, 101, 10), 0.5), {n: n / 110 for n in range(10, 101, 10)}, 160, [16, 24, 48, 72, 120],
         (48, 120)),
    ],
)  # fmt: skip
def test_a_crossing_in_compute_is_between_costs_that_were_measured(
    autoregressive: dict[int, float],
    diffusion: dict[int, float],
    flops: float,
    levels: list[float],
    ends: tuple[float, float],
) -> None:
    """In TFLOP: a training of the autoregressive family takes 120, one of the other ``flops``."""
    runs = [*steady("autoregressive", autoregressive, 120e12), *steady("diffusion", diffusion, flops * 1e12)]
    fields = by_budget(variants(runs), 400, "flops", "completion")  # type: ignore[arg-type]
    assert list(fields) == pytest.approx([level * 1e12 for level in levels])
    (duel,) = duels(fields, "completion")
    assert (duel.crossing.low, duel.crossing.high) == pytest.approx(tuple(end * 1e12 for end in ends))


def test_a_decayed_training_counts_at_its_end() -> None:
    runs = [replace(one, settings={}) for one in steady("diffusion", {10: 0.1, 50: 0.3, 100: 0.8})]  # type: ignore[type-var]
    fields = by_budget(variants([*runs, *steady("autoregressive", {10: 0.3, 50: 0.4, 100: 0.45})]), 400, "epochs",
                       "completion")  # type: ignore[list-item]  # fmt: skip
    assert list(fields) == [pytest.approx(8.0)]  # 6 400 puzzles of 2 x 400


def test_a_number_that_is_not_sure_between_two_that_are_may_hide_two_crossings() -> None:
    curves = table({400: 0.6, 4000: 0.5, 40000: 0.8}, {400: 0.3, 4000: 0.5, 40000: 0.3})
    (duel,) = duels(by_examples(variants(curves), "completion"), "completion")
    told = crossing_sentence(duel, "examples")
    assert "wherever one family is surely ahead, if all 3 points are tested together, it is the autoregressive" in told
    assert told.endswith("below 400 or above 40,000 examples per rule, or near 4,000, where no lead is sure.")


def test_none_in_the_range_measured_is_an_answer() -> None:
    curves = table({400: 0.6, 4000: 0.7, 40000: 0.8}, {400: 0.1, 4000: 0.2, 40000: 0.3})
    (duel,) = duels(by_examples(variants(curves), "completion"), "completion")
    assert not duel.crossing.is_sure
    told = crossing_sentence(duel, "examples")
    assert told.startswith("No crossing where both families have enough repeats (400 to 40,000 examples per rule)")
    assert told.endswith(
        "If one overtakes the other, it does so below 400 or above 40,000 examples per rule, where no lead is sure."
    )
    few = [one for one in curves if one.seeds.data != 2]
    (duel,) = duels(by_examples(variants(few), "completion"), "completion")
    assert "unknown, because no point has at least 3 repeats of both" in crossing_sentence(duel, "examples")


@pytest.mark.parametrize(
    ("diffusion", "says"),
    [
        ({400: 0.6, 4000: 0.2, 40000: 0.8}, "surely ahead only at 4,000, if"),
        ({400: 0.1, 4000: 0.2, 40000: 0.8}, "surely ahead only between 400 and 4,000, if"),
    ],
)
def test_where_one_is_surely_ahead_is_said(diffusion: dict[int, float], says: str) -> None:
    curves = table({400: 0.6, 4000: 0.7, 40000: 0.8}, diffusion)
    (duel,) = duels(by_examples(variants(curves), "completion"), "completion")
    told = crossing_sentence(duel, "examples")
    assert told.startswith(
        "No sure crossing where both families have enough repeats (400 to 40,000 examples per rule): the "
        "autoregressive family"
    )
    assert says in told


def test_runs_that_never_reach_a_score_are_counted_so() -> None:
    runs = steady("diffusion", {10: 0.1, 50: 0.498, 100: 0.8})
    found = reach(runs, "completion", 0.5, "flops")  # type: ignore[arg-type]
    assert found is not None
    assert found.costs == (pytest.approx(5e14), pytest.approx(5e14), pytest.approx(1e15))  # 0.498, 0.500, 0.502
    never = reach(runs, "completion", 0.9, "flops")  # type: ignore[arg-type]
    assert never is not None
    assert (never.costs, never.num_runs, never.median) == ((), 3, float("inf"))
    assert reach([replace(runs[0], flops=None)], "completion", 0.5, "flops") is None  # type: ignore[type-var]


@pytest.mark.parametrize(
    ("values", "trend"),
    [
        ({50: 0.3, 100: 0.5}, "gains"),
        ({50: 0.5, 100: 0.3}, "loses"),
        ({50: 0.5, 100: 0.501}, "unclear"),  # 1 000 puzzles cannot tell
        ({90: 0.3, 100: 0.5}, "unknown"),
        ({100: 0.5}, "unknown"),
    ],
)
def test_how_a_curve_ends(values: dict[int, float], trend: str) -> None:
    (variant,) = variants(steady("diffusion", values))  # type: ignore[arg-type]
    assert end_of(variant, 400, "completion").trend == trend


def test_the_best_checkpoint_beside_the_last() -> None:
    runs = [
        run("diffusion", 400, 0.5, seed=seed, results=(result(0.5), result(0.9, 40, checkpoint="best.ckpt")))
        for seed in range(3)
    ]
    (variant,) = variants(runs)
    found = best_and_last(variant.points[400], "completion")
    assert found is not None
    assert found[0].value("completion") == pytest.approx(0.9)
    assert found[1].low > 0.3
    assert best_and_last(variants(repeats("diffusion", 400, 0.5))[0].points[400], "completion") is None


def test_what_the_best_checkpoint_gives_and_costs_is_its_own() -> None:
    """Its correlation, but the whole training: which checkpoint is the best is known at its end only."""
    one = {"one": (Proportion(1, 2), Proportion(1, 2))}
    last = replace(result(0.5), correlation={"value": 0.1, "count": 3}, per_rule=one)
    best = replace(result(0.9, 40, checkpoint="best.ckpt"), correlation={"value": 0.7, "count": 3}, per_rule=one)
    scored = (last, best, result(0.3, split="val"), result(0.7, 40, split="val"))
    found = variants(run("diffusion", 400, 0.5, seed=seed, results=scored) for seed in range(3))
    (picture,) = by_rule(found, 400, "completion", "")
    assert isinstance(picture, Picture)
    assert "best checkpoint: 0.70, 0.70, 0.70 over 3 rules" in picture.caption
    choice = by_examples(found, "completion")[400]["diffusion"]
    assert choice.point.spent("device_hours") == pytest.approx(0.4)
    assert choice.training is choice.end


def test_the_best_checkpoint_in_another_decoding_is_no_candidate() -> None:
    other = result(0.9, 40, checkpoint="best.ckpt", decoding={"num_steps": 9})
    (variant,) = variants([run("diffusion", 400, 0.5, results=(result(0.5), other))])
    assert best_checkpoints(variant.points[400], "completion") is None


def test_the_last_checkpoint_is_reported_also_where_the_best_was_scored_on_more_puzzles() -> None:
    best = result(0.9, checkpoint="best.ckpt", puzzles_per_rule=900)
    assert run("diffusion", 400, 0.5, results=(best, result(0.5))).final == result(0.5)


def test_settings_that_tell_some_apart_are_named_of_all_that_have_them() -> None:
    """Those of the data also of an architecture of which there is one."""
    augment = {"data.augment": "rows", "model.init_args.schedule": "constant"}
    runs = [*repeats("autoregressive", 400, 0.5), *repeats("autoregressive", 400, 0.6, settings=augment),
            *repeats("diffusion", 400, 0.5, settings=augment), *repeats("copying", 400, 0.1)]  # fmt: skip
    assert [variant.label for variant in variants(runs)] == [
        "GPT-2, 10 M parameters, augment rows, schedule constant", "GPT-2, 10 M parameters",
        "copying, 10 M parameters", "SiT, 10 M parameters, augment rows",
    ]  # fmt: skip
