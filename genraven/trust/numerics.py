"""What a network computes in at the moment: as its weights, torch's autocast and its other settings say."""

from typing import Any

import torch
from torch import nn

from genraven.networks.compiling import is_compiled

_TRUE = {torch.float32: "32-true", torch.bfloat16: "bf16-true", torch.float16: "16-true", torch.float64: "64-true"}
_MIXED = {torch.bfloat16: "bf16-mixed", torch.float16: "16-mixed"}


def numerics_of(network: nn.Module) -> dict[str, Any]:
    """``numerics`` of ``network``, in the words of ``trainer.precision``, and the ``device_type`` that it is on.

    Of a mixture that ``trainer.precision`` has no word for it names the parts.
    """
    weights = [p for p in network.parameters() if p.is_floating_point()]
    device_type = weights[0].device.type
    dtypes = {torch.get_default_dtype(), *(p.dtype for p in weights)}  # the default is that of the pictures, too
    precisions = sorted(_TRUE.get(dtype, str(dtype)) for dtype in dtypes)
    if torch.is_autocast_enabled(device_type):
        autocast = torch.get_autocast_dtype(device_type)
        mixed = _MIXED.get(autocast, f"autocast to {autocast}")
        precisions = [mixed] if precisions == ["32-true"] else [*precisions, mixed]
    return {
        "numerics": {
            "precision": " and ".join(precisions),
            "tf32": device_type == "cuda" and torch.get_float32_matmul_precision() != "highest",
            "compiled": is_compiled(network),
        },
        "device_type": device_type,
    }
