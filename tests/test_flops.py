"""What torch counts against closed forms, written out per layer: 2 operations a multiplication, back twice as many."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from genraven.flops import _convolution_backward, count_flops, peak_flops
from genraven.networks.compiling import compile_blocks
from genraven.networks.dit import DiT
from genraven.networks.mamba import Mamba
from genraven.networks.relational_ar import RelationalAR
from genraven.networks.relational_masked import RelationalMasked
from genraven.networks.transformer import Transformer
from genraven.networks.unet import Block, UNet
from launch.configs.identity import build

CONFIGS = Path(__file__).parents[1] / "launch" / "configs" / "model"
CLASSES: dict[str, type[nn.Module]] = {cls.__name__: cls for cls in (DiT, UNet, Mamba, Transformer)}
PRESETS = ["dit_tiny", "dit_s3", "sit_s", "edm_tiny", "edm_base", "gpt2_tiny", "gpt2_base_joint", "mamba_tiny",
           "mamba_base"]  # fmt: skip
TINY = sorted(path.stem for path in CONFIGS.glob("*_tiny.yaml"))
COUNTER = FlopCounterMode(
    display=False, custom_mapping={torch.ops.aten.convolution_backward: _convolution_backward}
)  # as counted
L = 81


class MetaDraw:
    """Random numbers for three puzzles, of a device without numbers."""

    def __call__(self, distribution: Callable[..., Tensor], *shape: int) -> Tensor:
        return distribution((3, *shape), device="meta")

    def spread(self) -> Tensor:
        return torch.rand(3, device="meta")


def preset(name: str) -> nn.Module:
    """The network of a shipped config, without memory for its weights."""
    network = yaml.safe_load((CONFIGS / f"{name}.yaml").read_text())["model"]["init_args"]["network"]
    with torch.device("meta"):
        return CLASSES[network["class_path"].rsplit(".", 1)[-1]](**network["init_args"])


def heads(network: Any) -> int:
    """Multiplications of the heads."""
    return L * sum(network.width // len(network.head_sizes) * size for size in network.head_sizes)


def transformer(network: Any) -> tuple[int, int]:
    """Multiplications there and back; attention's square is whole."""
    d = network.width
    there = len(network.blocks) * (12 * L * d**2 + 2 * L**2 * d) + heads(network)
    return there, 2 * there


def mamba(network: Any) -> tuple[int, int]:
    d, block = network.width, network.blocks[0]
    e, n, k, rank = 2 * d, block.state_size, block.span, block.rank
    linear = L * (d * 2 * e + e * (rank + 2 * n) + rank * e + e * d)
    convolution, read = L * e * k, L * e * n
    # Back through the scan there are three sums over states or channels for the one on the way there.
    there = len(network.blocks) * (linear + convolution + read) + heads(network)
    back = len(network.blocks) * (2 * linear + 2 * convolution + 3 * read) + 2 * heads(network)
    return there, back


def dit(network: Any) -> tuple[int, int]:
    d, p = network.norm.normalized_shape[0], network.patch
    tokens = (9 // p) ** 2
    block = 12 * tokens * d**2 + 2 * tokens**2 * d + 6 * d**2
    inputs = tokens * network.in_channels * p**2 * d + network.num_frequencies * d
    rest = d**2 + 2 * d**2 + tokens * d * network.out.out_features
    there = len(network.blocks) * block + rest + inputs
    return there, 2 * there - inputs  # nobody asks for the gradient of what is read


def unet(network: Any) -> tuple[int, int]:
    side = 9

    def block(part: Block, before: int) -> int:
        size = round(before * part.scale)
        c_in, c_out, area = part.convolution1.in_channels, part.channels_out, size**2
        products = 9 * area if size > 1 else 1  # of one cell only the kernel's centre
        repeated = before**2 * (25 if before > 1 else 9)  # each reaches 5 x 5 cells; when alone, the picture
        total = (repeated if part.scale > 1 else products) * c_in * c_out + products * c_out**2
        total += part.condition.in_features * c_out
        total += min(before, size) ** 2 * c_in * c_out if isinstance(part.skip, nn.Conv2d) else 0
        return total + (4 * area * c_out**2 + 2 * area**2 * c_out if part.attends else 0)

    there = 0
    for part in network.encoder:
        there += block(part, side)
        side = round(side * part.scale)
    there += sum(block(part, side) for part in network.middle)
    for level, merging in enumerate(network.decoder):
        if level:
            there += block(network.up[level - 1], side)
            side *= 3
        there += sum(block(part, side) for part in merging)
    c = network.channels
    first, time_in = 81 * 9 * network.in_channels * c, c * 4 * c
    there += first + time_in + (4 * c) ** 2 + 81 * 9 * network.out.in_channels * network.out.out_channels
    return there, 2 * there - first - time_in


CLOSED = {Transformer: transformer, Mamba: mamba, DiT: dit, UNet: unet}


@pytest.mark.parametrize("name", PRESETS)
def test_the_count_is_the_closed_form(name: str) -> None:
    network = preset(name)
    there, back = CLOSED[type(network)](network)  # type: ignore[index]
    counted = count_flops(network)
    assert counted is not None
    assert counted.forward == pytest.approx(2 * there, rel=0.01)
    assert counted.training == pytest.approx(2 * (there + back), rel=0.01)


@pytest.mark.parametrize("name", TINY)
def test_a_training_step_does_what_is_counted(name: str) -> None:
    """As the method takes it, whatever pass of training the network has of its own; on shapes alone."""
    config = yaml.safe_load((CONFIGS / f"{name}.yaml").read_text())
    config["data"] = {"rules": [4], "held_out": "none", "samples_per_rule": 4, "global_batch_size": 4}
    model, puzzles = build(config)[0].to("meta").train(), torch.zeros(3, 3, 9, 9, dtype=torch.int8, device="meta")
    counted = count_flops(model.network, model.method.training_pass)
    assert counted is not None
    assert counted.forward < counted.training
    with COUNTER as count:
        model.losses(puzzles, None, MetaDraw()).sum().backward()
    assert count.get_total_flops() == 3 * counted.training


@pytest.mark.parametrize("network", [RelationalAR, RelationalMasked])
def test_the_training_of_a_compiled_network_is_counted_the_same(network: type[RelationalAR | RelationalMasked]) -> None:
    made = network(width=16, hidden=24, num_heads=2)
    before = count_flops(made)
    compile_blocks(made, backend="eager")
    assert count_flops(made) == before
    assert before is not None
    assert before.training < 3 * before.forward if network is RelationalAR else before.training > 2 * before.forward


def test_cells_of_one_row_are_less_work_than_those_of_all() -> None:
    one, every = (count_flops(RelationalAR(one_row=one_row)) for one_row in (True, False))
    assert one is not None and every is not None
    assert one.forward == every.forward
    assert one.training < every.training


def test_what_a_scan_does_element_by_element_is_little() -> None:
    """Five operations a state and position on the way there that are not counted, as the module says."""
    network: Any = preset("mamba_base")
    elementwise = 5 * L * len(network.blocks) * 2 * network.width * network.blocks[0].state_size
    assert elementwise < 0.03 * 2 * mamba(network)[0]


def test_the_network_is_left_as_it_was() -> None:
    network = Transformer(width=24, depth=1, num_heads=2)
    before = [p.clone() for p in network.parameters()]
    assert count_flops(network) == count_flops(network)
    assert all(torch.equal(a, b) and a.grad is None for a, b in zip(network.parameters(), before, strict=True))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
@pytest.mark.parametrize("name", ["dit_tiny", "edm_tiny", "gpt2_tiny", "mamba_tiny"])
def test_the_count_is_the_same_in_every_precision(name: str, dtype: torch.dtype) -> None:
    network = preset(name)
    plain = count_flops(network)
    assert count_flops(network.to(dtype)) == plain
    assert {p.dtype for p in network.parameters()} == {dtype}


def test_a_look_for_anomalies_changes_nothing() -> None:
    network = preset("dit_tiny")
    with torch.autograd.set_detect_anomaly(True):
        assert count_flops(network) == count_flops(preset("dit_tiny"))
        assert torch.is_anomaly_enabled()
    assert not torch.is_anomaly_enabled()


def test_another_network_is_not_guessed() -> None:
    assert count_flops(nn.Linear(3, 3)) is None


@pytest.mark.parametrize(
    ("device", "precision", "tflops"),
    [
        ("NVIDIA A100-SXM4-80GB", "bf16-mixed", 312),
        ("NVIDIA A100 80GB PCIe", "16-mixed", 312),
        ("NVIDIA H100 80GB HBM3", "bf16-mixed", 989),
        ("NVIDIA H100 PCIe", "bf16-true", 756),
        ("NVIDIA H100 NVL", "bf16-true", 835),
        ("NVIDIA H200", "bf16-mixed", 989),
        ("NVIDIA L40S", "bf16-mixed", 362),
        ("NVIDIA L4", "bf16-mixed", 121),
        ("NVIDIA A10", "bf16-mixed", 125),
        ("NVIDIA GeForce RTX 4090", "bf16-mixed", 165),
        ("Tesla V100-SXM2-16GB", "16-mixed", 125),
        ("Tesla V100-SXM2-16GB", "bf16-mixed", None),
        ("NVIDIA A100-SXM4-80GB", "32-true", 156),
        ("NVIDIA A100-SXM4-80GB", "64-true", None),
        ("NVIDIA A10G", "bf16-mixed", None),
        ("NVIDIA L40", "bf16-mixed", None),
        ("NVIDIA GeForce RTX 4090 Laptop GPU", "bf16-mixed", None),
        ("NVIDIA A100-SXM4-80GB MIG 1g.10gb", "bf16-mixed", None),
        ("NVIDIA H100", "bf16-mixed", None),
        ("cpu", "32-true", None),
    ],
)
def test_peaks_are_known_or_absent(device: str, precision: str, tflops: float | None) -> None:
    assert peak_flops(device, precision) == (None if tflops is None else tflops * 1e12)
