"""Autoregressive sampling, cell by cell, with a cache.

B batch, L = 81 cells, A attributes. Symbols are the network's integers: an attribute's value + 1 with 0 for empty
(``separate`` head), or the state of the whole cell (``joint`` head).
"""

import torch
from torch import Tensor

from genraven.networks.cells import CellNetwork
from genraven.puzzles import layout


def to_symbols(tokens: Tensor, head_sizes: tuple[int, ...]) -> Tensor:
    """(..., number of heads) int64 symbols that heads of these sizes predict, from canonical tokens (..., A)."""
    return tokens.long() + 1 if len(head_sizes) > 1 else layout.tokens_to_states(tokens).unsqueeze(-1)


def from_symbols(symbols: Tensor) -> Tensor:
    """(..., A) int8 tokens from predicted symbols (..., number of heads); a cell with an empty channel is empty."""
    if symbols.shape[-1] == 1:
        return layout.states_to_tokens(symbols.squeeze(-1))
    return layout.canonical((symbols - 1).to(torch.int8))


def pick(logits: Tensor, head_sizes: tuple[int, ...], uniform: Tensor, temperature: float) -> Tensor:
    """(..., number of heads) symbols, one from each head by inverse transform sampling.

    Args:
        logits: (..., sum of head_sizes).
        uniform: (..., number of heads) draws on [0, 1).
        temperature: of the softmax; 0 takes the likeliest symbol.
    """
    symbols = []
    for part, u in zip(logits.split(head_sizes, -1), uniform.unbind(-1), strict=True):
        if temperature == 0:
            symbols.append(part.argmax(-1))
        else:
            cumulative = (part.float() / temperature).softmax(-1).cumsum(-1)
            # The last sum may fall short of 1 by rounding, so u is compared with all but it.
            symbols.append((cumulative[..., :-1] <= u.unsqueeze(-1)).sum(-1))
    return torch.stack(symbols, -1)


def decode(
    network: CellNetwork,
    tokens: Tensor,
    open_cells: Tensor,
    uniform: Tensor,
    *,
    labels: Tensor | None = None,
    temperature: float = 1.0,
) -> Tensor:
    """(B, L, A) int8 tokens: the open cells sampled in order, each given all cells before it; the others as given.

    Args:
        tokens: (B, L, A) int8; what stands in open cells is not read.
        open_cells: (B, L) bool, true where the model writes.
        uniform: (B, L, number of heads) draws on [0, 1).
        labels: (B,) int64 or None.
    """
    if not open_cells.any():
        return tokens.clone()
    tokens = tokens.clone()
    first = int(open_cells.any(0).int().argmax())
    cache = network.new_cache(len(tokens))
    logits = network(tokens[:, :first].long() + 1, labels, cache)[:, -1]
    for i in range(first, tokens.shape[1]):
        cell = from_symbols(pick(logits, network.head_sizes, uniform[:, i], temperature))
        tokens[:, i] = cell.where(open_cells[:, i, None], tokens[:, i])
        if i + 1 < tokens.shape[1]:
            logits = network(tokens[:, i : i + 1].long() + 1, None, cache)[:, -1]
    return tokens
