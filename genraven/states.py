"""A cell as one number: 0 for empty, else 1 + the mixed radix of its attributes' values.

A attributes, each of ``symbols[a]`` symbols: 0 for empty, then its values from 1 on.
"""

import math

import torch
from torch import Tensor


def num_states(symbols: tuple[int, ...]) -> int:
    """Of a cell: empty, or one of the combinations of values."""
    return 1 + math.prod(n - 1 for n in symbols)


def symbols_to_states(cells: Tensor, symbols: tuple[int, ...]) -> Tensor:
    """(...) int64 states from symbols (..., A); a cell with any symbol 0 is empty."""
    state = torch.zeros_like(cells[..., 0], dtype=torch.int64)
    for symbol, size in zip(cells.unbind(-1), symbols, strict=True):
        state = state * (size - 1) + symbol - 1
    return (state + 1).masked_fill((cells == 0).any(-1), 0)


def states_to_symbols(states: Tensor, symbols: tuple[int, ...]) -> Tensor:
    """(..., A) int64 symbols from states (...)."""
    rest, found = states - 1, []
    for size in reversed(symbols):
        found.append(rest % (size - 1) + 1)
        rest = rest // (size - 1)
    return torch.stack(found[::-1], -1).masked_fill((states == 0).unsqueeze(-1), 0)
