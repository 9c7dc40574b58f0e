"""Copies and training puzzles are found by what a model sees of them."""

import torch
from torch import Tensor

from genraven.puzzles import layout
from genraven.puzzles.generate import generate
from genraven.puzzles.masks import last_panel_mask
from genraven.trust.independence import first_of_copies, given_cells, were_trained

MASK = last_panel_mask(1)[0]


def in_order(puzzles: Tensor, *order: int) -> Tensor:
    return layout.rows_to_puzzles(layout.puzzles_to_rows(puzzles)[:, list(order)])


def with_other_answers(puzzles: Tensor) -> Tensor:
    return torch.where(MASK, puzzles.roll(1, 0), puzzles)


def test_a_copy_has_the_same_rows_in_any_order_or_asks_the_same() -> None:
    one = torch.cat([generate(rule, 0, 5) for rule in (0, 10, 37)])
    assert first_of_copies(one).all()
    for other in (one, in_order(one, 2, 0, 1), with_other_answers(one)):
        both = torch.cat([one, other])
        firsts = first_of_copies(both, given_cells(both, MASK.expand(len(both), -1, -1)))
        assert firsts.tolist() == [True] * len(one) + [False] * len(one)
    assert first_of_copies(torch.cat([one, with_other_answers(one)])).all()  # as whole puzzles they differ


def test_a_chain_of_copies_is_one() -> None:
    """A copy of what was left out is left out as well."""
    one = generate(0, 0, 2)[:1]
    chain = torch.cat([one, (turned := in_order(one, 1, 2, 0)), torch.where(MASK, generate(0, 1, 1), turned)])
    assert first_of_copies(chain, given_cells(chain, MASK.expand(3, -1, -1))).tolist() == [True, False, False]


def test_training_puzzles_are_found_in_another_order_among_others_and_with_another_answer() -> None:
    trained = torch.cat([generate(rule, 0, 20) for rule in (0, 10, 37)])
    rows = layout.puzzles_to_rows(trained)
    mixed = layout.rows_to_puzzles(torch.stack([rows[:, 0], rows.roll(1, 0)[:, 1], rows.roll(2, 0)[:, 2]], 1))
    new = generate(0, 0, 20, split="val")
    half_new = torch.where(torch.arange(9)[:, None] < 3, new, trained[:20])  # a row is new
    parts = trained.split(7)
    for seen in (trained, in_order(trained, 1, 2, 0), mixed, with_other_answers(trained)):
        assert were_trained(seen, MASK, parts).all()
    assert not were_trained(torch.cat([new, half_new]), MASK, parts).any()
    column = torch.zeros(9, 9, dtype=torch.bool)
    column[:6, 6:] = True  # two open answers
    assert were_trained(torch.where(column, 0, trained), column, parts).all()
    assert not were_trained(torch.where(column, 0, trained), MASK, parts).any()
    assert not were_trained(new, column, parts).any()
