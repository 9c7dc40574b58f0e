"""The report names what the settings of each family were chosen by, and warns where that differs."""

from dataclasses import replace

import pytest
from tables import table

from genraven.report.question import Question
from genraven.report.recommend import recommend

RUNS = table({400: 0.4}, {400: 0.2})
DIFFER = "The budgets differ"


@pytest.mark.parametrize(
    ("budgets", "said", "differ"),
    [
        ({}, None, False),
        (
            {"autoregressive": (8, 1.2e6), "diffusion": (8, 1.2e6)},
            "Tuning: autoregressive 8 trials that saw 1.2M puzzles, diffusion 8 trials that saw 1.2M puzzles.",
            False,
        ),
        (
            {"autoregressive": (8, 1.2e6)},
            "Tuning: autoregressive 8 trials that saw 1.2M puzzles, diffusion set by hand.",
            True,
        ),
        ({"autoregressive": (8, 1.2e6), "diffusion": (4, 6e5)}, "diffusion 4 trials that saw 600k puzzles.", True),
    ],
)
def test_the_budgets_are_named(budgets: dict[str, tuple[float, float]], said: str | None, differ: bool) -> None:
    runs = [
        replace(run, tuning=dict(zip(("trials", "puzzles"), budgets.get(str(run.family), ()), strict=False)))
        for run in RUNS
    ]
    texts = [finding.text for finding in recommend(runs, Question("completion", 400)).sure]
    told = [text for text in texts if text.startswith("Tuning")]
    assert len(told) == (said is not None)
    assert all((said or "") in text and (DIFFER in text) == differ for text in told)
