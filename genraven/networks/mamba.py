"""Mamba over the cells of a puzzle (Gu & Dao 2023, arXiv 2312.00752), with a cache of constant size.

B batch, L positions, D width, E = expand * D channels inside a block, N states of a channel, K cells that the
convolution spans.
"""

import functools
import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from genraven.networks.cells import CellNetwork, Embedding, Head
from genraven.networks.ranges import check_ranges
from genraven.networks.selective_scan import scan_one, selective_scan


@torch.compiler.assume_constant_result  # type: ignore[untyped-decorator]
@functools.cache
def convolution_kernel(device: str) -> Callable[..., Tensor] | None:
    """The convolution of the package causal_conv1d for a type of device, if it is CUDA and that is installed."""
    if device != "cuda":
        return None
    try:
        from causal_conv1d import causal_conv1d_fn  # type: ignore[import-not-found]
    except ImportError:
        return None
    return causal_conv1d_fn


class StateCache:
    """What a network remembers of the positions read so far: as much after 80 cells as after one.

    Args:
        shape: (layers, B, E, N, K).
    """

    def __init__(self, shape: tuple[int, int, int, int, int], like: Tensor) -> None:
        num_layers, batch_size, channels, state_size, span = shape
        dtype, layers = torch.promote_types(like.dtype, torch.float32), range(num_layers)
        self.windows = [like.new_zeros(batch_size, channels, span - 1) for _ in layers]
        self.states = [like.new_zeros(batch_size, state_size, channels, dtype=dtype) for _ in layers]
        self.length, self.is_fixed = 0, False

    def restart(self) -> None:
        """Forgets what was read; the memory stays."""
        self.length, self.is_fixed = 0, False

    def fix_shapes(self) -> tuple[Tensor, ...]:
        """From now on one position is read at a time, each by the same work.

        Returns what it then changes in place.
        """
        self.length, self.is_fixed = 1, True  # a graph is made for one length: 0, or any other
        return *self.windows, *self.states

    def advance(self, num: int) -> None:
        """Counts ``num`` positions that all layers have read, where their number is of interest."""
        self.length += 0 if self.is_fixed else num

    def select(self, sequences: Tensor) -> None:
        """Goes on with ``sequences`` (B,) int64 of those read so far, some perhaps twice and some no more."""
        self.windows = [window[sequences] for window in self.windows]
        self.states = [state[sequences] for state in self.states]


class Block(nn.Module):
    """Pre-norm Mamba: a convolution over the last cells, a selective state space, a gate.

    Args:
        width: D.
        state_size: N.
        expand: E / D.
        span: K.
    """

    without_decay = ("log_a", "delta")  # the state's own decay, and the sizes of its steps

    def __init__(self, width: int, state_size: int, expand: int, span: int) -> None:
        super().__init__()
        channels, self.rank, self.state_size, self.span = expand * width, math.ceil(width / 16), state_size, span
        self.norm = nn.RMSNorm(width, eps=1e-5)
        self.project_in = nn.Linear(width, 2 * channels, bias=False)
        self.convolution = nn.Conv1d(channels, channels, span, groups=channels)
        self.select = nn.Linear(channels, self.rank + 2 * state_size, bias=False)
        self.delta = nn.Linear(self.rank, channels)
        self.log_a = nn.Parameter(torch.empty(channels, state_size))
        self.skip = nn.Parameter(torch.empty(channels))
        self.project_out = nn.Linear(channels, width, bias=False)

    def initialise(self, depth: int) -> None:
        """As in the paper, section 3.6: a from -1 to -N, steps log-uniform from 0.001 to 0.1 at the start."""
        with torch.no_grad():
            self.log_a.copy_(torch.arange(1, self.state_size + 1, device=self.log_a.device).log().expand_as(self.log_a))
        nn.init.ones_(self.skip)
        nn.init.uniform_(self.delta.weight, -(self.rank**-0.5), self.rank**-0.5)
        nn.init.uniform_(self.delta.bias, math.log(0.001), math.log(0.1))
        with torch.no_grad():
            self.delta.bias.copy_(self.delta.bias.exp().expm1().log())  # the inverse of softplus
            self.project_out.weight.div_(math.sqrt(depth))

    def forward(self, x: Tensor, cache: StateCache | None, layer: int) -> Tensor:
        """(B, L, D) from (B, L, D)."""
        h, gate = self.project_in(self.norm(x)).chunk(2, -1)
        h = self._convolve(h.transpose(1, 2), cache, layer).transpose(1, 2)
        delta, b, c = self.select(h).split([self.rank, self.state_size, self.state_size], -1)
        delta = F.softplus(self.delta(delta).to(self.log_a.dtype))
        state = cache.states[layer] if cache is not None and cache.length else None
        a = -self.log_a.exp().T
        if state is not None and h.shape[1] == 1:
            y, last = scan_one(h, delta, a, b, c, state)
        else:
            y, last = selective_scan(h, delta, a, b, c, state)
        if cache is not None:
            cache.states[layer].copy_(last)
        return x + self.project_out(((y + self.skip * h) * F.silu(gate)).to(h.dtype))

    def _convolve(self, h: Tensor, cache: StateCache | None, layer: int) -> Tensor:
        """(B, E, L), each position from itself and the K - 1 before it, which the cache keeps."""
        start = cache is None or cache.length == 0
        window = F.pad(h, (self.span - 1, 0)) if start else torch.cat([cache.windows[layer].to(h.dtype), h], -1)  # type: ignore[union-attr]
        if cache is not None:
            cache.windows[layer].copy_(window[..., window.shape[-1] - self.span + 1 :])
        kernel = convolution_kernel(h.device.type) if start and h.dtype != torch.float64 else None
        if kernel is not None:
            weight, bias = self.convolution.weight.squeeze(1), self.convolution.bias
            return kernel(h, weight.to(h.dtype), bias.to(h.dtype), activation="silu")  # type: ignore[union-attr]
        return F.silu(self.convolution(window))


class Mamba(CellNetwork):
    """Logits of each next cell, by a state of fixed size that all cells before it have written.

    Args:
        width: D, divisible by the number of attributes.
        depth: number of blocks.
        state_size: N.
        expand: E / D.
        span: K, cells that a block's convolution reads.
        head: ``separate`` or ``joint``, as in CellNetwork.
        embedding: ``separate``, ``combined`` or ``joint``, as in CellNetwork.
        symbols: number of symbols of each attribute.
        num_states: number of symbols of the joint head.
        num_labels: classes of the optional label; 0 makes an unconditional network.
        reads_unknown: does it read which cells are unknown? Null is no; `genraven fit` makes it yes where the data can
            have missing cells.
    """

    def __init__(
        self,
        *,
        width: int = 768,
        depth: int = 12,
        state_size: int = 16,
        expand: int = 2,
        span: int = 4,
        head: Head = "separate",
        embedding: Embedding = "separate",
        symbols: tuple[int, ...] = (8, 11, 11),
        num_states: int = 701,
        num_labels: int = 0,
        reads_unknown: bool | None = None,
    ) -> None:
        check_ranges(width=width, depth=depth, state_size=state_size, expand=expand, span=span, num_labels=num_labels)
        super().__init__(
            width=width,
            head=head,
            embedding=embedding,
            symbols=symbols,
            num_states=num_states,
            num_labels=num_labels,
            reads_unknown=reads_unknown,
        )
        self.cache_shape = (expand * width, state_size, span)
        self.blocks = nn.ModuleList(Block(width, state_size, expand, span) for _ in range(depth))
        self.norm = nn.RMSNorm(width, eps=1e-5)
        self.heads = self.make_heads()
        for block in self.blocks:
            block.initialise(depth)  # type: ignore[operator]
        for table in (self.start, *self.embeddings, *self.heads):
            nn.init.normal_(table.weight, std=0.02)  # type: ignore[arg-type]
        for head_ in self.heads:
            nn.init.zeros_(head_.bias)  # type: ignore[arg-type]
        if self.unknown is not None:  # last, so that all else begins as in a network without
            nn.init.normal_(self.unknown, std=0.02)

    def new_cache(self, batch_size: int) -> StateCache:
        """An empty cache for ``batch_size`` sequences."""
        channels, state_size, span = self.cache_shape
        return StateCache((len(self.blocks), batch_size, channels, state_size, span), self.start.weight)

    def trunk(self, x: Tensor, cache: StateCache | None) -> Tensor:
        """(B, L, D), normalised, from embedded positions (B, L, D) that follow those in the cache."""
        for layer, block in enumerate(self.blocks):
            # With a cache as it was written: compiled it would be compiled anew for each layer.
            x = block(x, cache, layer) if cache is None else block.forward(x, cache, layer)
        if cache is not None:
            cache.advance(x.shape[1])
        return self.norm(x)
