import torch

from genraven.puzzles import layout
from genraven.puzzles.generate import generate
from genraven.puzzles.masks import last_panel_mask
from genraven.trust.features import FEATURES, agreement, panel_features, same_features


def panel(*objects: tuple[int, int, int, int]) -> torch.Tensor:
    """(1, 3, 9, 9) puzzle whose last panel holds objects (cell, shape, size, color)."""
    tokens = layout.puzzles_to_tokens(generate(3, 0, 1)).clone()
    tokens[:, -9:] = -1
    for cell, *values in objects:
        tokens[0, 72 + cell] = torch.tensor(values, dtype=torch.int8)
    return layout.tokens_to_puzzles(tokens)


def test_features_are_the_sets_of_a_panel() -> None:
    generated = generate(12, 0, 20)
    rows = layout.puzzles_to_rows(generated)
    found = panel_features(generated)
    for b in range(20):
        for p in range(9):
            cells = rows[b].flatten(0, 1)[p]
            filled = [k for k in range(9) if cells[k, 0] >= 0]
            sets = [sum(1 << v for v in {int(cells[k, a]) for k in filled}) for a in range(3)]
            assert found[b, p].tolist() == [*sets, len(filled), sum(1 << k for k in filled)]


def test_a_cell_with_any_empty_channel_is_empty() -> None:
    puzzle = panel((0, 1, 2, 3), (4, 5, -1, 5))
    assert panel_features(puzzle)[0, -1].tolist() == [2, 4, 8, 1, 1]


def test_a_value_out_of_range_is_none_of_those_within() -> None:
    puzzles = generate(0, 0, 1).repeat(3, 1, 1, 1)
    puzzles[:, :, 0, 0] = torch.tensor([[4, 0, 4], [4, -2, 4], [4, 99, 4]])
    of_first = panel_features(puzzles)[:, 0]
    assert not torch.equal(of_first[0], of_first[1])
    assert torch.equal(of_first[1], of_first[2])


def test_agreement_counts_the_other_candidates() -> None:
    a, b, c = panel((0, 1, 2, 3)), panel((4, 1, 2, 5)), panel((4, 1, 2, 3), (5, 2, 2, 3))
    found = agreement(torch.stack([a, b, c], 1), last_panel_mask(1))[0]
    assert dict(zip(FEATURES, found[0].tolist(), strict=True)) == {
        "shapes": 0.5, "sizes": 1.0, "colors": 0.5, "count": 0.5, "cells": 0.0,
    }  # fmt: skip
    assert found.dtype == torch.float64
    assert found[2].tolist() == [0.0, 1.0, 0.5, 0.0, 0.0]
    assert same_features(a, b, last_panel_mask(1)).tolist() == [[1, 1, 0, 1, 0]]


def test_the_order_of_candidates_and_given_panels_do_not_matter() -> None:
    candidates = generate(5, 0, 24).view(4, 6, 3, 9, 9)
    found = agreement(candidates, last_panel_mask(4))
    turned = agreement(candidates.flip(1), last_panel_mask(4))
    assert torch.equal(found, turned.flip(1))
    other = candidates.clone()
    other[..., :6, :] = generate(7, 0, 24).view(4, 6, 3, 9, 9)[..., :6, :]
    assert torch.equal(agreement(other, last_panel_mask(4)), found)
