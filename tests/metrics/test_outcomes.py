"""Outcomes of single puzzles: those that the scores count, in an order that every process arrives at."""

import numpy as np
import torch

from genraven.metrics.memorization import TrainingIndex
from genraven.metrics.outcomes import in_order, outcomes
from genraven.metrics.scores import Scores
from genraven.puzzles.generate import generate


def test_they_add_up_to_the_scores_and_do_not_depend_on_who_counted() -> None:
    training = generate(3, 0, 8)
    index, scores = TrainingIndex.build(training), Scores(range(40), TrainingIndex.build(training))
    completed = torch.cat([generate(rule, 10, 6) for rule in (3, 8)])[[0, 6, 1, 7, 2, 8, 3, 9, 4, 10, 5, 11]]
    rules = torch.tensor([3, 8] * 6)
    completed[[2, 5]] = generate(30, 0, 2)  # another rule than asked for
    generated = torch.cat([training[:4], generate(8, 0, 4), torch.full((4, 3, 9, 9), -1, dtype=torch.int8)])
    parts = []
    for place in range(3):
        some = slice(4 * place, 4 * place + 4)
        parts.append(outcomes(place, completed[some], rules[some], generated[some], index))
        scores.add_completed(completed[some], rules[some])
        scores.add_generated(generated[some])
    found, card = in_order(parts), scores.compute()
    for name in ("completion", "c3", "novel_c3"):
        assert (len(found[name]), found[name].sum()) == (card.rates[name].total, card.rates[name].hits)
    assert found["completion"].tolist() == [True, False, True, True, True, True] + [True, True, False] + [True] * 3
    assert found["novel_c3"].tolist() == [False] * 4 + [True] * 4 + [False] * 4
    shuffled = in_order(parts[::-1])
    assert all(np.array_equal(found[name], shuffled[name]) for name in found)
