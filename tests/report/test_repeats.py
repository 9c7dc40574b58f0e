"""Trainings that are no repeats of each other, and repeats that lack a score."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tables import repeats, result, run, table

from genraven.metrics.table import label
from genraven.report.content import compose
from genraven.report.contest import by_examples
from genraven.report.page import to_markdown
from genraven.report.points import Point, compare, distinct, variants
from genraven.report.question import Question
from genraven.report.recommend import recommend
from genraven.report.runs import Proportion, Result, Run


def at(step: int, value: float, seed: int = 0, state: str = "finished", **more: Any) -> Run:
    """A run that was meant to take 3 000 steps."""
    scored = (result(value, step),)
    one = run("diffusion", 400, value, seed=seed, state=state, step=step, max_steps=3000, results=scored, **more)
    return replace(one, name=f"{state}-{step}-{seed}")


def test_of_copies_the_longest_counts_whatever_their_names() -> None:
    cut, longer, whole = at(750, 0.2, state="stopped"), at(900, 0.3, state="stopped"), at(3000, 0.9)
    for runs in ([cut, longer, whole], [whole, longer, cut], [longer, whole, cut]):
        assert distinct(runs) == [whole]
    assert distinct([cut, longer]) == distinct([longer, cut]) == [longer]
    assert distinct([whole, replace(whole, name="copy")]) == [whole]


def test_a_setting_that_came_later_and_is_none_divides_no_repeats() -> None:
    settings, sampling = {"model.init_args.width": "8"}, {"num_steps": 5}
    before = run("diffusion", 400, 0.5, seed=0, settings=settings, results=(result(0.5, decoding=sampling),))
    for later, alike in ((("none", None), True), (("0.5", None), False), (("none", "panels"), False)):
        more = settings | {"model.init_args.masking": later[0]}, sampling | {"completion_order": later[1]}
        after = run("diffusion", 400, 0.6, seed=1, settings=more[0], results=(result(0.6, decoding=more[1]),))
        found = variants([before, after])
        assert [len(one.runs) for one in found] == ([2] if alike else [1, 1])
        assert len({one.label for one in found}) == len(found)


def test_trainings_cut_short_are_no_repeats_of_whole_ones() -> None:
    runs = [at(740, 0.2, 0, "stopped"), at(3000, 0.9, 1), at(3000, 0.91, 2), at(750, 0.21, 3, "stopped"),
            at(2500, 0.8, 4, "stopped")]  # fmt: skip
    found = {variant.label: [one.seeds.data for one in variant.runs] for variant in variants(runs)}
    assert found == {
        "SiT, 10 M parameters": [1, 2],
        "SiT, 10 M parameters, stopped at step 740 to 750": [0, 3],
        "SiT, 10 M parameters, stopped at step 2,500": [4],
    }
    choice = by_examples(variants(runs), "completion")[400]["diffusion"]
    assert (choice.label, choice.num_others) == ("SiT, 10 M parameters", 0)
    only_cut = by_examples(variants([runs[0], runs[3]]), "completion")[400]["diffusion"]
    assert len(only_cut.point.runs) == 2


def test_one_limit_of_time_makes_repeats_whatever_the_step() -> None:
    runs = [
        at(step, 0.5, seed, "stopped", time_limit=limit)
        for seed, (step, limit) in enumerate([(700, "1 h"), (900, "1 h"), (900, "2 h"), (2000, "2 h"), (900, "")])
    ]
    assert [[one.seeds.data for one in variant.runs] for variant in variants(runs)] == [[4], [0, 1], [2, 3]]


def test_a_training_that_its_own_recipe_ended_is_a_repeat() -> None:
    """Else a mean would be of those alone that did not collapse."""
    runs = [at(3000, 0.9, 0), at(500, 0.1, 1, "stopped", stopped_itself=True)]
    (variant,) = variants(runs)
    assert len(variant.runs) == 2


def test_streams_are_points_and_copies_of_one_stream_count_once() -> None:
    stream = [replace(one, is_stream=True) for one in repeats("diffusion", 64000, 0.5)]
    assert len(by_examples(variants(stream), "completion")[64000]["diffusion"].point.runs) == 3
    cut = replace(stream[0], name="cut", state="stopped", samples_per_rule=900, step=10)
    assert distinct([cut, *stream]) == stream
    other_seed = replace(cut, seeds=replace(cut.seeds, weights=9))
    assert 900 not in by_examples(variants([other_seed, *stream]), "completion")


def test_runs_from_an_unknown_number_of_examples_are_said_to_be_so() -> None:
    unknown = [replace(one, samples_per_rule=None) for one in repeats("diffusion", 400, 0.5)]
    advice = recommend([*unknown, *repeats("autoregressive", 400, 0.5)], Question("completion", 400))
    told = " ".join(finding.text for finding in (*advice.sure, *advice.findings))
    assert "the number of examples per rule is not known for 3 of them" in told
    assert "is missing" not in told


def scored(family: str, seed: int, right: int | None) -> Run:
    """Of 300 puzzles, in an order of its own; without completion where ``right`` is None."""
    flags = np.zeros(300, bool)
    flags[: right or 0] = True
    np.random.default_rng(seed).shuffle(flags)
    scores = {"c3": Proportion(10, 300, np.arange(300) < 10)} | ({} if right is None else {"completion": Proportion(right, 300, flags)})  # fmt: skip  # noqa: E501
    return run(family, 100, 0.0, seed=seed, results=(Result(10, scores, puzzles="t"),))


def point(runs: list[Run]) -> Point:
    return Point(tuple(runs), tuple(one.final for one in runs if one.final))


def test_runs_are_paired_by_seed_where_one_lacks_the_score() -> None:
    """The pairs left differ by 2 and 5 puzzles, paired by place by 100."""
    a = [scored("A", 0, None), scored("A", 1, 200), scored("A", 2, 290)]
    b = [scored("B", 0, 98), scored("B", 1, 195), scored("B", 2, 288)]
    found, expected = compare(point(a), point(b), "completion"), compare(point(a[1:]), point(b[1:]), "completion")
    assert found == expected
    assert found is not None
    assert found.value == pytest.approx((5 + 2) / 2 / 300)
    assert compare(point(a[:1]), point(b), "completion") is None
    few = compare(point(a), point([*b[:2], scored("B", 2, None)]), "completion")  # one seed in common is no pairing
    assert few is not None
    assert few.value == pytest.approx((490 / 2 - 293 / 2) / 300)


def test_three_repeats_are_three_that_have_the_score() -> None:
    lacking = [scored("diffusion", seed, 30 if seed else None) for seed in range(3)]
    choice = by_examples(variants(lacking), "completion")[100]["diffusion"]
    assert len(choice.point.runs) == 2
    advice = recommend(
        [*lacking, *(scored("autoregressive", seed, 290) for seed in range(3))], Question("completion", 100)
    )
    assert advice.verdict == "not enough evidence"
    assert "2 repeats each" in advice.sure[0].text  # those that have the puzzles of both


@pytest.mark.parametrize("metric", ["completion", "c3", "novel_c3"])
def test_the_page_stands_where_a_run_lacks_a_score(metric: str, tmp_path: Path) -> None:
    runs = table({400: 0.9, 800: 0.9}, {400: 0.1, 800: 0.2})
    for place in (0, 4):
        final = runs[place].results[0]
        scores = {name: fraction for name, fraction in final.scores.items() if name != metric}
        runs[place] = replace(runs[place], results=(replace(final, scores=scores),))
    page = compose(runs, [], lambda group: Question("completion", 400), tmp_path)
    told = to_markdown(page, "figures")
    assert f"| 3, {label(metric)} of 2 |" in told
    if metric == "completion":
        assert "a verdict needs at least 3 repeats of each family" in told
