"""Parameter counts of every size of the study, ours beside the published ones.

``python tests/networks/test_presets.py`` prints them as a table.
"""

import importlib
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
import torch
import yaml
from torch import nn

from genraven.networks.dit import DiT
from genraven.networks.unet import UNet

CONFIGS = Path(__file__).parents[2] / "launch" / "configs" / "model"
PUBLISHED = {  # of the shipped configs
    "gpt2_small": 21_334_302,
    "gpt2_small_joint": 21_703_112,
    "gpt2_base": 85_135_902,
    "gpt2_base_joint": 85_872_584,
    "gpt2_medium": 170_190_366,
    "gpt2_medium_joint": 170_927_048,
    "gpt2_big": 573_970_206,
    "gpt2_big_joint": 575_074_760,
    "mamba_base": 45_276_702,
    "mamba_medium": 90_536_478,
    "mamba_big": 303_227_166,
}
UNETS = {
    "unet_base": (64, 1, 11_468_419),
    "unet_wide": (128, 2, 63_250_819),
    "unet_big": (192, 3, 181_471_491),
}
DITS = {
    "dit_s": ((384, 12, 6), (32_466_054, 32_493_750)),
    "dit_b": ((768, 12, 12), (129_517_830, 129_573_174)),
    "dit_l": ((1024, 24, 16), (456_776_710, 456_850_486)),
    "dit_xl": ((1152, 28, 16), (673_637_766, 673_720_758)),
}


def shipped(name: str) -> nn.Module:
    """The network of a shipped config."""
    chosen = yaml.safe_load((CONFIGS / f"{name}.yaml").read_text())["model"]["init_args"]["network"]
    module, _, cls = chosen["class_path"].rpartition(".")
    return getattr(importlib.import_module(module), cls)(**chosen["init_args"])


BUILDERS: dict[str, tuple[Callable[[], nn.Module], int]] = {
    **{name: (partial(shipped, name), count) for name, count in PUBLISHED.items()},
    **{name: (partial(UNet, channels=c, num_blocks=n), count) for name, (c, n, count) in UNETS.items()},
    **{
        f"{name}_{patch}": (partial(DiT, width=w, depth=d, num_heads=h, patch=patch, out_channels=6), count)
        for name, ((w, d, h), counts) in DITS.items()  # with learned variance
        for patch, count in zip((1, 3), counts, strict=True)
    },
}


def count(name: str) -> int:
    """Our number of parameters; no memory is taken for them."""
    with torch.device("meta"):
        return sum(parameter.numel() for parameter in BUILDERS[name][0]().parameters())


@pytest.mark.parametrize("name", BUILDERS)
def test_parameter_counts_are_the_published_ones_within_2_percent(name: str) -> None:
    published = BUILDERS[name][1]
    assert count(name) == pytest.approx(published, rel=0.02)
    if not name.startswith("gpt2"):  # which reads 81 positions instead of 83, and has 701 states instead of 968
        assert count(name) == published


def test_every_autoregressive_config_is_counted() -> None:
    names = {path.stem for pattern in ("gpt2_*.yaml", "mamba_*.yaml") for path in CONFIGS.glob(pattern)}
    assert names - set(PUBLISHED) == {"gpt2_tiny", "mamba_tiny"}


@pytest.mark.parametrize("size", ["tiny", "s"])
def test_relational_networks_of_a_size_share_trunk_and_parameters_within_5_percent(size: str) -> None:
    with torch.device("meta"):
        ours = [shipped(f"relational_{name}_{size}") for name in ("ar", "mdm", "sit_onehot")]
    counts = [sum(parameter.numel() for parameter in network.parameters()) for network in ours]
    assert max(counts) < 1.05 * min(counts)
    settings = [yaml.safe_load((CONFIGS / f"relational_{name}_{size}.yaml").read_text())["model"] for name in
                ("ar", "mdm", "sit_onehot")]  # fmt: skip
    trunks = [model["init_args"]["network"]["init_args"] for model in settings]
    assert all({**trunk, "in_channels": 31} == trunks[2] for trunk in trunks)
    learning = [{key: model["init_args"][key] for key in ("optimizer", "warmup_steps", "schedule", "ema_decay")}
                for model in settings]  # fmt: skip
    assert learning[0] == learning[1]
    for each in learning:  # of SiT, which learns little at the rate that was found for the others
        del each["optimizer"]["init_args"]["lr"]
    assert learning[0] == learning[2]


if __name__ == "__main__":
    print(f"{'network':18} {'ours':>12} {'published':>12} {'difference':>11}")
    for name, (_, published) in BUILDERS.items():
        print(f"{name:18} {count(name):12,} {published:12,} {count(name) / published - 1:11.3%}")
