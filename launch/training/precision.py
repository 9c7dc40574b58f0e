"""The precision that suits a device; a CPU's is measured once, and kept."""

import json
import platform
import time
from pathlib import Path

import torch
from filelock import FileLock

from genraven.files import appears_whole
from genraven.paths import default_cache_dir
from genraven.run_folder import read_json

FILE = "cpu_precision.json"
ROUNDS = 5


def default_precision(accelerator: str) -> str:
    """``bf16-mixed`` where the device computes fast in bf16 by itself, else ``32-true``."""
    if accelerator in ("auto", "gpu", "cuda") and torch.cuda.is_available():
        return "bf16-mixed" if torch.cuda.is_bf16_supported(including_emulation=False) else "32-true"
    return faster_precision() if accelerator in ("auto", "cpu") else "32-true"


def faster_precision() -> str:
    """``bf16-mixed`` where this CPU multiplies bf16 matrices faster than float32 ones, else ``32-true``.

    It is measured at the sizes of small networks and kept in the cache folder, by processor and version of torch, so
    that a machine answers always the same.
    """
    path, key = default_cache_dir() / FILE, f"{_processor()}, torch {torch.__version__}"
    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(path.with_suffix(".lock")):  # so that the processes of a run, which all ask, hear the same
        known = read_json(path)
        if known.get(key) not in ("bf16-mixed", "32-true"):
            known[key] = _measured()
            with appears_whole(path) as temporary:
                temporary.write_text(json.dumps(known, indent=2) + "\n")
    return str(known[key])


def _measured() -> str:
    seconds = {}
    for dtype in (torch.float32, torch.bfloat16):
        x, weight = torch.randn(5184, 96, dtype=dtype), torch.randn(384, 96, dtype=dtype)
        taken = []
        for _ in range(ROUNDS):
            start = time.perf_counter()
            torch.nn.functional.linear(x, weight)
            taken.append(time.perf_counter() - start)
        seconds[dtype] = min(taken)
    return "bf16-mixed" if seconds[torch.bfloat16] < 0.8 * seconds[torch.float32] else "32-true"


def _processor() -> str:
    """The CPU's model, with its stepping where the system says it."""
    try:
        lines = dict(line.split(":", 1) for line in Path("/proc/cpuinfo").read_text().split("\n\n")[0].splitlines())
    except (OSError, ValueError):
        return platform.processor() or platform.machine()
    named = {name.strip(): value.strip() for name, value in lines.items()}
    has_bf16 = [flag for flag in ("avx512_bf16", "amx_bf16") if flag in named.get("flags", "").split()]
    return " ".join([named.get("model name", platform.machine()), *has_bf16])
