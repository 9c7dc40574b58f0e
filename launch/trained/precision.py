"""The precision that suits a device, by what the device says of itself: nothing is measured, drawn or kept."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch

CPU_INFO = Path("/proc/cpuinfo")
FLAGS = ("flags", "Features")  # the lines that name what a processor can, on x86 and on ARM
UNITS = {"bf16": {"avx512_bf16", "amx_bf16", "bf16"}, "16": {"avx512_fp16", "amx_fp16", "asimdhp"}}
"""Of x86, of x86 with tiles, of ARM: what multiplies numbers of 16 bits, by the first word of the precision."""

TRAINED_IN_FLOAT32 = "--trainer.precision 32-true"


def default_precision(accelerator: str) -> str:
    """``bf16-mixed`` where the device computes fast in bf16 by itself, else ``32-true``."""
    return "bf16-mixed" if _is_fast("bf16", accelerator) else "32-true"


def slow_precision(precision: str, accelerator: str, instead: str | None) -> str | None:
    """Says of a ``precision`` of 16 bits that a GPU of CUDA, or this CPU, has no units for it; else None.

    Such numbers are then computed by way of float32: on a CPU without such units matrices were multiplied 35 to 70
    times slower than in float32, and relational_ar_tiny trained 5 times slower (AMD EPYC with AVX2).

    Args:
        precision: as ``trainer.precision`` names it.
        accelerator: as ``trainer.accelerator`` does.
        instead: how a user asks for float32; None where that cannot be chosen any more.
    """
    kind = precision.partition("-")[0]
    is_known = _has_cuda(accelerator) or (accelerator in ("auto", "cpu") and bool(_flags()))
    if kind not in UNITS or not is_known or _is_fast(kind, accelerator):
        return None
    device = "GPU" if _has_cuda(accelerator) else "CPU"
    ending = f": {instead} is faster." if instead else "."
    return f"{precision} is slow on this {device}, which has no units for it{ending}"


def slow_precisions(configs: Iterable[Mapping[str, Any]], file: Path) -> list[str]:
    """The same, once each, of runs that are to be trained here, by their resolved configs, which ``file`` asks for."""
    asked = {(str(trainer["precision"] or ""), str(trainer["accelerator"])) for trainer in
             (config["trainer"] for config in configs)}  # fmt: skip
    instead = f"{TRAINED_IN_FLOAT32} in a copy of {file.name}"
    said = (slow_precision(precision, accelerator, instead) for precision, accelerator in sorted(asked))
    return [line for line in said if line]


def _is_fast(kind: str, accelerator: str) -> bool:
    if _has_cuda(accelerator):
        return kind != "bf16" or torch.cuda.is_bf16_supported(including_emulation=False)
    return accelerator in ("auto", "cpu") and bool(UNITS[kind] & _flags())


def _has_cuda(accelerator: str) -> bool:
    return accelerator in ("auto", "gpu", "cuda") and torch.cuda.is_available()


def _flags() -> set[str]:
    """What this machine's first processor can, by Linux's names; nothing where the system does not say."""
    try:
        lines = CPU_INFO.read_text(errors="replace").splitlines()
    except OSError:
        return set()
    named = (line.partition(":") for line in lines)
    return set(next((flags.split() for name, _, flags in named if name.strip() in FLAGS), ()))
