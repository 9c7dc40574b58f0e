"""The mean likelihood of puzzles, and what is known of its error."""

import pytest
import torch

from genraven.metrics.likelihood import Likelihood, MeanLikelihood
from genraven.metrics.scores import Scores


def test_an_exact_one_is_a_mean_over_puzzles_without_an_error() -> None:
    metric = MeanLikelihood("exact", 1)
    metric.update(torch.tensor([[1.0], [2.0]]))
    metric.update(torch.tensor([[6.0]]))
    assert metric.compute() == Likelihood(3.0, None, "exact", 3)


def test_the_error_of_a_bound_is_that_of_the_mean_over_its_draws() -> None:
    metric, draws = MeanLikelihood("bound", 4), torch.tensor([1.0, 2.0, 3.0, 6.0])
    metric.update(draws.expand(10, -1))
    found = metric.compute()
    assert (found.value, found.kind, found.num_puzzles) == (3.0, "bound", 10)
    assert found.standard_error == pytest.approx(draws.double().std().item() / 2)


def test_a_card_says_it_in_numbers_and_leaves_it_out_where_there_is_none() -> None:
    scores = Scores([0], likelihood=("exact", 1))
    scores.add_likelihood(torch.tensor([[2.5]]))
    results = scores.compute()
    assert results.as_json()["nats_per_cell"] == {"value": 2.5, "standard_error": None, "kind": "exact", "count": 1}
    assert "nats_per_cell" not in Scores([0]).compute().as_json()
