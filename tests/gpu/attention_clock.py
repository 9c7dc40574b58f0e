"""Milliseconds of attention forward and backward, by each kernel that torch has for it."""

import torch
import torch.nn.functional as F
from steps_clock import now
from torch.nn.attention import SDPBackend, sdpa_kernel

KERNELS = {
    "flash": SDPBackend.FLASH_ATTENTION,
    "efficient": SDPBackend.EFFICIENT_ATTENTION,
    "cudnn": SDPBackend.CUDNN_ATTENTION,
    "written_out": SDPBackend.MATH,
}


def attention_ms(shape: tuple[int, int, int, int], device: torch.device, steps: int) -> dict[str, float | None]:
    """Of each kernel, with every position read and with those before it alone; None where it does not serve.

    Args:
        shape: (B, H, L, D / H).
        device: of bf16 inputs.
        steps: that are measured.
    """
    return {
        f"{name}{' causal' * causal}": _of_kernel(kernel, shape, device, steps, causal)
        for causal in (False, True)
        for name, kernel in KERNELS.items()
    }


def _of_kernel(
    kernel: SDPBackend, shape: tuple[int, int, int, int], device: torch.device, steps: int, causal: bool
) -> float | None:
    q, k, v = (torch.randn(shape, device=device, dtype=torch.bfloat16, requires_grad=True) for _ in range(3))
    gradient = torch.randn(shape, device=device, dtype=torch.bfloat16)

    def step() -> None:
        F.scaled_dot_product_attention(q, k, v, is_causal=causal).backward(gradient)

    try:
        with sdpa_kernel([kernel]):
            step()
            start = now(device)
            for _ in range(steps):
                step()
            return 1e3 * (now(device) - start) / steps
    except RuntimeError:  # no kernel of this kind for such inputs, or on this device
        return None
