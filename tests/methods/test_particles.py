"""Particles are drawn as often as they weigh, and only where the weights are uneven."""

import pytest
import torch

from genraven.methods.particles import effective_sample_size, resample_degenerate, systematic_resample

DOUBLE = torch.float64


def test_systematic_resampling_draws_each_as_often_as_it_weighs() -> None:
    weights = torch.tensor([[0.5, 0.2, 0.05, 0.25], [0.0, 1.0, 0.0, 0.0], [0.25] * 4], dtype=DOUBLE)
    counts = torch.zeros(3, 4, dtype=DOUBLE)
    for i in range(1000):
        uniform = torch.full((3, 1), (i + 0.5) / 1000, dtype=DOUBLE)
        drawn = systematic_resample(weights.log() - 700, uniform)
        each = torch.nn.functional.one_hot(drawn, 4).sum(1)
        assert (each - 4 * weights).abs().max() < 1  # never further than rounding from the expected number
        counts += each
    assert torch.allclose(counts / 4000, weights, atol=1e-3)
    assert effective_sample_size(weights.log()).tolist() == pytest.approx([1 / 0.355, 1, 4])


def test_only_problems_whose_weight_few_carry_are_resampled() -> None:
    log_weights = torch.tensor([[0.4, 0.3, 0.2, 0.1], [0.9, 0.1, 0.0, 0.0], [0.0, 0.0, 0.0, 1.0]]).log() + 50
    places, weights = resample_degenerate(log_weights, torch.full((3, 1), 0.5))
    assert places.view(3, 4).tolist() == [[0, 1, 2, 3], [4, 4, 4, 4], [11, 11, 11, 11]]
    assert torch.equal(weights[0], log_weights[0])
    assert weights[1:].count_nonzero() == 0
