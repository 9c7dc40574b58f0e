"""Forecasts that have proved themselves, and those that have not."""

import numpy as np
import pytest
from scipy.special import expit

from genraven.report.forecast import Line, forecast, overtaking

SIZES = (100, 400, 1600, 6400, 25600)


ERRORS = dict.fromkeys(SIZES, 0.01)
EXACT = dict.fromkeys(SIZES, 0.0)


def curve(start: float, slope: float, noise: float = 0.0) -> dict[int, float]:
    wobble = noise * np.array([1, -1, 0, -1, 1])
    return {n: float(expit(start + slope * np.log(n / 100) + w)) for n, w in zip(SIZES, wobble, strict=True)}


def test_a_line_in_log_odds_is_found_again() -> None:
    line = Line.fit(curve(-1.0, 0.4), EXACT)
    assert line.slope == pytest.approx(0.4)
    assert line.at(100_000).value == pytest.approx(expit(-1 + 0.4 * np.log(1000)))


def test_the_interval_by_hand() -> None:
    from scipy.stats import linregress, t

    scores = curve(-1.0, 0.4, 0.1)
    x, y = np.log(SIZES), np.log([v / (1 - v) for v in scores.values()])
    fit, at = linregress(x, y), np.log(100_000)
    rest = y - fit.intercept - fit.slope * x
    sd = np.sqrt((rest**2).sum() / 3 * (1 + 1 / 5 + (at - x.mean()) ** 2 / ((x - x.mean()) ** 2).sum()))
    centre = fit.intercept + fit.slope * at
    found = Line.fit(scores, EXACT).at(100_000)
    assert found.low == pytest.approx(expit(centre - t.ppf(0.9, 3) * sd))
    assert found.high == pytest.approx(expit(centre + t.ppf(0.9, 3) * sd))


def test_points_on_a_line_are_no_more_exact_than_they_were_measured() -> None:
    lucky = Line.fit(curve(-1.0, 0.4), dict.fromkeys(SIZES, 0.02)).at(25_600)
    assert lucky.high - lucky.low > 0.05


def test_shown_where_it_foretold_the_hidden_size() -> None:
    assert forecast(curve(-1.0, 0.4, 0.05), ERRORS).is_shown


@pytest.mark.parametrize(
    ("scores", "why"),
    [
        ({100: 0.1, 400: 0.2, 1600: 0.3}, "a forecast needs 4 numbers of examples, and 3 were measured"),
        (curve(-1.0, 0.3, 0.6), "wider than 0.3"),
        (dict(zip(SIZES, (0.1, 0.2, 0.35, 0.54, 0.40), strict=True)), "which misses the 0.40"),
        (
            dict(zip(SIZES, (0.50, 0.52, 0.54, 0.56, 0.56), strict=True)),
            'no nearer to the 0.56 measured than "the same',
        ),
    ],
)
def test_not_shown_where_it_did_not(scores: dict[int, float], why: str) -> None:
    found = forecast(scores, ERRORS)
    assert not found.is_shown
    assert why in found.refusal


def test_where_switching_pays() -> None:
    """The lines meet at log odds -1 + 0.5 x = 1 + 0.2 x: e^(2/0.3) times 100 examples."""
    first, second = forecast(curve(1.0, 0.2, 0.02), EXACT), forecast(curve(-1.0, 0.5, 0.02), EXACT)
    at = overtaking(first, second, 25_600, 2_560_000)
    assert at is not None
    middle, low, high = at
    assert low < 100 * np.exp(2 / 0.3) < high
    assert middle == pytest.approx(100 * np.exp(2 / 0.3), rel=0.2)
    assert overtaking(second, first, 25_600, 2_560_000) is None  # it is already ahead, and stays so
    assert overtaking(first, forecast({100: 0.1}, EXACT), 25_600, 2_560_000) is None
