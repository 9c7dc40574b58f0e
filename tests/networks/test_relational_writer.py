"""The writer of relational networks: how surely cells are filled by what is left of a panel."""

import pytest
import torch

from genraven.networks.relational_writer import LEAST_FRACTION, log_odds


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
def test_cells_that_must_all_be_filled_are_so_nearly_surely_in_any_precision(dtype: torch.dtype) -> None:
    left = torch.arange(1, 10, dtype=dtype)
    for objects, fraction in ((left, 1 - LEAST_FRACTION), (0 * left, LEAST_FRACTION), (left / 2, 0.5)):
        found = log_odds(objects, left).sigmoid()
        torch.testing.assert_close(found, torch.full((9,), fraction), atol=1e-6, rtol=1e-3)
