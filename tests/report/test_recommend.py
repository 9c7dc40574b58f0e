"""Made-up tables of runs whose right answer is known."""

from typing import Any

import pytest

from genraven.errors import InputError
from genraven.report.recommend import recommend
from genraven.report.runs import Run, Score
from genraven.report.sentences import Question

COUNT = 1000
ARCHITECTURES = {"autoregressive": "GPT-2", "diffusion": "SiT"}


def run(family: str, examples: int, value: float, parameters: int = 10_000_000, **more: Any) -> Run:
    scores = {name: Score.of(round(value * COUNT), COUNT) for name in ("completion", "novel_c3", "c3")}
    scores |= {name: Score.of(round(v * COUNT), COUNT) for name, v in more.pop("scores", {}).items()}
    name = f"{family}-{parameters}-{examples}"
    settings = {"device_hours": 1.0, **more}
    return Run(name, family=family, architecture=ARCHITECTURES[family], parameters=parameters,
               samples_per_rule=examples, scores=scores, **settings)  # fmt: skip


def table(autoregressive: dict[int, float], diffusion: dict[int, float]) -> list[Run]:
    return [
        run(family, examples, value)
        for family, curve in (("autoregressive", autoregressive), ("diffusion", diffusion))
        for examples, value in curve.items()
    ]


CROSSING = table({400: 0.4, 4000: 0.5, 40000: 0.55}, {400: 0.05, 4000: 0.3, 40000: 0.8})


def text_of(advice: Any) -> str:
    return " ".join([advice.headline, *(finding.text for finding in advice.findings)])


def test_crossing_curves_few_examples() -> None:
    advice = recommend(CROSSING, Question("completion", 400))
    assert (advice.verdict, advice.family) == ("train", "autoregressive")
    assert advice.headline.startswith(
        "Train the autoregressive family (GPT-2, 10 M parameters) for completion with 400"
    )
    cited = {name for finding in advice.findings for name in finding.runs}
    assert {"autoregressive-10000000-400", "diffusion-10000000-400"} <= cited


def test_crossing_curves_many_examples() -> None:
    advice = recommend(CROSSING, Question("generation", 40000))
    assert (advice.verdict, advice.family) == ("train", "diffusion")
    assert (advice.data_target, advice.crossing) == (40000, None)
    assert "still rises" in text_of(advice)


def test_growth_leads_over_the_crossing() -> None:
    advice = recommend(CROSSING, Question("completion", 4000, growth=10))
    assert (advice.verdict, advice.family, advice.later) == ("train, then switch", "autoregressive", "diffusion")
    # The gap is 0.2 at 4 000 and -0.25 at 40 000: zero after 0.2 / 0.45 of a decade.
    assert advice.crossing == pytest.approx(4000 * 10 ** (0.2 / 0.45))
    assert "in about 5 months" in text_of(advice)
    assert "change to the diffusion family at about 11,1" in advice.headline


def test_growth_that_does_not_reach_the_crossing_changes_nothing() -> None:
    advice = recommend(CROSSING, Question("completion", 400, growth=10))
    assert (advice.verdict, advice.family, advice.later) == ("train", "autoregressive", "autoregressive")
    assert "stay with it" in advice.headline


def test_between_two_measured_sizes_both_are_cited() -> None:
    advice = recommend(CROSSING, Question("completion", 1265))  # half a decade above 400
    assert advice.family == "autoregressive"
    assert "completes 0.450 of puzzles by their rule (between two measured sizes of data)" in advice.findings[0].text
    assert advice.findings[0].runs == ("autoregressive-10000000-400", "autoregressive-10000000-4000")


def test_a_model_that_memorises_does_not_win_generation() -> None:
    runs = [*table({400: 0.3}, {}), run("diffusion", 400, 0.9, scores={"novel_c3": 0.01})]
    assert recommend(runs, Question("generation", 400)).family == "autoregressive"
    assert recommend(runs, Question("completion", 400)).family == "diffusion"


def test_a_family_that_collapses_to_nothing_loses() -> None:
    advice = recommend(table({400: 0.4, 4000: 0.5}, {400: 0.0, 4000: 0.9}), Question("completion", 400))
    assert advice.family == "autoregressive"
    assert advice.crossing is not None


def test_a_tie_is_not_enough_evidence() -> None:
    runs = [*table({400: 0.40}, {}), run("diffusion", 400, 0.42, device_hours=0.5)]
    advice = recommend(runs, Question("completion", 400))
    assert (advice.verdict, advice.family, advice.run) == ("not enough evidence", None, None)
    assert "intervals overlap" in text_of(advice)
    assert "The cheapest of these is SiT, 10 M parameters, 0.5 device-hours" in text_of(advice)


def test_a_tie_now_and_a_winner_in_a_year() -> None:
    advice = recommend(table({400: 0.40, 4000: 0.5}, {400: 0.42, 4000: 0.9}), Question("completion", 400, growth=10))
    assert (advice.verdict, advice.later) == ("not enough evidence", "diffusion")
    assert "with the 4,000 of a year from now the diffusion family wins" in advice.headline


def test_one_family_missing() -> None:
    advice = recommend(table({400: 0.9}, {}), Question("completion", 400))
    assert (advice.verdict, advice.family) == ("not enough evidence", None)
    assert "No finished diffusion run counts here" in text_of(advice)


def test_nothing_finished() -> None:
    runs = [Run("a", state="failed", family="diffusion"), Run("b", state="new")]
    advice = recommend(runs, Question("completion", 400))
    assert advice.verdict == "not enough evidence"
    assert "train and evaluate the autoregressive and the diffusion family" in text_of(advice)


def test_a_run_that_has_not_finished_is_no_evidence() -> None:
    runs = [*table({400: 0.9}, {}), run("diffusion", 400, 0.1, state="failed")]
    assert recommend(runs, Question("completion", 400)).verdict == "not enough evidence"


@pytest.mark.parametrize("examples", [100, 100_000])
def test_examples_outside_the_measured_range(examples: int) -> None:
    advice = recommend(CROSSING, Question("completion", examples))
    assert advice.verdict == "not enough evidence"
    assert f"400 to 40,000 examples per rule only, and not with {examples:,}" in text_of(advice)


def test_a_year_outside_the_measured_range_leaves_today() -> None:
    advice = recommend(CROSSING, Question("completion", 40000, growth=10))
    assert (advice.verdict, advice.family, advice.later) == ("train", "diffusion", None)
    assert "there is not enough evidence" in advice.headline


def test_the_smallest_model_that_is_as_good() -> None:
    sizes = {1_000_000: 0.5, 10_000_000: 0.79, 100_000_000: 0.8}
    runs = [run("diffusion", 400, value, size) for size, value in sizes.items()] + table({400: 0.1}, {})
    advice = recommend(runs, Question("completion", 400))
    assert advice.run is not None
    assert advice.run.parameters == 10_000_000
    assert "is enough; larger models, up to 100 M parameters, were not measurably better" in text_of(advice)


def test_the_data_target_is_where_nothing_is_gained() -> None:
    curve = {400: 0.5, 4000: 0.89, 40000: 0.9}
    advice = recommend(table(curve, dict.fromkeys(curve, 0.1)), Question("completion", 400))
    assert advice.data_target == 4000
    assert "Data target: about 4,000 examples" in text_of(advice)


def test_a_budget_leaves_out_what_is_dearer_or_of_unknown_cost() -> None:
    runs = [
        *table({400: 0.3}, {400: 0.1}),
        run("diffusion", 400, 0.9, 90_000_000, device_hours=100.0),
        run("diffusion", 400, 0.8, 80_000_000, device_hours=None),
    ]
    assert recommend(runs, Question("completion", 400)).family == "diffusion"
    advice = recommend(runs, Question("completion", 400, budget=10))
    assert advice.family == "autoregressive"
    assert "1 of 4 finished runs took more than 10 device-hours" in text_of(advice)
    assert "Of 1 finished runs the cost in device-hours is not known" in text_of(advice)


def test_a_budget_in_money() -> None:
    runs = [run("autoregressive", 400, 0.3, money=2.0), run("diffusion", 400, 0.1, money=2.0)]
    dear = run("diffusion", 400, 0.9, 90_000_000, money=50.0)
    assert recommend([*runs, dear], Question("completion", 400, budget=10, in_money=True)).family == "autoregressive"


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"goal": "fame"}, "--goal to be completion or generation, got 'fame'"),
        ({"examples": 0}, "--examples above 0, got 0"),
        ({"growth": -1.0}, "--growth above 0"),
        ({"budget": float("nan")}, "--budget above 0"),
    ],
)
def test_questions_that_make_no_sense(settings: dict[str, Any], says: str) -> None:
    with pytest.raises(InputError, match=says):
        Question(**{"goal": "completion", "examples": 400, **settings})
