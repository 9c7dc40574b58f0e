"""A method of somebody else's, in a file of its own: it writes rows that it saw in training. See test_new_method.py."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from genraven.methods.method import Draw, Method, Sampling, Task, setting


@dataclass(frozen=True)
class CopyingSampling(Sampling):
    """Settings of copying.

    Args:
        num_tries: rows that are looked at.
    """

    num_tries: int = setting(1, least=1)


class Memory(nn.Module):
    """Keeps the puzzles of the last batch."""

    def __init__(self, size: int = 8) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(()))
        self.register_buffer("puzzles", torch.full((size, 3, 9, 9), -1, dtype=torch.int8))


class Copying(Method):
    """Copies rows of the training set."""

    family = "diffusion"
    settings = CopyingSampling

    def __init__(self, sampling: CopyingSampling | None = None) -> None:
        super().__init__(sampling)

    def architecture(self, network: nn.Module) -> str:
        return "Copy"

    def check_network(self, network: nn.Module) -> None:
        assert isinstance(network, Memory)

    def losses(self, network: Any, puzzles: Tensor, labels: Tensor | None, draw: Draw) -> Tensor:
        if network.training:
            network.puzzles = puzzles[torch.arange(len(network.puzzles)) % len(puzzles)].clone()
        return network.scale.square().expand(len(puzzles))

    def generate(
        self, network: Any, n: int, labels: Tensor | None, sampling: CopyingSampling, generator: torch.Generator | None
    ) -> Tensor:
        for _ in range(sampling.num_tries):
            chosen = torch.randint(len(network.puzzles), (n,), generator=generator)
        return network.puzzles[chosen].clone()

    def complete(
        self, network: Any, puzzles: Tensor, mask: Tensor, sampling: Any, generator: torch.Generator | None
    ) -> Tensor:
        return self.generate(network, len(puzzles), None, sampling, generator).where(mask.unsqueeze(1), puzzles)

    def nfe(self, network: Any, sampling: Any, task: Task, num_open: int, *, labels: bool) -> float:
        return 0.0

    def probe_forward(self, network: Any, puzzles: Tensor, level: float | None, generator: torch.Generator) -> None:
        raise NotImplementedError
