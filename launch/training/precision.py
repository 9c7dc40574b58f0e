"""The precision that suits a device, by what the device says of itself: nothing is measured, drawn or kept."""

from pathlib import Path

import torch

CPU_INFO = Path("/proc/cpuinfo")
FLAGS = ("flags", "Features")  # the lines that name what a processor can, on x86 and on ARM
BF16 = {"avx512_bf16", "amx_bf16", "bf16"}  # units that multiply bf16: of x86, of x86 with tiles, of ARM


def default_precision(accelerator: str) -> str:
    """``bf16-mixed`` where the device computes fast in bf16 by itself, else ``32-true``."""
    if accelerator in ("auto", "gpu", "cuda") and torch.cuda.is_available():
        return "bf16-mixed" if torch.cuda.is_bf16_supported(including_emulation=False) else "32-true"
    return cpu_precision() if accelerator in ("auto", "cpu") else "32-true"


def cpu_precision() -> str:
    """``bf16-mixed`` where this CPU has units that multiply bf16, else ``32-true``.

    Without them bf16 is computed by way of float32, and slower than that.
    """
    return "bf16-mixed" if BF16 & _flags() else "32-true"


def _flags() -> set[str]:
    """What this machine's first processor can, by Linux's names; nothing where the system does not say."""
    try:
        lines = CPU_INFO.read_text(errors="replace").splitlines()
    except OSError:
        return set()
    named = (line.partition(":") for line in lines)
    return set(next((flags.split() for name, _, flags in named if name.strip() in FLAGS), ()))
