"""Corrupted training puzzles: as many as asked for, always the same ones, and nothing else touched."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from genraven.errors import InputError
from genraven.puzzles import layout
from genraven.puzzles.corrupt import Corruption, corrupt, corrupted, missing_cells
from genraven.puzzles.generate import BLOCK, generate
from genraven.puzzles.rules import row_rules
from genraven.puzzles.spec import RULE_ID

NUM = 2000
RULES = ("shape.constant", "color.xor", "number.arithmetic+", "position.and")


def puzzles_of(name: str, num: int = NUM) -> Tensor:
    return generate(RULE_ID[name], 0, num)


def changed_puzzles(before: Tensor, after: Tensor) -> Tensor:
    return (before != after).flatten(1).any(1)


def close(num: int, trials: int, fraction: float) -> bool:
    """Within five standard deviations of a binomial."""
    return abs(num - trials * fraction) <= 5 * (trials * fraction * (1 - fraction)) ** 0.5


@pytest.mark.parametrize("name", RULES)
def test_no_corruption_changes_nothing(name: str) -> None:
    puzzles = puzzles_of(name, 50)
    assert not Corruption()
    same = corrupt(puzzles, Corruption(), seed=0, key=(0,))
    assert torch.equal(same, puzzles)
    assert same.data_ptr() != puzzles.data_ptr(), "a copy"


@pytest.mark.parametrize("corruption", [Corruption(cells=0.1), Corruption(exceptions=0.1), Corruption(0.1, 0.1)])
def test_pure_in_seed_and_key_and_the_input_stays(corruption: Corruption) -> None:
    puzzles = puzzles_of("size.or", 200)
    before = puzzles.clone()
    one = corrupt(puzzles, corruption, seed=3, key=(1, 2))
    assert corruption
    assert one.dtype == torch.int8
    assert one.shape == puzzles.shape
    assert torch.equal(puzzles, before)
    assert torch.equal(one, corrupt(puzzles, corruption, seed=3, key=(1, 2)))
    for seed, key in ((4, (1, 2)), (3, (1, 3)), (3, (2, 1)), (3, (1,))):
        assert not torch.equal(one, corrupt(puzzles, corruption, seed=seed, key=key))


@pytest.mark.parametrize("fraction", [0.03, 0.5])
def test_share_of_cells(fraction: float) -> None:
    puzzles = puzzles_of("number.constant")
    corrupted = corrupt(puzzles, Corruption(cells=fraction), seed=0, key=(7,))
    hit = (puzzles != corrupted).any(1)
    assert close(int(hit.sum()), hit.numel(), fraction), "each hit cell gets another content"
    assert torch.equal(layout.canonical(corrupted.movedim(1, -1)), corrupted.movedim(1, -1))
    tokens = layout.puzzles_to_tokens(corrupted)
    assert ((tokens >= -1) & (tokens < torch.tensor([7, 10, 10]))).all()


def test_every_cell_hit_gets_any_of_the_700_others() -> None:
    puzzles = puzzles_of("shape.or")
    corrupted = corrupt(puzzles, Corruption(cells=1.0), seed=0, key=(0,))
    assert (puzzles != corrupted).any(1).all()
    old, new = (layout.tokens_to_states(layout.puzzles_to_tokens(p)).flatten() for p in (puzzles, corrupted))
    steps = torch.bincount((new - old) % 701, minlength=701)
    assert steps[0] == 0
    expected = len(old) / 700
    assert float(((steps[1:] - expected) ** 2 / expected).sum()) < 699 + 5 * (2 * 699) ** 0.5


@pytest.mark.parametrize("name", RULES)
def test_exceptions_follow_no_rule_and_the_others_stay(name: str) -> None:
    puzzles = puzzles_of(name, 800)
    corrupted = corrupt(puzzles, Corruption(exceptions=0.15), seed=0, key=(5,))
    changed = changed_puzzles(puzzles, corrupted)
    assert close(int(changed.sum()), 800, 0.15)
    rules = row_rules(corrupted)
    assert (rules[changed] == 0).all()
    assert (rules[~changed] == 1 << RULE_ID[name]).all()


def test_exceptions_keep_their_first_two_panels_and_borrow_the_third() -> None:
    puzzles = puzzles_of("color.arithmetic-", 150)
    corrupted = corrupt(puzzles, Corruption(exceptions=1.0), seed=0, key=(5,))
    assert changed_puzzles(puzzles, corrupted).all()
    assert (row_rules(corrupted) == 0).all()
    before, after = layout.puzzles_to_rows(puzzles), layout.puzzles_to_rows(corrupted)
    assert torch.equal(before[:, :, :2], after[:, :, :2])
    lent = {tuple(panel) for panel in before.reshape(-1, 27).tolist()}
    assert all(tuple(panel) in lent for panel in after[:, :, 2].reshape(-1, 27).tolist())


def test_both_together() -> None:
    puzzles = puzzles_of("position.xor", 300)
    exceptions = corrupt(puzzles, Corruption(exceptions=0.3), seed=1, key=(0,))
    both = corrupt(puzzles, Corruption(cells=0.02, exceptions=0.3), seed=1, key=(0,))
    hit = (both != exceptions).any(1)
    assert close(int(hit.sum()), hit.numel(), 0.02), "cells are hit in the puzzles that the exceptions left"


def test_no_puzzles() -> None:
    empty = puzzles_of("shape.constant", 0)
    assert corrupt(empty, Corruption(0.5, 0.5), seed=0, key=(0,)).shape == (0, 3, 9, 9)


def test_exceptions_that_cannot_be_made_are_an_error() -> None:
    same = puzzles_of("shape.constant", 1).expand(4, -1, -1, -1).clone()
    rows = layout.puzzles_to_rows(same)
    same = layout.rows_to_puzzles(rows[:, :1].expand(-1, 3, -1, -1, -1))  # every third panel completes every row
    with pytest.raises(InputError, match="got 4 puzzles") as caught:
        corrupt(same, Corruption(exceptions=1.0), seed=0, key=(0,))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("fraction", [-0.1, 1.1, float("nan")])
@pytest.mark.parametrize("name", ["cells", "exceptions"])
def test_shares_lie_between_0_and_1(name: str, fraction: float) -> None:
    with pytest.raises(InputError, match=f"corruption.{name} to be a fraction from 0 to 1") as caught:
        Corruption(**{name: fraction}).check()
    assert "\n" not in str(caught.value)


# Missing cells --------------------------------------------------------------------------------------------------------

MISSING = Corruption(missing=0.3)


def unknown_of(corruption: Corruption, num: int = NUM, start: int = 0, rule: int = 0, seed: int = 0) -> Tensor:
    return missing_cells(start, num, corruption, seed=seed, rule=rule)


@pytest.mark.parametrize("mean", [0.1, 0.3, 0.5])
@pytest.mark.parametrize("name", ["missing", "missing_panels"])
def test_shares_of_unknown_cells_reach_from_0_to_twice_the_mean(name: str, mean: float) -> None:
    unknown = unknown_of(Corruption(**{name: mean}), 3 * NUM)
    panels = layout.mask_to_tokens(unknown).view(-1, 9, 9)
    if name == "missing_panels":
        assert torch.equal(panels.any(-1), panels.all(-1))
    fractions = unknown.flatten(1).double().mean(1)
    parts = 81 if name == "missing" else 9
    spread = (mean**2 / 3 + mean * (1 - mean) / parts) ** 0.5  # of a uniform share, and of the draws given it
    assert abs(float(fractions.mean()) - mean) < 5 * spread / (3 * NUM) ** 0.5
    assert float(fractions.std()) == pytest.approx((mean**2 / 3 + (mean - 4 * mean**2 / 3) / parts) ** 0.5, rel=0.05)
    is_whole = (fractions == 0).double().mean()
    assert float(is_whole) == pytest.approx((1 - (1 - 2 * mean) ** (parts + 1)) / (2 * mean * (parts + 1)), rel=0.3)
    assert is_whole > 0
    assert float(fractions.max()) <= 2 * mean + (0.2 if name == "missing" else 1)


def test_missing_cells_are_pure_in_seed_rule_and_place() -> None:
    long = unknown_of(MISSING, 2 * BLOCK + 10)
    for start, num in ((0, 5), (7, 90), (BLOCK - 3, 6), (BLOCK, BLOCK), (2 * BLOCK, 10), (3, 0)):
        assert torch.equal(unknown_of(MISSING, num, start), long[start : start + num])
    for other in (unknown_of(MISSING, seed=1), unknown_of(MISSING, rule=1), unknown_of(MISSING, start=BLOCK)):
        assert not torch.equal(other[:50], long[:50])
    both = unknown_of(Corruption(missing=0.3, missing_panels=0.2))
    assert torch.equal(both, long[:NUM] | unknown_of(Corruption(missing_panels=0.2))), "each is drawn on its own"


@pytest.mark.parametrize("before", [Corruption(), Corruption(cells=0.1, exceptions=0.3)])
def test_missing_cells_leave_all_else_as_it_is(before: Corruption) -> None:
    puzzles = puzzles_of("shape.xor", 300)
    without = corrupted(puzzles, before, seed=2, rule=7, start=0)
    with_missing = corrupted(puzzles, replace(before, missing=0.3), seed=2, rule=7, start=0)
    assert (without.shape[1], with_missing.shape[1]) == (3, 4)
    cells, unknown = layout.split_missing(with_missing)
    assert unknown is not None
    assert torch.equal(unknown, unknown_of(MISSING, 300, rule=7, seed=2))
    hidden = unknown.unsqueeze(1)
    assert torch.equal(cells, without.masked_fill(hidden, 0)), "nothing of what stood there is kept"
    assert 0 < hidden.double().mean() < 0.6


@pytest.mark.parametrize("fraction", [-0.1, 0.51, float("nan")])
@pytest.mark.parametrize("name", ["missing", "missing_panels"])
def test_shares_of_missing_cells_lie_between_0_and_a_half(name: str, fraction: float) -> None:
    with pytest.raises(InputError, match=f"corruption.{name} to be a fraction from 0 to 0.5, got {fraction}") as caught:
        Corruption(**{name: fraction}).check()
    assert "\n" not in str(caught.value)
