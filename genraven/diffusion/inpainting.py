"""Completion with a diffusion model: given cells are held on their path while the others are sampled."""

from torch import Tensor

from genraven.diffusion.flow import interpolate
from genraven.diffusion.samplers import Projection


def replacement(given: Tensor, noise: Tensor, open_cells: Tensor) -> Projection:
    """A projection that puts the given cells where the forward path has them at each time (Song et al. 2020, sec. 5).

    Args:
        given: (B, C, S, S) data; what stands in open cells is not read.
        noise: (B, C, S, S) that the given cells come from; start the sampler from it.
        open_cells: (B, 1, S, S) bool, true where the model writes.
    """
    return lambda x, t: x.where(open_cells, interpolate(given, noise, t))
