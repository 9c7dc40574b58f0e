"""An order that is computed is an order: every number once, and any number anywhere."""

import tracemalloc

import numpy as np
import pytest

from datamodules.batches import LISTED, choices_of, order_of
from genraven.puzzles.generate import Draws
from genraven.puzzles.permutation import KeyedChoices, KeyedPermutation


@pytest.mark.parametrize("size", [1, 2, 3, 5, 64, 65, 1000, 70_001])
def test_every_number_comes_once(size: int) -> None:
    found = KeyedPermutation(Draws(0, "order", 1), size)[np.arange(size)]
    assert np.array_equal(np.sort(found), np.arange(size))


def test_a_place_has_its_number_whatever_is_asked_for_besides() -> None:
    order, indices = KeyedPermutation(Draws(0, "order", 1), 1000), np.array([7, 999, 0])
    assert np.array_equal(order[indices], order[np.arange(1000)][indices])


def test_each_number_is_anywhere_as_often_as_elsewhere() -> None:
    """Of 4 000 orders of 7 numbers; a chi-square of 36 degrees of freedom is below 80 in all but 4 of 100 000."""
    counts = np.zeros((7, 7))
    pairs = np.zeros((7, 7))
    for key in range(4000):
        order = KeyedPermutation(Draws(3, "order", key), 7)[np.arange(7)]
        counts[np.arange(7), order] += 1
        pairs[order[0], order[1]] += 1
    expected = 4000 / 7
    assert ((counts - expected) ** 2 / expected).sum() * 6 / 7 < 80
    apart = pairs[~np.eye(7, dtype=bool)]
    assert ((apart - 4000 / 42) ** 2 / (4000 / 42)).sum() < 90


def test_neighbours_of_a_large_order_are_unrelated() -> None:
    found = KeyedPermutation(Draws(0, "order", 1), 10_000_000)[np.arange(20_000)]
    assert abs(np.corrcoef(found[:-1], found[1:])[0, 1]) < 0.03  # four standard errors
    assert abs(found.mean() / 10_000_000 - 0.5) < 0.01


def test_choices_are_as_likely_as_each_other() -> None:
    counts = np.bincount(KeyedChoices(Draws(0, "rows", 1), 6)[np.arange(60_000)], minlength=6)
    assert ((counts - 10_000) ** 2 / 10_000).sum() < 30


def test_a_hundred_million_puzzles_take_no_memory() -> None:
    tracemalloc.start()
    order, rows = order_of(Draws(0, "order", 0), 10**8), choices_of(Draws(0, "rows", 0), 10**8)
    assert len(np.unique(order[np.arange(1000)])) == 1000 and rows[np.arange(1000)].max() == 5
    assert tracemalloc.get_traced_memory()[1] < 1_000_000
    tracemalloc.stop()


def test_the_orders_of_studies_are_lists_as_ever() -> None:
    listed = order_of(Draws(0, "order", 0), 1000)
    assert np.array_equal(listed, Draws(0, "order", 0).permutation(1000))  # type: ignore[arg-type]
    assert isinstance(order_of(Draws(0, "order", 0), LISTED + 1), KeyedPermutation)
