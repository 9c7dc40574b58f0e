import numpy as np
import pytest

from genraven.trust.fitting import Labelled
from genraven.trust.trial import trial

SIZES = {"num_chosen": 200, "num_tested": 600, "delta": 0.1}


def labelled(knows: bool, risk: float = 0.15, num: int = 20_000) -> Labelled:
    rng = np.random.default_rng(0)
    correct = rng.random(num) >= risk
    useful = rng.random(num) + (correct * 0.8 if knows else 0)
    scores = {"useful": useful, "useless": rng.random(num)}
    return Labelled(scores, dict.fromkeys(scores, correct), np.full(num, "a rule"))


@pytest.mark.parametrize("max_error", [0.05, 0.1])
def test_the_promise_is_kept(max_error: float) -> None:
    found = trial(labelled(knows=True), max_error=max_error, num=80, **SIZES)
    assert found.is_kept
    assert 0.3 < np.mean(found.fractions) < 1
    nothing = trial(labelled(knows=False), max_error=max_error, num=80, **SIZES)
    assert nothing.is_kept
    assert np.mean(nothing.fractions) < 0.1


def test_a_promise_that_does_not_hold_is_told() -> None:
    """Puzzles of another kind are calibrated on: the order of a trial hides none of it."""
    found = trial(labelled(knows=False, risk=0.06), max_error=0.05, num=80, num_chosen=200, num_tested=600, delta=0.9)
    assert found.broken > 8  # promises with a delta as lax as this one are often broken, and that is counted
    assert found.broken == sum(fraction > 0 for fraction in found.fractions)
