import pytest
import torch
from scipy.stats import binomtest, pearsonr

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
