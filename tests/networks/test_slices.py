"""A network that reads a few puzzles at a time."""

import torch
from torch import Tensor

from genraven.networks.bidirectional import BidirectionalTransformer
from genraven.networks.slices import SLICE, in_slices

torch.set_num_threads(1)


def test_slices_are_small_and_their_outputs_those_of_the_whole() -> None:
    torch.manual_seed(0)
    network = BidirectionalTransformer(width=24, depth=2, num_heads=2).eval()
    num, lengths = 2 * SLICE + 3, []

    def counted(cells: Tensor, masked: Tensor, labels: Tensor | None, positions: Tensor) -> Tensor:
        lengths.append(len(cells))
        return network(cells, masked, labels, positions)

    inputs = torch.randint(0, 8, (num, 81, 3)), torch.rand(num, 81) < 0.5, None, torch.randint(0, 81, (num, 2))
    with torch.no_grad():
        assert torch.equal(in_slices(counted)(*inputs), network(*inputs))
    assert lengths == [SLICE, SLICE, 3]
    assert in_slices(counted)(*inputs).requires_grad  # where gradients are asked for, it is one graph as before
    assert lengths[3:] == [num]
