"""How many of the generated puzzles are different."""

import torch
from torch import Tensor

from genraven.metrics.memorization import TrainingIndex
from genraven.metrics.scores import Scores
from genraven.metrics.variety import Variety
from genraven.puzzles import layout
from genraven.puzzles.generate import generate

INDEX = TrainingIndex.build(generate(0, 0, 2000))
NEW = generate(0, 0, 8, split="test")


def hits(*parts: Tensor, index: TrainingIndex | None = INDEX) -> dict[str, tuple[int, int]]:
    """Hits and totals of ``parts`` of batches."""
    variety = Variety(index)
    for part in parts:
        variety.update(part)
    return {name: (int(rate.hits), int(rate.total)) for name, rate in variety.compute()["rates"].items()}


def of_one_row(puzzles: Tensor) -> Tensor:
    """The first row three times."""
    return layout.rows_to_puzzles(layout.puzzles_to_rows(puzzles)[:, :1].expand(-1, 3, -1, -1, -1).contiguous())


def test_one_puzzle_again_and_again_is_one() -> None:
    scores = Scores((0,), INDEX)
    scores.add_generated(NEW[:1].expand(300, -1, -1, -1).contiguous())
    rates = {name: rate.value.item() for name, rate in scores.compute().rates.items()}
    assert rates["novel_c3"] == 1
    assert rates["different_puzzles"] == rates["different_novel_c3"] == 1 / 300
    assert rates["different_rows"] == 1 / 300


def test_copies_count_once_over_batches_and_in_any_order_of_rows() -> None:
    turned = layout.rows_to_puzzles(layout.puzzles_to_rows(NEW).roll(1, 1))
    assert hits(NEW) == {"different_puzzles": (8, 8), "different_rows": (24, 24), "different_novel_c3": (8, 8)}
    assert hits(NEW, turned, NEW[:3]) == {
        "different_puzzles": (8, 19), "different_rows": (24, 57), "different_novel_c3": (8, 19)
    }  # fmt: skip


def test_one_row_three_times_is_no_new_puzzle() -> None:
    found = hits(of_one_row(NEW))
    assert found == {"different_puzzles": (8, 8), "different_rows": (8, 24), "different_novel_c3": (0, 8)}


def test_what_is_known_or_of_no_rule_is_not_new() -> None:
    """Of half of it one new puzzle and of half different noise, each kind alone would look well."""
    states = torch.randint(701, (8, 81), generator=torch.Generator().manual_seed(0))
    noise = layout.tokens_to_puzzles(layout.states_to_tokens(states))
    found = hits(NEW[:1].expand(8, -1, -1, -1).contiguous(), noise.to(NEW.dtype), generate(0, 0, 8))
    assert found["different_puzzles"] == (17, 24)
    assert found["different_novel_c3"] == (1, 24)


def test_a_stream_has_different_puzzles_and_nothing_to_be_new_against() -> None:
    assert hits(NEW, index=None).keys() == {"different_puzzles", "different_rows"}
