"""Autoregressive sampling, cell by cell, with a cache.

B batch, L = 81 cells, A attributes. Symbols are the network's integers: an attribute's value + 1 with 0 for empty
(``separate`` head), or the state of the whole cell (``joint`` head).
"""

from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from genraven.methods.draws import at_least_float32, finest, uniform_draws
from genraven.methods.particles import resample_degenerate
from genraven.networks.cells import CellNetwork
from genraven.networks.compiling import compiled_step, kept, mark_static, static_buffers
from genraven.progress import watched
from genraven.puzzles import layout
from genraven.puzzles.spec import EMPTY

COLD = 1e-6
"""Temperatures below this take the likeliest symbol: logits divided by less may be too large for float32."""


class AtWork(NamedTuple):
    """What a step of decoding reads, and all but the draws changes in place."""

    tokens: Tensor
    """(B, L, A) int8."""
    open_cells: Tensor
    """(B, L) bool: those that are written."""
    uniform: Tensor
    """(B, L, number of heads) draws on [0, 1)."""
    place: Tensor
    """(1,) int64: the cell to write next."""
    logits: Tensor
    """(B, sum of head_sizes) of that cell."""


class Softmax(NamedTuple):
    """How symbols are drawn by logits."""

    temperature: float = 1.0
    """0 takes the likeliest symbol."""
    top_k: int | None = None
    """Only so many likeliest symbols of a head may be drawn; None for all."""


def to_symbols(tokens: Tensor, head_sizes: tuple[int, ...]) -> Tensor:
    """(..., number of heads) int64 symbols that heads of these sizes predict, from canonical tokens (..., A)."""
    return tokens.long() + 1 if len(head_sizes) > 1 else layout.tokens_to_states(tokens).unsqueeze(-1)


def from_symbols(symbols: Tensor) -> Tensor:
    """(..., A) int8 tokens from predicted symbols (..., number of heads); a cell with an empty channel is empty."""
    if symbols.shape[-1] == 1:
        return layout.states_to_tokens(symbols.squeeze(-1))
    return layout.canonical((symbols - 1).to(torch.int8))


def in_order(tokens: Tensor, order: Tensor) -> Tensor:
    """``tokens`` (B, L, A) in the ``order`` (B, L)."""
    return tokens.gather(1, order.unsqueeze(2).expand_as(tokens))


def _tempered(part: Tensor, temperature: float, top_k: int | None = None) -> Tensor:
    """Logits (..., V) of one head, cooled, and cut to the ``top_k`` likeliest symbols."""
    logits = at_least_float32(part) / temperature
    if top_k is not None and top_k < part.shape[-1]:
        logits = logits.masked_fill(logits < logits.topk(top_k).values[..., -1:], -torch.inf)
    return logits


def pick(
    logits: Tensor, head_sizes: tuple[int, ...], uniform: Tensor, temperature: float, top_k: int | None = None
) -> Tensor:
    """(..., number of heads) symbols, one from each head by inverse transform sampling, in float64.

    Args:
        logits: (..., sum of head_sizes).
        head_sizes: symbols of each head.
        uniform: (..., number of heads) draws on [0, 1).
        temperature: of the softmax; 0, or less than ``COLD``, takes the likeliest symbol.
        top_k: only so many likeliest symbols of a head may be drawn; None for all.
    """
    symbols = []
    for part, u in zip(logits.split(head_sizes, -1), uniform.unbind(-1), strict=True):
        if temperature < COLD:
            symbols.append(part.argmax(-1))
        else:
            dtype = finest(part.device)
            cumulative = _tempered(part, temperature, top_k).to(dtype).softmax(-1).cumsum(-1)
            # The last sum may fall short of 1 by rounding, so u stays below it.
            u = u.unsqueeze(-1).to(dtype).minimum(cumulative[..., -1:] * (1 - 4 * torch.finfo(dtype).eps))
            symbols.append((cumulative <= u).sum(-1))
    return torch.stack(symbols, -1)


def log_probabilities(logits: Tensor, head_sizes: tuple[int, ...], temperature: float = 1.0) -> list[Tensor]:
    """Log-probabilities (..., V) of the symbols of each head, from ``logits`` (..., sum of head_sizes)."""
    return [_tempered(part, temperature).log_softmax(-1) for part in logits.split(head_sizes, -1)]


def cell_log_likelihood(
    logits: Tensor, head_sizes: tuple[int, ...], tokens: Tensor, temperature: float = 1.0
) -> Tensor:
    """(...) log-probability in nats of the cells that symbols drawn from ``logits`` stand for.

    With separate heads a cell is empty as soon as one symbol is: 1 - prod(1 - p_a(empty)), not the symbols' product.

    Args:
        logits: (..., sum of head_sizes).
        head_sizes: symbols of each head.
        tokens: (..., A) canonical cells.
        temperature: of the softmax, above 0.
    """
    parts, symbols = log_probabilities(logits, head_sizes, temperature), to_symbols(tokens, head_sizes)
    chosen = [part.gather(-1, s.unsqueeze(-1)).squeeze(-1) for part, s in zip(parts, symbols.unbind(-1), strict=True)]
    together = torch.stack(chosen).sum(0)
    return together if len(parts) == 1 else _log_empty(parts).where((symbols == 0).any(-1), together)


def _log_empty(parts: list[Tensor]) -> Tensor:
    """(...) log of the probability that a symbol 0 is among those of the heads ``parts`` (..., V), log-probabilities.

    It is the sum of disjoint events, the first head that says empty being the first, the second, ...: the logarithm of
    1 - prod(1 - p) would be noise where the probability is below what 1 is rounded to.
    """
    before, events = torch.zeros_like(parts[0][..., 0]), []
    for part in parts:
        events.append(before + part[..., 0])
        before = before + part[..., 1:].logsumexp(-1)
    return torch.stack(events).logsumexp(0)


def symbol_nats(logits: Tensor, head_sizes: tuple[int, ...], tokens: Tensor) -> Tensor:
    """(B, L) cross-entropy in nats of the symbols of ``tokens`` (B, L, A), summed over the heads: what is trained."""
    targets = to_symbols(tokens, head_sizes)
    parts = zip(logits.split(head_sizes, -1), targets.unbind(-1), strict=True)
    nats = [F.cross_entropy(at_least_float32(part.flatten(0, 1)), y.flatten(), reduction="none") for part, y in parts]
    return torch.stack(nats).sum(0).view(targets.shape[:2])


def cell_entropy(logits: Tensor, head_sizes: tuple[int, ...]) -> Tensor:
    """(...) entropy in nats of the cells that symbols drawn from ``logits`` (..., sum of head_sizes) stand for.

    With separate heads all cells with an empty symbol are one.
    """
    parts = log_probabilities(logits, head_sizes)
    if len(parts) == 1:
        return torch.special.entr(parts[0].exp()).sum(-1)
    filled = torch.stack([part[..., 1:].logsumexp(-1) for part in parts])
    within = [part[..., 1:] - log_p.unsqueeze(-1) for part, log_p in zip(parts, filled, strict=True)]
    of_values = torch.stack([torch.special.entr(part.exp()).sum(-1) for part in within]).sum(0)
    p_filled = filled.sum(0).clamp(max=0.0).exp()
    return torch.special.entr(p_filled) + torch.special.entr(_log_empty(parts).exp()) + p_filled * of_values


def decode(
    network: CellNetwork,
    tokens: Tensor,
    open_cells: Tensor,
    uniform: Tensor,
    *,
    labels: Tensor | None = None,
    temperature: float = 1.0,
    top_k: int | None = None,
    order: Tensor | None = None,
) -> Tensor:
    """(B, L, A) int8 tokens: the open cells sampled in order, each given all cells before it; the others as given.

    Args:
        tokens: (B, L, A) int8; what stands in open cells is not read.
        open_cells: (B, L) bool, true where the model writes; on the host, where the order of work is decided, they are
            not read from the device.
        uniform: (B, L, number of heads) draws on [0, 1).
        labels: (B,) int64 or None.
        order: (B, L) in which the cells stand here, for a network that reads them in any; None is its own.
    """
    tokens, first, open_cells = tokens.clone(), _first_open(open_cells), open_cells.to(tokens.device)
    if first is None:
        return tokens
    step = compiled_step(_write_and_read, network)
    cache = _empty_cache(network, len(tokens), order, is_static=step is not None)
    logits = network(tokens[:, :first].long() + 1, labels, cache, last_only=True)[:, -1].clone()
    at_work = AtWork(tokens, open_cells, uniform, torch.full((1,), first, device=tokens.device), logits)
    softmax = Softmax(temperature, top_k)
    if step is not None:
        at_work = AtWork(*static_buffers(network, "decode", *at_work))
        mark_static(*cache.fix_shapes())
    for _ in watched(range(first, tokens.shape[1] - 1)):
        (step or _write_and_read)(network, cache, at_work, softmax)
    _write(network.head_sizes, at_work, softmax)
    return tokens if step is None else at_work.tokens.clone()


def _empty_cache(network: CellNetwork, num: int, order: Tensor | None, *, is_static: bool) -> Any:
    """A cache for ``num`` sequences; a static one is the same each time."""
    given = () if order is None else (order,)
    if not is_static:
        return network.new_cache(num, *given)
    weight = next(network.parameters())
    key = ("cache", num, len(given), weight.dtype, weight.device)
    cache = kept(network, key, lambda: network.new_cache(num, *(part.clone() for part in given)))
    cache.restart(*given)
    return cache


def _write(head_sizes: tuple[int, ...], at: AtWork, softmax: Softmax) -> None:
    """Writes the cells at the place that are open, as the logits have them."""
    uniform = at.uniform.index_select(1, at.place).squeeze(1)
    drawn = from_symbols(pick(at.logits, head_sizes, uniform, softmax.temperature, softmax.top_k))
    is_open, known = at.open_cells.index_select(1, at.place), at.tokens.index_select(1, at.place)
    at.tokens.index_copy_(1, at.place, drawn.unsqueeze(1).where(is_open.unsqueeze(-1), known))


def _write_and_read(network: CellNetwork, cache: Any, at: AtWork, softmax: Softmax) -> None:
    """One step, all in place: the cells at the place are written and read, and it and the logits go to the next."""
    _write(network.head_sizes, at, softmax)
    at.logits.copy_(network(at.tokens.index_select(1, at.place).long() + 1, None, cache)[:, -1])
    at.place.add_(1)


def _first_open(open_cells: Tensor) -> int | None:
    """The first cell that is open in any puzzle of (B, L); None where none is."""
    columns = open_cells.cpu().any(0)
    return int(columns.int().argmax()) if columns.any() else None


def decode_particles(
    network: CellNetwork,
    tokens: Tensor,
    open_cells: Tensor,
    *,
    num_particles: int,
    generator: torch.Generator | None = None,
    labels: Tensor | None = None,
    temperature: float = 1.0,
    top_k: int | None = None,
) -> Tensor:
    """(B, L, A) int8 tokens: like ``decode``, but what is given after an open cell has a say in it, too.

    A particle filter: each puzzle is written ``num_particles`` times in order with the given cells forced, each
    weighted by how likely the network finds them after what it wrote. When fewer than half of the particles carry the
    weight, they are drawn anew (systematic resampling); at the end one is drawn by weight. Exact as the number grows,
    apart from ``top_k``; with separate heads the likelihood of a given empty cell is that of any of them being empty.

    Args:
        network: reads and predicts cells.
        tokens: (B, L, A) int8; what stands in open cells is not read.
        open_cells: (B, L) bool, true where the model writes, some in each; on the host as in ``decode``.
        num_particles: P, 1 or more.
        generator: of all draws.
        labels: (B,) int64 or None.
        temperature: of the softmax, above 0.
        top_k: only so many likeliest symbols of a head may be drawn; None for all.
    """
    (batch, length), p, device = open_cells.shape, num_particles, tokens.device
    heads, first = len(network.head_sizes), _first_open(open_cells)
    assert first is not None
    tokens = tokens.masked_fill(open_cells.to(device).unsqueeze(-1), EMPTY).repeat_interleave(p, 0)
    open_cells = open_cells.to(device).repeat_interleave(p, 0)
    labels = labels.repeat_interleave(p, 0) if labels is not None else None
    weights = torch.zeros(batch, p, device=device, dtype=torch.float32)  # logarithms
    cache = network.new_cache(batch * p)
    logits = network(tokens[:, :first].long() + 1, labels, cache, last_only=True)[:, -1]
    for i in watched(range(first, length)):
        uniform = uniform_draws((batch * p, heads), device, generator, finest(device))
        drawn = from_symbols(pick(logits, network.head_sizes, uniform, temperature, top_k))
        given = cell_log_likelihood(logits, network.head_sizes, tokens[:, i], temperature)
        weights += given.masked_fill(open_cells[:, i], 0.0).view(batch, p)
        tokens[:, i] = drawn.where(open_cells[:, i, None], tokens[:, i])
        if i + 1 == length:
            break
        kept, weights = resample_degenerate(weights, uniform_draws((batch, 1), device, generator))
        tokens = tokens[kept]
        cache.select(kept)
        logits = network(tokens[:, i : i + 1].long() + 1, None, cache)[:, -1]
    chosen = pick(weights, (p,), uniform_draws((batch, 1), device, generator, finest(device)), 1.0).squeeze(1)
    return tokens.view(batch, p, length, -1)[torch.arange(batch, device=device), chosen]


def has_given_after(open_cells: Tensor) -> Tensor:
    """(B,) bool: is a given cell after one of the ``open_cells`` (B, L)?"""
    return (open_cells.cummax(1).values & ~open_cells).any(1)
