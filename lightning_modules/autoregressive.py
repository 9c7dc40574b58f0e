"""AutoregressiveModule: writes a puzzle cell by cell."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from lightning.pytorch.cli import OptimizerCallable
from torch import Tensor

from genraven import decoding
from genraven.errors import InputError
from genraven.networks.cells import CellNetwork
from genraven.puzzles import layout
from genraven.puzzles.spec import EMPTY, GRID, NUM_ATTRIBUTES, TOKENS_PER_PUZZLE
from lightning_modules.base import PuzzleModule, Schedule


class AutoregressiveModule(PuzzleModule):
    """A network that predicts each next cell from those before it.

    Args:
        network: of cell tokens.
        optimizer: makes the optimizer of the parameters.
        warmup_steps: optimizer steps of linear warm-up.
        schedule: of the learning rate after it.
        temperature: of sampling, when generating; 0 takes the likeliest cell.
        completion_temperature: of sampling, when completing.
        top_k: only so many likeliest symbols of a head are drawn; null for all.
        num_particles: tries of a puzzle when completing cells with given ones after them, weighted by how well these
            then fit; 1 does not look at what comes after.
        label_dropout: share of training puzzles whose label is hidden from a network with labels.
        seed: of all draws.
    """

    family = "autoregressive"
    network: CellNetwork

    def __init__(
        self,
        network: CellNetwork,
        *,
        optimizer: OptimizerCallable = torch.optim.AdamW,
        warmup_steps: int = 100,
        schedule: Schedule = "linear",
        temperature: float = 1.0,
        completion_temperature: float = 1.0,
        top_k: int | None = None,
        num_particles: int = 1,
        label_dropout: float = 0.1,
        seed: int = 0,
    ) -> None:
        super().__init__(
            network,
            optimizer=optimizer,
            warmup_steps=warmup_steps,
            schedule=schedule,
            label_dropout=label_dropout,
            seed=seed,
        )
        self.temperature, self.completion_temperature = temperature, completion_temperature
        self.top_k, self.num_particles = top_k, num_particles
        self.check_sampling()

    @property
    def architecture(self) -> str:
        """``GPT-2`` or ``Mamba``."""
        name = type(self.network).__name__
        return "GPT-2" if name == "Transformer" else name

    def check_sampling(self) -> None:
        """Raises InputError on settings of the sampling that are out of range."""
        for name, least in (("temperature", 0), ("completion_temperature", 0), ("top_k", 1), ("num_particles", 1)):
            value = getattr(self, name)
            if value is not None and not value >= least:  # nan is not
                raise InputError(f"expected {name} to be {least} or more, got {value}.")
        if self.num_particles > 1 and self.completion_temperature == 0:
            raise InputError("expected a completion_temperature above 0 with particles, got 0: nothing would be drawn.")

    def losses(self, puzzles: Tensor, labels: Tensor | None, draw: Callable[..., Tensor]) -> Tensor:
        """(B,) cross-entropy in nats per cell, summed over the heads; nothing is drawn."""
        tokens = layout.puzzles_to_tokens(puzzles)
        sizes = self.network.head_sizes
        logits = self.network(tokens[:, :-1].long() + 1, labels)
        targets = decoding.to_symbols(tokens, sizes)
        parts = zip(logits.split(sizes, -1), targets.unbind(-1), strict=True)
        nats = [F.cross_entropy(part.flatten(0, 1), y.flatten(), reduction="none") for part, y in parts]
        return torch.stack(nats).sum(0).view(targets.shape[:2]).mean(1)

    @torch.no_grad()
    def generate(self, n: int, rules: Tensor | None = None, generator: torch.Generator | None = None) -> Tensor:
        """(n, 3, 9, 9) int8 puzzles from nothing, of ``rules`` (n,) for a network with labels."""
        blank = torch.full((n, TOKENS_PER_PUZZLE, NUM_ATTRIBUTES), EMPTY, dtype=torch.int8, device=self.device)
        everywhere = torch.ones(n, TOKENS_PER_PUZZLE, dtype=torch.bool, device=self.device)
        return self._decode(blank, everywhere, self._check_rules(rules), self.temperature, generator)

    @torch.no_grad()
    def complete(self, puzzles: Tensor, mask: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """``puzzles`` (B, 3, 9, 9) with the cells under ``mask`` (B, 9, 9) bool written anew, in order."""
        self.check_mask(puzzles, mask)
        tokens, open_cells = layout.puzzles_to_tokens(puzzles), layout.mask_to_tokens(mask)
        given_after = (open_cells.cummax(1).values & ~open_cells).any()
        if self.num_particles > 1 and given_after:
            decoded = decoding.decode_particles(
                self.network,
                tokens,
                open_cells,
                num_particles=self.num_particles,
                generator=generator,
                temperature=self.completion_temperature,
                top_k=self.top_k,
            )
            completed = layout.tokens_to_puzzles(decoded)
        else:
            completed = self._decode(tokens, open_cells, None, self.completion_temperature, generator)
        return completed.where(mask.unsqueeze(1), puzzles)

    @torch.no_grad()
    def read(self, puzzles: Tensor, noise: float | None, generator: torch.Generator) -> None:
        """Passes all cells of ``puzzles`` but the last through the network, which so predicts each of them."""
        self.network(layout.puzzles_to_tokens(puzzles)[:, :-1].long() + 1)

    def _decode(
        self,
        tokens: Tensor,
        open_cells: Tensor,
        labels: Tensor | None,
        temperature: float,
        generator: torch.Generator | None,
    ) -> Tensor:
        shape = (len(tokens), TOKENS_PER_PUZZLE, len(self.network.head_sizes))
        uniform = torch.rand(shape, generator=generator, device=self.device)
        decoded = decoding.decode(
            self.network, tokens, open_cells, uniform, labels=labels, temperature=temperature, top_k=self.top_k
        )
        return layout.tokens_to_puzzles(decoded).view(-1, NUM_ATTRIBUTES, GRID, GRID)
