"""Dropout by a hash: as F.dropout in distribution."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from genraven.networks.dropout import dropout

SHAPE = (50, 40, 9, 9)  # 162 000 numbers


@pytest.mark.parametrize("compiled", [False, True])
@pytest.mark.parametrize("fraction", [0.1, 0.13, 0.5])
def test_drops_a_share_of_numbers_that_do_not_hang_together(fraction: float, compiled: bool) -> None:
    drop: Callable[..., Tensor] = torch.compile(dropout) if compiled else dropout
    torch.manual_seed(0)
    written = torch.stack([drop(torch.ones(SHAPE), fraction).flatten() for _ in range(20)])
    assert written.unique().tolist() == pytest.approx([0, 1 / (1 - fraction)])
    is_dropped = (written == 0).double()
    variance = fraction * (1 - fraction)
    standard = (is_dropped - fraction) / variance**0.5  # of mean 0 and variance 1, if all is well
    num = standard[0].numel()
    assert abs(standard.mean()) < 5 / (20 * num) ** 0.5
    assert standard.mean(1).square().mean() * num == pytest.approx(1, abs=1.6)  # masks differ as chance would have it
    assert standard.mean(0).var() * 20 == pytest.approx(1, abs=0.03)  # and places
    for lag in (1, 2, 8, 9, 81, 3240, 65_536):
        assert abs((standard[0, lag:] * standard[0, :-lag]).mean()) < 5 / num**0.5
    for other in range(1, 20):
        assert abs((standard[0] * standard[other]).mean()) < 5 / num**0.5


def test_is_drawn_from_torchs_generator() -> None:
    x = torch.randn(3, 5)
    torch.manual_seed(1)
    first, second = dropout(x, 0.5), dropout(x, 0.5)
    torch.manual_seed(1)
    assert torch.equal(dropout(x, 0.5), first)
    assert not torch.equal(first, second)


def test_leaves_alone_what_is_not_trained_and_gradients_of_what_is_kept() -> None:
    x = torch.randn(4, 100, requires_grad=True)
    assert torch.equal(dropout(x, 0.5, training=False), x)
    assert torch.equal(dropout(x, 0.0), x)
    assert not dropout(x, 1.0).any()
    written = dropout(x, 0.5)
    (gradient,) = torch.autograd.grad(written.sum(), x)
    assert torch.equal(gradient, 2.0 * (written != 0))
    assert dropout(x.detach().bfloat16(), 0.5).dtype == torch.bfloat16
