"""What a network computes in is read off it and torch, as Lightning's precisions leave them."""

import pytest
import torch
from lightning.pytorch.plugins.precision import DoublePrecision, HalfPrecision, MixedPrecision, Precision
from torch import nn

from genraven.networks.compiling import compile_blocks
from genraven.trust.numerics import numerics_of

PLUGINS = {
    "32-true": Precision(),
    "64-true": DoublePrecision(),
    "bf16-true": HalfPrecision("bf16-true"),
    "16-true": HalfPrecision("16-true"),
    "bf16-mixed": MixedPrecision("bf16-mixed", "cpu"),
}


@pytest.mark.parametrize("precision", PLUGINS)
def test_each_precision_is_recognised_where_it_is_at_work(precision: str) -> None:
    network = PLUGINS[precision].convert_module(nn.Linear(2, 2))
    with PLUGINS[precision].val_step_context():
        found = numerics_of(network)
    assert found == {
        "numerics": {"precision": precision, "tf32": False, "compiled": False}, "device_type": "cpu",
    }  # fmt: skip
    if precision != "32-true":
        assert numerics_of(network)["numerics"]["precision"] != precision


def test_mixtures_without_a_name_and_compiled_blocks_are_told() -> None:
    network = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2).double())
    assert numerics_of(network)["numerics"]["precision"] == "32-true and 64-true"
    with torch.autocast("cpu", torch.bfloat16):
        assert numerics_of(network)["numerics"]["precision"] == "32-true and 64-true and bf16-mixed"
    compile_blocks(network, backend="eager")
    assert numerics_of(network)["numerics"]["compiled"]
