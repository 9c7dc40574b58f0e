"""torch.compile of networks in place."""

from torch import nn


def compile_blocks(network: nn.Module) -> None:
    """Compiles ``network`` block by block, at their first call; the names of its parameters stay.

    Blocks that are alike share one compilation, so that a deep network takes no longer than a shallow one; where they
    differ in shape, as in a U-Net, the network is compiled as a whole.
    """
    blocks = getattr(network, "blocks", None)
    for part in blocks if isinstance(blocks, nn.ModuleList) else [network]:
        part.compile()
