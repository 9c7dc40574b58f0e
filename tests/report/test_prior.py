"""What a network was given of puzzles is noted, and models that were given different things are no contest."""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from tables import repeats, table
from torch import nn

from genraven.errors import InputError
from genraven.networks.prior import prior_by_name, prior_of
from genraven.networks.relational_ar import RelationalAR
from genraven.networks.relational_masked import RelationalMasked
from genraven.networks.relational_soft import RelationalSoft
from genraven.report import figures
from genraven.report.content import compose
from genraven.report.page import Page, to_markdown
from genraven.report.points import variants
from genraven.report.published import SOURCE
from genraven.report.question import Question
from genraven.report.reading import read_run
from genraven.report.recommend import recommend
from genraven.report.runs import Run

RELATIONAL = "genraven.networks.relational_ar.RelationalAR"


@pytest.mark.parametrize("cls", [RelationalAR, RelationalMasked, RelationalSoft])
def test_networks_say_their_prior(cls: type) -> None:
    assert prior_of(cls) == prior_by_name(cls.__name__) == "structured"
    assert prior_of(nn.Linear(1, 1)) == "general"
    mine = nn.Linear(1, 1)
    mine.prior = "divine"  # type: ignore[assignment]
    with pytest.raises(InputError, match="expected the prior of Linear to be general or structured, got 'divine'"):
        prior_of(mine)


def folder(path: Path, network: str, config: dict[str, Any], run: dict[str, Any]) -> Path:
    cell = {"value": 0.5, "hits": 5, "count": 10}
    result = {"step": 1, "split": "test", "puzzles_per_rule": 10, "metrics": {"c3": cell, "completion": cell},
              "own_sampling": True}  # fmt: skip
    facts = {"family": "autoregressive", "architecture": "A", "samples_per_rule": 400} | run
    config = {"model": {"init_args": {"network": {"class_path": network}}}} | config
    path.mkdir()
    (path / "config.yaml").write_text(yaml.safe_dump(config))
    (path / "summary.json").write_text(json.dumps(facts))
    (path / "evaluation.json").write_text(json.dumps({"version": 1, "run": facts, "results": [result]}))
    return path


@pytest.mark.parametrize(
    ("network", "config", "run", "prior"),
    [
        ("genraven.networks.transformer.GPT2", {}, {}, "general"),
        (RELATIONAL, {}, {}, "structured"),
        ("plugin.Relationless", {"prior": None}, {}, "general"),
        ("plugin.Mine", {"prior": "structured"}, {}, "structured"),
        ("plugin.Mine", {}, {"prior": "structured"}, "structured"),
        (RELATIONAL, {}, {"prior": "general"}, "general"),
    ],
)
def test_a_run_of_before_has_the_prior_of_its_network(
    network: str, config: dict[str, Any], run: dict[str, Any], prior: str, tmp_path: Path
) -> None:
    found, notes = read_run("a", folder(tmp_path / "a", network, config, run), "finished")
    assert (found.prior, notes) == (prior, [])


def test_a_prior_that_is_none_is_passed_over(tmp_path: Path) -> None:
    found, notes = read_run("a", folder(tmp_path / "a", RELATIONAL, {}, {"prior": "divine"}), "finished")
    assert not found.results
    assert "divine" in notes[0]


def page_of(runs: Sequence[Run], monkeypatch: pytest.MonkeyPatch) -> tuple[Page, list[list[figures.Line]]]:
    """The page, and the lines of its charts."""
    drawn: list[list[figures.Line]] = []

    def chart(lines: Sequence[figures.Line], *labels: str) -> str | None:
        drawn.append([line for line in lines if line.points])
        return "<svg/>" if drawn[-1] else None

    monkeypatch.setattr(figures, "chart", chart)
    return compose(runs, [], lambda group: Question("completion", 4000), Path()), drawn


def structured(runs: Sequence[Run]) -> list[Run]:
    return [replace(run, name=f"structured-{run.name}", architecture="Relational AR", prior="structured")
            for run in runs]  # fmt: skip


GENERAL = table({}, {400: 0.1, 4000: 0.2})


def test_the_families_of_two_priors_have_no_verdict_together(monkeypatch: pytest.MonkeyPatch) -> None:
    """Diffusion is general here and autoregression structured: each stands alone, and nothing sets one against it."""
    runs = [*GENERAL, *structured(table({400: 0.8, 4000: 0.9}, {}))]
    page, drawn = page_of(runs, monkeypatch)
    answers = [section for section in page.sections if section.is_answer]
    assert len(answers) == 2
    assert all("Not enough evidence" in section.heading for section in answers)
    assert page.sections[0].heading == "2 groups of runs"
    markdown = to_markdown(page, "figures")
    assert markdown.count("only the diffusion family has runs here") == 1
    assert markdown.count("only the autoregressive family has runs here") == 1
    for sentence in markdown.replace("\n", ". ").split(". "):
        assert not ("diffusion" in sentence and "autoregressive" in sentence), sentence
    assert not [lines for lines in drawn if {"SiT", "Relational AR"} <= {line.name for line in lines}]
    assert "1: prior general" in markdown or "2: prior general" in markdown


def test_structured_models_stand_apart_from_the_study(monkeypatch: pytest.MonkeyPatch) -> None:
    both = structured(table({400: 0.8, 4000: 0.9}, {400: 0.1, 4000: 0.2}))
    page, drawn = page_of(both, monkeypatch)
    markdown = to_markdown(page, "figures")
    assert page.sections[0].heading.startswith("Train the autoregressive family")
    assert "the study" not in markdown.lower()
    assert f"Published curves ({SOURCE}) are left out" in markdown
    assert not [line for lines in drawn for line in lines if line.kind == "reference"]
    assert markdown.count("A structured prior means") == 1
    assert "| Relational AR | structured |" in markdown
    page, _ = page_of([replace(run, prior="general") for run in both], monkeypatch)
    assert "A structured prior means" not in to_markdown(page, "figures")


def test_a_contest_of_two_priors_is_refused() -> None:
    runs = [*GENERAL, *structured(repeats("autoregressive", 4000, 0.9))]
    with pytest.raises(ValueError, match="one prior in a contest, got general and structured"):
        recommend(runs, Question("completion", 4000))


def test_runs_of_one_architecture_and_two_priors_are_no_repeats() -> None:
    one, two, three = repeats("autoregressive", 4000, 0.9)
    assert len(variants([one, two, replace(three, prior="structured")])) == 2
