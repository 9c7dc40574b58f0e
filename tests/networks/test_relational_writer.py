"""The writer of relational networks: how surely cells are filled by what is left of a panel."""

import pytest
import torch

from genraven.networks.relational import Context
from genraven.networks.relational_writer import LEAST_FRACTION, Writer, log_odds


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
def test_cells_that_must_all_be_filled_are_so_nearly_surely_in_any_precision(dtype: torch.dtype) -> None:
    left = torch.arange(1, 10, dtype=dtype)
    for objects, fraction in ((left, 1 - LEAST_FRACTION), (0 * left, LEAST_FRACTION), (left / 2, 0.5)):
        found = log_odds(objects, left).sigmoid()
        torch.testing.assert_close(found, torch.full((9,), fraction), atol=1e-6, rtol=1e-3)


@pytest.mark.parametrize("number", range(1, 10))
def test_how_surely_a_cell_is_filled_is_not_rounded_with_the_states(number: int) -> None:
    """In a panel whose number is all but known nearly all of its cells may be filled, or nearly none."""
    writer = Writer(
        width=8, hidden=8, occupancy=4, symbols=(8, 11, 11), num_cells=9, num_values=10, num_features=0, by_cell=True,
        shared_attributes=True, value_path=False,
    )  # fmt: skip
    sets = torch.full((1, 1, 5, 10), -5.0)
    sets[..., 3, number] = 2.0  # exact in bfloat16
    left = torch.tensor([9])

    def odds(dtype: torch.dtype) -> torch.Tensor:
        like = torch.zeros((), dtype=dtype)
        context = Context(like.new_zeros(1, 1, 5, 8), sets.to(dtype), like.new_zeros(1, 1, 5, 10, 4), None)
        seen, features = like.new_zeros(1, 1, 1, 5, 10), like.new_zeros(1, 1, 1, 0)
        hidden = writer.to(dtype).hidden(context, seen, features, left, slice(0, 1))
        return log_odds(hidden.objects, hidden.left)

    torch.testing.assert_close(odds(torch.bfloat16), odds(torch.float32), atol=0.02, rtol=0)
