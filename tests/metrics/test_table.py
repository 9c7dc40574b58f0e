"""The one table of scores holds what is counted."""

import torch

from genraven.metrics.memorization import TrainingIndex
from genraven.metrics.scores import Scores
from genraven.metrics.table import SCORES, label, main_names
from genraven.puzzles.generate import generate


def test_every_score_that_is_counted_stands_in_the_table() -> None:
    puzzles = generate(4, 0, 20)
    scores = Scores((4,), TrainingIndex.build(puzzles))
    scores.add_generated(puzzles)
    scores.add_completed(puzzles, torch.full((20,), 4))
    scores.add_completed(generate(5, 0, 4), torch.full((4,), 5))
    scores.add_losses(torch.ones(4))
    results = scores.compute()
    assert {name for name, score in SCORES.items() if score.kind == "fraction"} == results.rates.keys()
    assert results.values.keys() <= {name for name, score in SCORES.items() if score.kind == "number"}


def test_labels() -> None:
    assert main_names() == ("completion", "c3", "novel_c3", "different_novel_c3")
    assert [label(name) for name in main_names()] == ["completion", "C3", "novel C3", "different novel C3"]
    assert label("of another kind") == "of another kind"
