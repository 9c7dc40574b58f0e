from collections.abc import Callable

import pytest
import torch
from scipy.stats import binomtest, pearsonr
from torch import Tensor

from genraven.metrics.rates import Correlation, Rate


@pytest.mark.parametrize(("hits", "total"), [(0, 1), (1, 1), (0, 50), (50, 50), (1, 3), (7, 10), (2381, 4000)])
def test_interval_is_scipys_wilson(hits: int, total: int) -> None:
    low, high = Rate(torch.tensor(hits), torch.tensor(total)).interval()
    expected = binomtest(hits, total).proportion_ci(confidence_level=0.95, method="wilson")
    assert low.item() == pytest.approx(expected.low, abs=1e-12)
    assert high.item() == pytest.approx(expected.high, abs=1e-12)


def test_interval_of_seven_of_ten_by_hand() -> None:
    # z = 1.96: (0.7 + 3.8416/20 -+ 1.96 sqrt(0.021 + 3.8416/400)) / 1.38416
    low, high = Rate(torch.tensor(7), torch.tensor(10)).interval()
    assert (low.item(), high.item()) == pytest.approx((0.3968, 0.8922), abs=1e-4)


def test_json_has_value_count_and_interval() -> None:
    plain = Rate(torch.tensor(7), torch.tensor(10)).as_json()
    assert plain is not None
    assert (plain["value"], plain["hits"], plain["count"]) == (0.7, 7, 10)
    assert plain["interval95"] == pytest.approx([0.3968, 0.8922], abs=1e-4)


def test_nothing_counted_is_absent_and_not_zero() -> None:
    nothing = Rate(torch.tensor(0), torch.tensor(0))
    assert nothing.as_json() is None
    assert nothing.value.isnan()
    assert all(end.isnan() for end in nothing.interval())


def test_a_rate_of_many_is_elementwise() -> None:
    low, high = Rate(torch.tensor([1, 0]), torch.tensor([3, 0])).interval()
    alone = Rate(torch.tensor(1), torch.tensor(3)).interval()
    assert (low[0], high[0]) == alone
    assert low[1].isnan()
    assert high[1].isnan()


def of_clusters(hits: Tensor, each: int) -> Rate:
    """The rates of trials (T, n puzzles) with so many hits of ``each``."""
    return Rate(hits.sum(1), torch.full((len(hits),), hits.shape[1] * each), each, hits.square().sum(1))


def copied(p: float, n: int, each: int, draws: torch.Generator) -> Tensor:
    """Whole puzzles or nothing."""
    return each * (torch.rand(TRIALS, n, generator=draws) < p).long()


def partly_copied(p: float, n: int, each: int, draws: torch.Generator) -> Tensor:
    """Seven tenths of the hits by whole puzzles, the others by chance."""
    whole = torch.rand(TRIALS, n, generator=draws) < 0.7 * p
    rest = torch.rand(TRIALS, n, each, generator=draws) < 0.3 * p / (1 - 0.7 * p)
    return torch.where(whole, each, rest.sum(2))


def independent(p: float, n: int, each: int, draws: torch.Generator) -> Tensor:
    return (torch.rand(TRIALS, n, each, generator=draws) < p).sum(2)


TRIALS = 2000


@pytest.mark.parametrize(("n", "p"), [(300, 0.3), (300, 0.03), (50, 0.1), (20, 0.9)])
@pytest.mark.parametrize("each", [3, 9])
@pytest.mark.parametrize(("draw", "most"), [(copied, 0.98), (partly_copied, 0.995), (independent, 0.999)])
def test_intervals_of_rows_and_panels_hold_the_truth_as_often_as_they_say(
    draw: Callable[..., Tensor], most: float, each: int, n: int, p: float
) -> None:
    """Those of a puzzle are alike. Where they are not, few hits cannot tell it, and intervals are rather too wide.

    Puzzles copied whole come in Wilson's own discrete steps: 92% at the worst.
    """
    rate = of_clusters(draw(p, n, each, torch.Generator().manual_seed(0)), each)
    held, as_if_independent = (
        ((low <= p) & (p <= high)).double().mean().item()
        for low, high in (rate.interval(), Rate(rate.hits, rate.total).interval())
    )
    print(f"{draw.__name__}, {n} puzzles of {each}, {p}: {held:.1%} hold the truth, {as_if_independent:.1%} as if each "
          "were drawn by itself")  # fmt: skip
    assert 0.92 <= held <= most


def test_copied_puzzles_tell_no_more_than_their_number_and_independent_rows_three_times_as_much() -> None:
    draws = torch.Generator().manual_seed(0)
    assert torch.allclose(of_clusters(copied(0.3, 300, 3, draws), 3).effective_total, torch.tensor(300.0).double())
    assert of_clusters(independent(0.3, 300, 3, draws), 3).effective_total.mean() > 800
    unknown = Rate(torch.tensor(90), torch.tensor(900), each=3)  # how alike they are is not known
    assert unknown.effective_total == 300
    plain = unknown.as_json()
    assert plain is not None
    assert plain["effective_count"] == 300
    assert plain["interval95"] == pytest.approx(
        [low.item() for low in Rate(torch.tensor(30), torch.tensor(300)).interval()]
    )


def test_correlation_and_its_interval_are_scipys() -> None:
    x, y = torch.rand(2, 35, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    y = 0.7 * x + 0.3 * y
    ours, theirs = Correlation.of(x, y), pearsonr(x, y)
    assert ours is not None
    plain = ours.as_json()
    assert plain["value"] == pytest.approx(theirs.statistic)
    assert plain["count"] == 35
    assert plain["interval95"] == pytest.approx(list(theirs.confidence_interval()))


def test_a_perfect_correlation_has_no_interval() -> None:
    line = Correlation(-1.0, 5)
    assert line.as_json() == {"value": -1.0, "count": 5, "interval95": None}


def test_two_pairs_or_a_constant_have_no_correlation() -> None:
    assert Correlation.of(torch.tensor([0.0, 1.0]), torch.tensor([0.0, 1.0])) is None
    assert Correlation.of(torch.zeros(5), torch.arange(5)) is None
