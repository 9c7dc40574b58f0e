"""What networks are built with, out of its range, is named in a line."""

from collections.abc import Callable
from typing import Any

import pytest
from torch import nn

from genraven.errors import InputError
from genraven.networks.any_order import AnyOrderTransformer
from genraven.networks.axial import AxialMasked, AxialTransformer
from genraven.networks.bidirectional import BidirectionalTransformer
from genraven.networks.block import BlockTransformer
from genraven.networks.dit import DiT
from genraven.networks.mamba import Mamba
from genraven.networks.relational_ar import RelationalAR
from genraven.networks.relational_masked import RelationalMasked
from genraven.networks.relational_soft import RelationalSoft
from genraven.networks.transformer import Transformer
from genraven.networks.unet import UNet

SIZES = {"width": 36, "depth": 1, "num_heads": 3}
MAKERS: list[tuple[Callable[..., nn.Module], dict[str, int]]] = [
    *((make, SIZES) for make in (Transformer, AnyOrderTransformer, AxialTransformer, AxialMasked)),
    *((make, SIZES) for make in (BidirectionalTransformer, BlockTransformer)),
    (Mamba, {"width": 36, "depth": 1, "state_size": 2, "expand": 2, "span": 4}),
    (DiT, {**SIZES, "patch": 3, "in_channels": 3, "out_channels": 3, "side": 9}),
    (UNet, {"channels": 8, "num_blocks": 1, "factor": 3, "in_channels": 3, "out_channels": 3, "side": 9}),
    *(
        (make, {"width": 12, "hidden": 8, "writer": 8, "occupancy": 8, "num_heads": 2})
        for make in (RelationalAR, RelationalMasked, RelationalSoft)
    ),
]
DROPS = [*(make for make, sizes in MAKERS if sizes is SIZES), UNet]


@pytest.mark.parametrize(("make", "sizes"), MAKERS)
def test_sizes_below_one_are_refused(make: Callable[..., nn.Module], sizes: dict[str, Any]) -> None:
    make(**sizes)
    for name in sizes:
        for value in (-4,) if name == "depth" else (0, -4):
            with pytest.raises(InputError, match=f"^expected {name} to be [01] or more, got {value}.$"):
                make(**{**sizes, name: value})
        with pytest.raises(InputError, match=f"^expected {name} to be a whole number, got 2.5.$"):
            make(**{**sizes, name: 2.5})
    with pytest.raises(InputError, match=r"^expected num_labels to be 0 or more, got -1.$"):
        make(**sizes, num_labels=-1)


@pytest.mark.parametrize("make", [RelationalAR, RelationalMasked, RelationalSoft])
def test_fewer_than_no_mixing_blocks_are_refused(make: Callable[..., nn.Module]) -> None:
    with pytest.raises(InputError, match=r"^expected mixing to be 0 or more, got -1.$"):
        make(mixing=-1)


@pytest.mark.parametrize("value", [-1.0, float("inf"), float("nan")])
@pytest.mark.parametrize("make", [RelationalAR, RelationalMasked])
def test_a_second_target_of_a_weight_that_is_none_is_refused(make: Callable[..., nn.Module], value: float) -> None:
    with pytest.raises(InputError, match=f"^expected set_weight of 0 or more, got {value}: 0 leaves"):
        make(set_weight=value)


@pytest.mark.parametrize("value", [-0.5, 1.0, 10.0, float("nan")])
@pytest.mark.parametrize("make", DROPS)
def test_a_dropout_that_is_none_is_refused(make: Callable[..., nn.Module], value: float) -> None:
    with pytest.raises(InputError, match=f"^expected dropout from 0 to below 1, got {value}.$"):
        make(dropout=value)
