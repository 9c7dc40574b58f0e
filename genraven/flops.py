"""What a network costs: floating-point operations of a puzzle, and the peak of the devices that do them.

Counted is what multiplies matrices: linear layers, convolutions, attention (the whole square, also where it is causal)
and a scan's sums over its states, 2 operations a multiplication. Not counted is what goes element by element, in any
network: norms, activations, softmax, and the recurrence of a scan, which takes about 5 a state on the way there (less
than 3% of Mamba's other work in the study's sizes). Nor is what is computed anew on the way back.
"""

import copy
import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from genraven.networks.cells import LearnsCells, LearnsMaskedCells
from genraven.networks.compiling import uncompile
from genraven.puzzles.spec import TOKENS_PER_PUZZLE

TERA = 1e12
PRECISIONS = {"bf16": 0, "16": 1, "32": 2}
PEAKS: dict[str, tuple[float | None, float | None, float]] = {
    # Dense TFLOP/s in bf16, in fp16, and in float32 as it is trained here: TF32 where there is one (NVIDIA's data
    # sheets, many of which print figures with sparsity, twice as high). The first name that fits counts.
    r"H200 NVL": (835, 835, 417),
    r"H200": (989, 989, 494),
    r"H100 PCIe": (756, 756, 378),
    r"H100 NVL": (835, 835, 417),
    r"H100.*(HBM3|SXM)": (989, 989, 494),
    r"A100": (312, 312, 156),
    r"A10": (125, 125, 62.5),
    r"L40S": (362, 362, 183),
    r"L4": (121, 121, 60),
    r"RTX 4090(?! (Laptop|D))": (165, 165, 82.6),
    r"V100-SXM2": (None, 125, 15.7),
    r"V100-PCIE": (None, 112, 14),
    r"T4": (None, 65, 8.1),
}


@dataclass(frozen=True)
class PuzzleFlops:
    """Floating-point operations that a network spends on one puzzle."""

    forward: int
    """One pass through the network."""
    training: int
    """What a step does with it: that pass, or a network's own of training, and the way back."""


def count_flops(network: nn.Module, training_pass: Callable[..., Tensor] | None = None) -> PuzzleFlops | None:
    """Counted by torch on shapes alone, without memory or arithmetic; None for a network that says not what it reads.

    On a CPU torch counts attention as nothing; on the meta device it does not.

    Args:
        network: says by ``example_inputs`` what it reads.
        training_pass: what a method's step has a network do with that which has no training of its own, as
            ``Method.training_pass``; None is to read it.
    """
    example_inputs = getattr(network, "example_inputs", None)
    if example_inputs is None:
        return None
    # Both in float32: the network may be in less than its examples are.
    inputs = [x.float() if x.is_floating_point() else x for x in example_inputs(TOKENS_PER_PUZZLE, "meta")]
    weights = {id(p): nn.Parameter(p.detach().to("meta"), p.requires_grad) for p in network.parameters()}
    buffers = {id(b): b.to("meta") for b in network.buffers()}
    shapes = copy.deepcopy(network, weights | buffers).float()
    uncompile(shapes)
    backward = torch.ops.aten.convolution_backward
    # A look for nan, where the training has one, needs values, and shapes have none.
    with torch.enable_grad(), torch.autograd.set_detect_anomaly(False):
        with FlopCounterMode(display=False, custom_mapping={backward: _convolution_backward}) as count:
            shapes(*inputs)
        forward = count.get_total_flops()
        with FlopCounterMode(display=False, custom_mapping={backward: _convolution_backward}) as count:
            if isinstance(shapes, LearnsCells | LearnsMaskedCells):
                own: Any = shapes.training_losses
                output = own(*shapes.example_training_inputs(TOKENS_PER_PUZZLE, "meta"))
            else:
                output = shapes(*inputs) if training_pass is None else training_pass(shapes, *inputs)
            output.backward(torch.empty_like(output))
        return PuzzleFlops(forward, count.get_total_flops())


def _convolution_backward(
    grad: Any, x: Any, weight: Any, _bias: Any, _stride: Any, _padding: Any, _dilation: Any, transposed: bool,
    _output_padding: Any, _groups: int, mask: list[bool], out_shape: Any = None, **kwargs: Any,
) -> int:  # fmt: skip
    """As often again as the way there, for each of input and weights; torch's own takes groups for none."""
    places = math.prod((x if transposed else grad)[2:]) * grad[0]
    return 2 * places * math.prod(weight) * (mask[0] + mask[1])


def peak_flops(device: str, precision: str) -> float | None:
    """Dense peak of a device by its name, a second; None where it is not known.

    Args:
        device: as CUDA names it.
        precision: the trainer's, such as ``bf16-mixed``.
    """
    column = PRECISIONS.get(precision.partition("-")[0])
    row = next((row for name, row in PEAKS.items() if re.search(rf"\b{name}\b(?!.*\bMIG\b)", device)), None)
    peak = row[column] if row is not None and column is not None else None
    return TERA * peak if peak is not None else None
