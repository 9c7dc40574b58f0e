"""What a run's callbacks note of where it is: plain values."""

import platform
from collections.abc import Mapping

import torch
import torch.distributed as dist


def hosts() -> list[str]:
    """Names of the machines that the run is on."""
    names: list[str] = [platform.node()]
    if dist.is_available() and dist.is_initialized():
        names *= dist.get_world_size()
        dist.all_gather_object(names, platform.node())
    return sorted(set(names))


def plain_numbers(metrics: Mapping[str, torch.Tensor]) -> dict[str, float | None]:
    """Of what a trainer logged, by name; None where a value is not finite, which JSON cannot say."""
    return {name: value.item() if value.isfinite() else None for name, value in sorted(metrics.items())}


def device_name(device: torch.device) -> str:
    """As its maker calls it; of a CPU its type."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
