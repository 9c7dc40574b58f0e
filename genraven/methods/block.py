"""Block diffusion: a puzzle is written block by block, and the cells of a block by masked diffusion.

Arriola et al. 2025, "Block diffusion: interpolating between autoregressive and diffusion language models" (arXiv
2503.09573). One block of the whole puzzle is masked diffusion; blocks of one cell are autoregression by a network that
reads a mask in the place of the cell that it writes.

B puzzles, L = 81 cells in the order of tokens, n cells of a block, K = L / n blocks, V = 701 states of a cell.
"""

from collections.abc import Callable, Collection
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from genraven.errors import InputError
from genraven.methods.draws import at_least_float32, uniform_draws
from genraven.methods.masked import NUM_READ, MaskedDiffusion, MaskedSampling
from genraven.methods.method import Draw, Likelihood, LogProbability, Sampling, Task, check_kind, device_of, num_labels
from genraven.methods.unmasking import (
    Writing,
    guided,
    log_probability_in_order,
    symbols_of_states,
    write_masked,
)
from genraven.networks.cells import BlockNetwork
from genraven.progress import watched
from genraven.puzzles import layout
from genraven.puzzles.masks import known_within
from genraven.puzzles.spec import EMPTY, NUM_CELLS, TOKENS_PER_PUZZLE


@dataclass(frozen=True)
class BlockSampling(MaskedSampling):
    """Settings of sampling by block diffusion.

    Args:
        num_steps: network evaluations of each block of a generated puzzle, each of which writes about as many cells as
            the others; null is one for each cell, which is exact for the network.
        order: in which the cells of a block are written; blocks come from left to right.
        temperature: of the softmax in generation.
        completion_steps: network evaluations of each block of a completed puzzle; null is one for each open cell, and
            no more are made than that.
        completion_order: as order; null is that.
        completion_temperature: of the softmax in completion; null is that of generation.
        remasking: fraction of the cells of a block written so far that are masked again before each evaluation.
        guidance_scale: of labels in generation (classifier-free); 1 is the network's own.
    """


class BlockDiffusion(MaskedDiffusion):
    """A network that says what stands in the masked cells of a block, given the blocks before it.

    Args:
        block_size: cells of a block: 1 is a cell, 9 a panel, 27 a row, 81 the puzzle.
        masked_share: of training puzzles, of which only cells within some panels or cells are masked and learned (half
            of these the last panel's). Validation is always over all cells.
        sampling: of generation and completion. Given cells of later blocks than an open one are not read for it.
        training_spacing: as of masked diffusion, in each block.

    Raises:
        InputError: a block size that does not divide the cells of a puzzle, a fraction or a spacing out of range.
    """

    settings = BlockSampling

    def __init__(
        self,
        block_size: int = 9,
        masked_share: float = 0.0,
        sampling: BlockSampling | None = None,
        training_spacing: float = 1.0,
    ) -> None:
        super().__init__(masked_share, sampling, training_spacing)
        if type(block_size) is not int or block_size < 1 or TOKENS_PER_PUZZLE % block_size:
            raise InputError(f"expected block_size to divide the {TOKENS_PER_PUZZLE} cells of a puzzle, got "
                             f"{block_size}: take 1, 3, 9 (a panel), 27 (a row) or 81 (the puzzle).")  # fmt: skip
        if block_size == 1 and training_spacing != 1:
            raise InputError(f"expected training_spacing 1 for blocks of one cell, which is always masked, got "
                             f"{training_spacing}: leave it out.")  # fmt: skip
        self.block_size, self.num_blocks = block_size, TOKENS_PER_PUZZLE // block_size

    @property
    def likelihood(self) -> Likelihood | None:  # type: ignore[override]
        """Exact for blocks of one cell, which have one order."""
        return ("exact", 1) if self.block_size == 1 else super().likelihood

    def architecture(self, network: nn.Module) -> str:
        """``Block diffusion``."""
        return "Block diffusion"

    def check_network(self, network: nn.Module) -> None:
        """Raises InputError unless it reads blocks."""
        check_kind(network, BlockNetwork, "reads a puzzle in blocks", "block.BlockTransformer", "block diffusion")

    def training_pass(self, network: nn.Module, cells: Tensor, masked: Tensor) -> Tensor:  # type: ignore[override]
        """A puzzle in blocks, read whole and masked."""
        return self._all(network, cells, masked, None)

    def check_sampling(self, network: nn.Module, sampling: Sampling, given: Collection[str] = ()) -> None:
        """Raises InputError on more evaluations than a block has cells, besides what masked diffusion refuses."""
        for name in ("num_steps", "completion_steps"):
            if (value := getattr(sampling, name)) is not None and value > self.block_size:
                raise InputError(f"expected {name} to be at most {self.block_size}, one for each cell of a block, got "
                                 f"{value}.")  # fmt: skip
        for name in ("order", "completion_order", "remasking") if self.block_size == 1 else ():
            if name in given and getattr(sampling, name):
                raise InputError(f"expected no {name} for blocks of one cell, got {getattr(sampling, name)}, which "
                                 "would change nothing: leave it out.")  # fmt: skip
        for name in ("order", "completion_order") if 1 < self.block_size <= NUM_CELLS else ():
            if name in given and getattr(sampling, name) == "panels":
                raise InputError(f"expected {name} other than panels for blocks of {self.block_size} cells, which lie "
                                 "in one panel, so that it would be random: leave it out.")  # fmt: skip
        super().check_sampling(network, sampling, given)

    def _nats(
        self,
        network: nn.Module,
        puzzles: Tensor,
        within: Tensor,
        labels: Tensor | None,
        draw: Draw,
        unknown: Tensor | None = None,
        spacing: float = 1.0,
    ) -> Tensor:
        """(B,) mean over the blocks of the mean cross-entropy of k masked cells of each, by their cells ``within``."""
        tokens = layout.puzzles_to_tokens(puzzles)
        if unknown is not None:
            within, tokens = known_within(within, unknown), tokens.masked_fill(unknown.unsqueeze(-1), EMPTY)
        in_blocks = within.unflatten(1, (self.num_blocks, self.block_size))
        size = in_blocks.sum(2)
        offsets = torch.arange(self.num_blocks, device=size.device) / self.num_blocks
        level = (draw.spread().unsqueeze(1) + offsets) % 1  # even over the blocks of a puzzle, too
        num = 1 + (level**spacing * size).long().minimum(size - 1)  # 0 of a block without
        scores = draw(torch.rand, TOKENS_PER_PUZZLE).masked_fill(~within, 2.0).view_as(in_blocks)
        masked = scores.argsort(2).argsort(2) < num.unsqueeze(2)
        hidden = masked.flatten(1) if unknown is None else masked.flatten(1) | unknown
        logits = self._all(network, tokens.long() + 1, hidden, labels, unknown)
        nats = F.cross_entropy(logits.flatten(0, 1), layout.tokens_to_states(tokens).flatten(), reduction="none")
        of_blocks = (nats.view_as(in_blocks) * masked).sum(2) / num.clamp(min=1)
        return (of_blocks * size).sum(1) / size.sum(1).clamp(min=1)

    def _all(
        self, network: nn.Module, cells: Tensor, masked: Tensor, labels: Tensor | None, unknown: Tensor | None = None
    ) -> Tensor:
        """(B, L, V) logits of all blocks."""
        read: Callable[..., Tensor] = network.all_blocks  # type: ignore[assignment]
        return at_least_float32(read(cells, masked, labels, block_size=self.block_size, unknown=unknown))

    def generate(  # type: ignore[override]
        self,
        network: nn.Module,
        n: int,
        labels: Tensor | None,
        sampling: BlockSampling,
        generator: torch.Generator | None,
    ) -> Tensor:
        blank = torch.zeros(n, TOKENS_PER_PUZZLE, dtype=torch.int64, device=device_of(network))
        on_host, on_device = (torch.ones_like(blank, dtype=torch.bool, device=at) for at in ("cpu", blank.device))
        writing = Writing(sampling.num_steps, sampling.order, sampling.temperature, sampling.remasking)
        reader = _Reader(network, self.block_size, labels, sampling.guidance_scale, n)
        written = self._written(reader, blank, on_host, on_device, writing, generator)
        return layout.tokens_to_puzzles(layout.states_to_tokens(written))

    def complete(  # type: ignore[override]
        self,
        network: nn.Module,
        puzzles: Tensor,
        mask: Tensor,
        sampling: BlockSampling,
        generator: torch.Generator | None,
        labels: Tensor | None = None,
    ) -> Tensor:
        """``puzzles`` with the cells under ``mask`` written, each given its block and those before it."""
        own = sampling.completion_temperature
        writing = Writing(
            sampling.completion_steps,
            sampling.completion_order or sampling.order,
            sampling.temperature if own is None else own,
            sampling.remasking,
        )
        states, on_device = layout.tokens_to_states(layout.puzzles_to_tokens(puzzles)), layout.mask_to_tokens(mask)
        reader = _Reader(network, self.block_size, labels, 1.0, len(puzzles))
        on_host = layout.mask_to_tokens(mask.cpu())
        written = self._written(reader, states.masked_fill(on_device, 0), on_host, on_device, writing, generator)
        return layout.tokens_to_puzzles(layout.states_to_tokens(written)).where(mask.unsqueeze(1), puzzles)

    def leaves_unread(self, network: nn.Module, mask: Tensor, sampling: MaskedSampling) -> Tensor:
        """Those with given cells in a later block than an open one."""
        blocks = layout.mask_to_tokens(mask).unflatten(1, (self.num_blocks, self.block_size))
        is_after = blocks.any(2).cummax(1).values[:, :-1]
        return (is_after & ~blocks.all(2)[:, 1:]).any(1)

    def _written(
        self,
        reader: "_Reader",
        states: Tensor,
        on_host: Tensor,
        on_device: Tensor,
        writing: Writing,
        generator: torch.Generator | None,
    ) -> Tensor:
        """(B, L) ``states`` with the open cells written, block by block, from the first that has some to the last."""
        blocks = on_host.unflatten(1, (self.num_blocks, self.block_size)).any(2).any(0).nonzero().flatten().tolist()
        if not blocks:
            return states
        states, n = states.clone(), self.block_size
        if blocks[0]:
            reader.keep(states[:, : blocks[0] * n])
        for i in watched(range(blocks[-1] + 1)):
            part = slice(i * n, (i + 1) * n)
            states[:, part] = write_masked(
                reader,
                states[:, part],
                on_host[:, part],
                writing,
                generator=generator,
                on_device=on_device[:, part],
                num_reserved=n,
            )
            if blocks[0] <= i < blocks[-1]:
                reader.keep(states[:, part])
        return states

    def log_probability(
        self, network: nn.Module, puzzles: Tensor, mask: Tensor, generator: torch.Generator | None
    ) -> LogProbability:
        """Of each cell given the blocks before its own, and of that what is not masked or comes before it; the mean
        over random orders. Exact where no given block comes after an open one.
        """
        states, masked = layout.tokens_to_states(layout.puzzles_to_tokens(puzzles)), layout.mask_to_tokens(mask.cpu())
        symbols = symbols_of_states(states.device)

        def predict(states: Tensor, masked: Tensor, positions: Tensor | None) -> Tensor:
            logits = self._all(network, symbols[states], masked, None)
            assert positions is not None
            return logits.gather(1, positions.unsqueeze(-1).expand(-1, -1, logits.shape[-1]))

        num = 1 if self.block_size == 1 else NUM_READ
        drawn = [log_probability_in_order(predict, states, masked, generator=generator) for _ in range(num)]
        return LogProbability(*(torch.stack(part).mean(0) for part in zip(*drawn, strict=True)))

    def nfe(  # type: ignore[override]
        self, network: nn.Module, sampling: BlockSampling, task: Task, num_open: int, *, labels: bool
    ) -> float:
        """An evaluation reads a block, which is a part of the puzzle; each but the last is read once more, whole."""
        completes = task == "complete"
        num_given = TOKENS_PER_PUZZLE - num_open if completes else 0
        steps = sampling.completion_steps if completes else sampling.num_steps
        before, n = num_given // self.block_size, self.block_size
        of_first = (before + 1) * n - num_given
        num_cells = [of_first] + [n] * (self.num_blocks - before - 1)
        nfe = sum(min(steps or num, num) for num in num_cells)
        guided = labels and not completes and sampling.guidance_scale != 1
        return (2 if guided else 1) * (nfe + self.num_blocks - 1) * n / TOKENS_PER_PUZZLE

    def probe_forward(
        self, network: nn.Module, puzzles: Tensor, level: float | None, generator: torch.Generator
    ) -> None:
        """Passes ``puzzles``, whole and with some cells masked, through the network, as training does."""
        assert level is not None
        tokens = layout.puzzles_to_tokens(puzzles)
        masked = uniform_draws(tokens.shape[:2], tokens.device, generator) < level
        self._all(network, tokens.long() + 1, masked, None)


class _Reader:
    """A network that reads block after block, its labels strengthened by guidance: what ``write_masked`` asks.

    With guidance each puzzle is read twice side by side, with its label and without.

    Args:
        network: of blocks.
        block_size: cells of a block.
        labels: (B,) or None.
        guidance_scale: 1 is the network's own.
        num: B.
    """

    def __init__(
        self, network: nn.Module, block_size: int, labels: Tensor | None, guidance_scale: float, num: int
    ) -> None:
        self.network, self.block_size, self.scale = network, block_size, guidance_scale
        self.twice = 2 if labels is not None and guidance_scale != 1 else 1
        if labels is not None and self.twice == 2:
            labels = torch.cat([labels, torch.full_like(labels, num_labels(network))])
        self.labels, self.cache = labels, network.new_cache(self.twice * num)  # type: ignore[operator]
        self.symbols = symbols_of_states(device_of(network))

    def keep(self, states: Tensor) -> None:
        """Reads whole blocks (B, m) of states, once and for all."""
        cells = self.symbols[states].repeat(self.twice, 1, 1)
        self.network.keep(cells, self.labels, self.cache, block_size=self.block_size)  # type: ignore[operator]

    def __call__(self, states: Tensor, masked: Tensor, positions: Tensor | None) -> Tensor:
        """Logits (B, P, V) of the block that follows, from its states (B, n) and which are masked."""
        parts = self.symbols[states], masked, positions
        cells, masked, asked = (None if part is None else torch.cat([part] * self.twice) for part in parts)  # type: ignore[assignment]
        logits = at_least_float32(self.network.next_block(cells, masked, self.labels, asked, self.cache))  # type: ignore[operator]
        if self.twice == 1:
            return logits
        with_labels, without = logits.chunk(2)
        return guided(with_labels, without, self.scale)
