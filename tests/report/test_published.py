"""Published curves stand beside runs that learned the same task with networks of the same prior, and nowhere else."""

from typing import Any

import pytest
from tables import table

from genraven.puzzles.spec import HELD_OUT_SPLITS, NUM_STUDY_RULES, RULES
from genraven.report.content import compose
from genraven.report.page import to_markdown
from genraven.report.published import beside
from genraven.report.question import Question

NAMES = [rule.name for rule in RULES[:NUM_STUDY_RULES]]
HELD_OUT = [NAMES[rule] for rule in HELD_OUT_SPLITS["split0"]]
SAME: dict[str, Any] = {"trained_on": ", ".join(name for name in NAMES if name not in HELD_OUT),
                        "held_out": ", ".join(HELD_OUT), "evaluated_on": ", ".join(NAMES)}  # fmt: skip


def test_of_the_same_task() -> None:
    assert {row.rules_held_out for row in beside(SAME, "general")} == {True}
    all_rules = {**SAME, "trained_on": ", ".join(NAMES), "held_out": "none"}
    assert {row.rules_held_out for row in beside(all_rules, "general")} == {False}


@pytest.mark.parametrize(
    "other",
    [
        {"trained_on": ", ".join(NAMES[:3]), "held_out": "none"},
        {"evaluated_on": ", ".join(NAMES[:3])},
        {"held_out": "none"},
        {"corruption": "cells 0.01"},
        {"evaluation_file": "12ab"},
    ],
    ids=lambda other: next(iter(other)),
)
def test_of_another(other: dict[str, str]) -> None:
    assert beside({**SAME, **other}, "general") == []


def test_of_another_prior() -> None:
    assert beside(SAME, "structured") == []


@pytest.mark.parametrize(
    ("dataset", "prior", "said"),
    [
        (SAME, "general", "Dashed and hollow: the best models of the study"),
        (
            {},
            "general",
            "Published curves (Wang, Shang and Sompolinsky 2024, arXiv 2411.07873) are left out: they score all 40",
        ),
        (SAME, "structured", "are left out: their networks have a general prior."),
    ],
    ids=["the same", "other rules", "another prior"],
)
def test_the_page_says_so(
    dataset: dict[str, str], prior: str, said: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    monkeypatch.setattr("genraven.report.figures.chart", lambda lines, *labels: "<svg/>")
    runs = table({400: 0.4}, {400: 0.2}, dataset=dataset, prior=prior)
    text = to_markdown(compose(runs, [], lambda group: Question("completion", 400), tmp_path), "")
    assert said in text
    assert text.count("left out: t") == (said != "Dashed and hollow: the best models of the study")
