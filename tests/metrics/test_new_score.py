"""A score that is added by one entry of the table: it is counted, kept, offered and shown wherever the others are."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from callbacks.checkpoint import BestCheckpoint
from callbacks.tensorboard import charts
from datamodules import GenRAVENDataModule
from genraven.errors import InputError
from genraven.metrics.completion import PanelCompletion
from genraven.metrics.consistency import RuleConsistency
from genraven.metrics.likelihood import Likelihood
from genraven.metrics.memorization import Memorization, TrainingIndex
from genraven.metrics.outcomes import in_order, outcomes
from genraven.metrics.scores import Scores
from genraven.metrics.table import COMPLETED, GENERATED, SCORES, Score, direction, main_names
from genraven.metrics.variety import Variety
from genraven.puzzles.generate import generate
from genraven.report.evaluation import pack_hits
from genraven.report.reading import read_run
from launch import demo
from launch.runs.status import RunStatus, columns, row
from launch.trained.printed import in_words
from launch.training.options import check_best_by


def num_objects(puzzles: Tensor) -> Tensor:
    return (puzzles[:, 0] >= 0).flatten(1).sum(1)


CROWDED = Score("crowded", "crowded", "more than 50 objects", GENERATED, is_main=True, in_status=True, in_demo=True,
                of_each=lambda puzzles: num_objects(puzzles) > 50)  # fmt: skip
FULL = Score("full", "full panel", "nine objects in the last panel", COMPLETED, higher_is_better=False,
             of_each=lambda puzzles: (puzzles[:, 0, 6:, 6:] >= 0).flatten(1).all(1))  # fmt: skip
OBJECTS = Score("objects", "objects", "in a puzzle", GENERATED, "number", higher_is_better=None, of_each=num_objects)


@pytest.fixture(autouse=True)
def added(monkeypatch: pytest.MonkeyPatch) -> None:
    for score in (CROWDED, FULL, OBJECTS):
        monkeypatch.setitem(SCORES, score.name, score)


def scored() -> tuple[dict[str, Any], dict[str, Any]]:
    """The card, and the outcomes of single puzzles, of two batches."""
    scores, parts = Scores((3, 33)), []
    for place in range(2):
        generated, completed = generate(33, 8 * place, 8), generate(3, 8 * place, 8)
        rules = torch.tensor([3] * 7 + [-1])  # by its own rows the last has a rule, too
        scores.add_generated(generated)
        scores.add_completed(completed, rules)
        parts.append(outcomes(place, completed, rules, generated, None))
    return scores.compute().as_json(), in_order(parts)


def test_it_is_counted_and_kept() -> None:
    card, hits = scored()
    generated, completed = generate(33, 0, 16), generate(3, 0, 16)
    crowded = (num_objects(generated) > 50).tolist()
    assert 0 < sum(crowded) < 16
    assert (card["crowded"]["hits"], card["crowded"]["count"]) == (sum(crowded), 16)
    assert hits["crowded"].tolist() == crowded
    full = (completed[:, 0, 6:, 6:] >= 0).flatten(1).all(1)
    assert (card["full"]["hits"], card["full"]["count"]) == (int(full.sum()), card["completion"]["count"])
    assert len(hits["full"]) == card["full"]["count"]
    assert card["objects"] == num_objects(generated).double().mean().item()


@pytest.mark.parametrize(
    ("of_each", "said"),
    [
        (
            lambda puzzles: puzzles[:, 0, :, 0] >= 0,
            r"tensor of bool of shape \(8,\), .* got torch.bool of shape \(8, 9\)",
        ),
        (lambda puzzles: (puzzles[:, 0, 0, 0] >= 0).float(), r"tensor of bool .* got torch.float32 of shape \(8,\)"),
        (lambda puzzles: True, r"tensor of bool .* got bool of shape \(\)"),
    ],
)
def test_what_is_not_one_answer_a_puzzle_is_refused(of_each: Any, said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(SCORES, "crowded", Score("crowded", "crowded", "?", GENERATED, of_each=of_each))
    with pytest.raises(InputError, match=f"of_each of the score crowded to give a {said}"):
        scored()


def test_a_score_that_is_not_in_the_table_has_no_direction() -> None:
    with pytest.raises(InputError, match="expected a score of the table, got objets: did you mean objects?"):
        direction("objets")


def test_a_score_that_nothing_counts_is_none() -> None:
    """Else it could be asked for, and never come."""
    with pytest.raises(AssertionError, match="one thing counts odd: of_each, or a metric"):
        Score("odd", "odd", "rows that are odd", GENERATED)
    index = TrainingIndex.build(generate(3, 0, 4))
    metrics = {"consistency": RuleConsistency(), "completion": PanelCompletion([3]),
               "memorization": Memorization(index), "variety": Variety(index)}  # fmt: skip
    for name, metric in metrics.items():
        puzzles = torch.cat([generate(rule, 0, 4) for rule in (3, 33)])
        metric.update(puzzles, *([torch.tensor([3] * 4 + [33] * 4)] if name == "completion" else []))
        fractions = {score.name for score in SCORES.values() if score.by == name and score.kind == "fraction"}
        assert metric.compute()["rates"].keys() == fractions


def test_a_cell_shows_a_score_of_any_kind() -> None:
    card, _ = scored()
    hits, count = card["crowded"]["hits"], card["crowded"]["count"]
    assert in_words(card["crowded"]) == "{:.3f} [{:.3f}, {:.3f}]".format(hits / count, *card["crowded"]["interval95"])
    assert in_words(card["crowded"], with_hits=True).startswith(f"{hits} of 16: ")
    assert in_words(card["objects"], with_hits=True) == f"{card['objects']:.3f}"
    assert in_words(Likelihood(2.5, 0.25, "bound", 16).as_json(), with_hits=True) == "2.500 +- 0.250"
    assert in_words(Likelihood(2.5, None, "exact", 1).as_json()) == "2.500"
    assert in_words(None) == "-"


def test_it_is_offered_to_choose_the_best_by(tmp_path: Path) -> None:
    data = GenRAVENDataModule(None, cache_dir=str(tmp_path))
    for name in ("crowded", "full", "completion", "loss"):
        check_best_by(name, data)
    assert [BestCheckpoint(tmp_path, name).mode for name in ("crowded", "full")] == ["max", "min"]
    for name, says in {
        "crowdet": "crowded, full, got 'crowdet': did you mean crowded",
        "objects": "expected --best_by to be one of completion, c3, novel_c3",
        "novel_c3": "crowded or full with an endless stream, got novel_c3, which needs a training set",
        "nats_per_cell": "to be one of",
    }.items():
        with pytest.raises(InputError, match=says):
            check_best_by(name, data)


def test_it_is_shown(tmp_path: Path) -> None:
    assert "crowded" in main_names()
    assert "^val/crowded$" in charts()["together"]["scores"][1]
    status = RunStatus("finished", {"metrics": {"val/crowded": 0.25, "val/completion_trained": 0.5, "val/c3": 0.125}})
    cells = dict(zip(columns(), row("a", status), strict=True))
    assert (cells["crowded"], cells["completion"], cells["C3"], cells["novel C3"]) == ("0.250", "0.500", "0.125", "")
    card, hits = scored()
    result = {
        "step": 9, "split": "test", "seed": 0, "puzzles_per_rule": 8, "metrics": card,
        "hits": {name: pack_hits(flags) for name, flags in hits.items()},
    }  # fmt: skip
    facts = {"family": "diffusion", "architecture": "SiT", "parameters": 9, "samples_per_rule": 4}
    run = tmp_path / "a"
    run.mkdir()
    (run / "evaluation.json").write_text(json.dumps({"version": 1, "run": facts, "results": [result]}))
    (run / "summary.json").write_text(json.dumps({"step": 9, "metrics": {"val/crowded": 0.5, "val_count/crowded": 8}}))
    table = demo.comparison([run])
    assert "crowded" in table
    assert f"{card['crowded']['hits']} of 16" in table
    read, notes = read_run("a", run, "finished")
    assert notes == []
    by_split = {found.split: found for found in read.results}
    assert by_split["test"].scores["crowded"].outcomes is not None
    assert by_split["test"].numbers["objects"].value == card["objects"]
    assert by_split["val"].scores["crowded"].hits == 4
