"""What likelihoods decide: a bound above another's exact value nothing, one below it does."""

from dataclasses import replace

import pytest
from tables import repeats, result

from genraven.report.likelihood import decided, likelihood
from genraven.report.points import Variant, variants
from genraven.report.runs import Number


def model(family: str, nats: float, *, is_bound: bool, num: int = 3) -> Variant:
    runs = [
        replace(
            one, results=(replace(result(0.5), numbers={"nats_per_cell": Number(nats + 0.01 * i, 0.01, is_bound)}),)
        )
        for i, one in enumerate(repeats(family, 400, 0.5))
    ]
    return variants(runs[:num])[0]


@pytest.mark.parametrize(
    ("first", "second", "says"),
    [
        ((2.0, False), (3.0, True), "the bound lies above the other's exact value, which decides nothing"),
        (
            (3.0, False),
            (2.0, True),
            "SiT, 10 M parameters has the higher likelihood, because even its bound lies below",
        ),
        ((2.0, False), (3.0, False), "GPT-2, 10 M parameters has the higher likelihood, and both are exact"),
        ((2.0, True), (3.0, True), "two bounds decide nothing"),
        ((2.0, False), (2.005, True), "no sure difference"),
    ],
)
def test_bounds(first: tuple[float, bool], second: tuple[float, bool], says: str) -> None:
    a = model("autoregressive", first[0], is_bound=first[1])
    b = model("diffusion", second[0], is_bound=second[1])
    assert says in decided(a, b, 400)
    table, items = likelihood([a, b], 400)
    assert len(table.rows) == 2  # type: ignore[union-attr]
    assert says in items.items[0].text  # type: ignore[union-attr]


def test_three_repeats_or_no_verdict() -> None:
    a, b = model("autoregressive", 3.0, is_bound=False), model("diffusion", 2.0, is_bound=True, num=2)
    assert "no verdict" in decided(a, b, 400)


def test_many_pairs_are_decided_together() -> None:
    """One by itself is sure, of twenty it is not."""
    a, b = model("autoregressive", 2.05, is_bound=False), model("diffusion", 2.0, is_bound=False)
    assert "has the higher likelihood" in decided(a, b, 400)
    assert "no sure difference" in decided(a, b, 400, num_pairs=20)
    others = [replace(one, label=f"GPT-2 {i}") for i, one in enumerate([a] * 20)]
    table, items = likelihood([*others, b], 400)
    assert len(items.items) == 20 and all("no sure difference" in item.text for item in items.items)  # type: ignore[union-attr]
    assert "corrected for 20 pairs" in table.caption  # type: ignore[union-attr]
