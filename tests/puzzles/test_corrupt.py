"""Spoilt training puzzles: as many as asked for, always the same ones, and nothing else touched."""

import pytest
import torch
from torch import Tensor

from genraven.errors import InputError
from genraven.puzzles import layout
from genraven.puzzles.corrupt import Corruption, corrupt
from genraven.puzzles.generate import generate
from genraven.puzzles.rules import row_rules
from genraven.puzzles.spec import RULE_ID

NUM = 2000
RULES = ("shape.constant", "color.xor", "number.arithmetic+", "position.and")


def puzzles_of(name: str, num: int = NUM) -> Tensor:
    return generate(RULE_ID[name], 0, num)


def changed_puzzles(before: Tensor, after: Tensor) -> Tensor:
    return (before != after).flatten(1).any(1)


def close(num: int, trials: int, share: float) -> bool:
    """Within five standard deviations of a binomial."""
    return abs(num - trials * share) <= 5 * (trials * share * (1 - share)) ** 0.5


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


@pytest.mark.parametrize("share", [0.03, 0.5])
def test_share_of_cells(share: float) -> None:
    puzzles = puzzles_of("number.constant")
    spoilt = corrupt(puzzles, Corruption(cells=share), seed=0, key=(7,))
    hit = (puzzles != spoilt).any(1)
    assert close(int(hit.sum()), hit.numel(), share), "each hit cell gets another content"
    assert torch.equal(layout.canonical(spoilt.movedim(1, -1)), spoilt.movedim(1, -1))
    tokens = layout.puzzles_to_tokens(spoilt)
    assert ((tokens >= -1) & (tokens < torch.tensor([7, 10, 10]))).all()


def test_every_cell_hit_gets_any_of_the_700_others() -> None:
    puzzles = puzzles_of("shape.or")
    spoilt = corrupt(puzzles, Corruption(cells=1.0), seed=0, key=(0,))
    assert (puzzles != spoilt).any(1).all()
    old, new = (layout.tokens_to_states(layout.puzzles_to_tokens(p)).flatten() for p in (puzzles, spoilt))
    steps = torch.bincount((new - old) % 701, minlength=701)
    assert steps[0] == 0
    expected = len(old) / 700
    assert float(((steps[1:] - expected) ** 2 / expected).sum()) < 699 + 5 * (2 * 699) ** 0.5


@pytest.mark.parametrize("name", RULES)
def test_exceptions_follow_no_rule_and_the_others_stay(name: str) -> None:
    puzzles = puzzles_of(name, 800)
    spoilt = corrupt(puzzles, Corruption(exceptions=0.15), seed=0, key=(5,))
    changed = changed_puzzles(puzzles, spoilt)
    assert close(int(changed.sum()), 800, 0.15)
    rules = row_rules(spoilt)
    assert (rules[changed] == 0).all()
    assert (rules[~changed] == 1 << RULE_ID[name]).all()


def test_exceptions_keep_their_first_two_panels_and_borrow_the_third() -> None:
    puzzles = puzzles_of("color.arithmetic-", 150)
    spoilt = corrupt(puzzles, Corruption(exceptions=1.0), seed=0, key=(5,))
    assert changed_puzzles(puzzles, spoilt).all()
    assert (row_rules(spoilt) == 0).all()
    before, after = layout.puzzles_to_rows(puzzles), layout.puzzles_to_rows(spoilt)
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


@pytest.mark.parametrize("share", [-0.1, 1.1, float("nan")])
@pytest.mark.parametrize("name", ["cells", "exceptions"])
def test_shares_lie_between_0_and_1(name: str, share: float) -> None:
    with pytest.raises(InputError, match=f"corruption.{name} to be a share from 0 to 1") as caught:
        Corruption(**{name: share}).check()
    assert "\n" not in str(caught.value)
