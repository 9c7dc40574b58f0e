"""Puzzles of another kind are told from those of the calibration, by what is given of them alone."""

import numpy as np
import torch
from simulated import Copier

from genraven.puzzles.generate import generate
from genraven.puzzles.masks import last_panel_mask
from genraven.trust.familiarity import ALARM, familiarity, unlike


def test_what_the_model_wrote_has_no_part() -> None:
    puzzles, mask = generate(3, 0, 6), last_panel_mask(6)
    other = puzzles.clone()
    other[mask.unsqueeze(1).expand_as(other)] = 2

    class Uneven(Copier):
        def log_probability(self, puzzles, mask, generator=None):  # type: ignore[no-untyped-def]
            found = super().log_probability(puzzles, mask)
            found.cells[:, :5] = -puzzles[:, 0, :1, :5].float().squeeze(1)
            return found

    values = familiarity(Uneven(), puzzles, mask, None)
    assert torch.equal(values, familiarity(Uneven(), other, mask, None))
    given = ~mask[:, :1, :5].squeeze(1)
    assert given.all()
    expected = 72 - puzzles[:, 0, 0, :5].double().sum(1)  # 1 nat of each given cell is expected
    assert torch.allclose(values, expected)


def test_draws_of_one_kind_seldom_alarm_and_others_do() -> None:
    rng = np.random.default_rng(0)
    known = rng.normal(size=2000)
    alike = [unlike(rng.normal(size=200), known) for _ in range(500)]
    assert np.mean(np.array(alike) < 0.1) < 0.15
    assert min(alike) > ALARM / 10
    assert unlike(rng.normal(loc=-1, size=50), known) < ALARM
    assert unlike(rng.normal(loc=-1, size=2), known) > ALARM  # two puzzles tell nothing
