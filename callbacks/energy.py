"""What a GPU has drawn, from NVIDIA's NVML where it answers."""

from collections.abc import Callable

import torch


def energy_counter(device: torch.device) -> Callable[[], float] | None:
    """A counter of joules since some past moment; None where there is no GPU, no nvidia-ml-py or no answer."""
    if device.type != "cuda":
        return None
    try:
        import pynvml  # type: ignore[import-not-found, import-untyped]
    except ImportError:
        return None
    try:
        pynvml.nvmlInit()
        # By its UUID: NVML does not know which GPUs CUDA_VISIBLE_DEVICES leaves, nor in which order.
        handle = pynvml.nvmlDeviceGetHandleByUUID(f"GPU-{torch.cuda.get_device_properties(device).uuid}")
        pynvml.nvmlDeviceGetTotalEnergyConsumption(handle)
    except pynvml.NVMLError:  # an old GPU, a part of one (MIG), or a container without the driver's library
        return None
    return lambda: pynvml.nvmlDeviceGetTotalEnergyConsumption(handle) / 1000
