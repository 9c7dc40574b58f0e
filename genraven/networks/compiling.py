"""torch.compile of networks in place."""

from typing import Any

from torch import nn


def compile_blocks(network: nn.Module, **options: Any) -> None:
    """Compiles ``network`` block by block, at their first call; the names of its parameters stay.

    Blocks that are alike share one compilation, so that a deep network takes no longer than a shallow one; where they
    differ in shape, as in a U-Net, the network is compiled as a whole.

    Args:
        network: whose blocks are alike when ``blocks`` is a ModuleList.
        options: of torch.compile.
    """
    blocks = getattr(network, "blocks", None)
    for part in blocks if isinstance(blocks, nn.ModuleList) else [network]:
        part.compile(**options)
