"""Small relational networks with each assumption switched off, their weights such that all that is read matters."""

from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from genraven.puzzles import layout
from genraven.puzzles.generate import generate

Network = TypeVar("Network", bound=nn.Module)
SWITCHES: dict[str, dict[str, Any]] = {
    "all": {},
    "no carrier": {"carrier": False},
    "own attributes": {"shared_attributes": False},
    "no value path": {"value_path": False},
    "rows in order": {"rows_summed": False},
    "labels": {"num_labels": 4},
    "none": {"carrier": False, "shared_attributes": False, "value_path": False, "rows_summed": False},
}
SIZE = {"width": 16, "hidden": 24, "writer": 12, "occupancy": 8, "mixing": 1, "num_heads": 2}


def awake(cls: type[Network], std: float = 0.3, **settings: Any) -> Network:
    """A small network of ``cls``, each weight drawn with a deviation of ``std``."""
    network = cls(**(SIZE | settings))
    generator = torch.Generator().manual_seed(1)
    for parameter in network.parameters():
        nn.init.normal_(parameter, std=std, generator=generator)
    return network.eval().requires_grad_(False)


def puzzle_cells(num: int, start: int = 0) -> Tensor:
    """(num, 81, 3) int64 symbols of puzzles of many rules."""
    puzzles = torch.cat([generate(rule, start, 1) for rule in range(0, 40, 40 // num)][:num])
    return layout.puzzles_to_tokens(puzzles).long() + 1


def labels_of(network: nn.Module, num: int) -> Tensor | None:
    """(num,) labels for a network that reads some."""
    count = network.num_labels
    return torch.arange(num) % (count + 1) if count else None  # type: ignore[operator, return-value]
