"""Autoregression: a puzzle is written cell by cell, each given all cells before it.

B puzzles, L = 81 cells in the order of tokens, A attributes.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from genraven.errors import InputError, check_fraction
from genraven.methods import decoding
from genraven.methods.draws import finest, uniform_draws
from genraven.methods.method import (
    Draw,
    LogProbability,
    Method,
    Sampling,
    Task,
    check_kind,
    check_reads_unknown,
    device_of,
    mean_within,
    setting,
)
from genraven.networks.cells import LearnsCells, NextCellNetwork
from genraven.puzzles import layout
from genraven.puzzles.masks import known_within, last_panel_mask, without
from genraven.puzzles.spec import EMPTY, GRID, NUM_ATTRIBUTES, NUM_ROWS, TOKENS_PER_PUZZLE

ARCHITECTURES = {"Transformer": "GPT-2", "RelationalAR": "Relational AR", "AxialTransformer": "Axial AR"}


@dataclass(frozen=True)
class AutoregressiveSampling(Sampling):
    """Settings of autoregressive decoding.

    Args:
        temperature: of the softmax; 0 takes the likeliest symbol.
        completion_temperature: of the softmax when completing; null is the temperature of generation. The study
            completes with 0, greedily.
        top_k: only so many likeliest symbols of a head are drawn; null for all.
        num_particles: weighted samples of a puzzle (particles) when given cells come after open ones, each weighted by
            how well these then fit; 1 does not look at what comes after. A network that predicts rows whatever the
            order of the others reads those with fewer open cells first: where one row alone is open, only given cells
            of that row can come after.
    """

    temperature: float = setting(1.0, least=0)
    completion_temperature: float | None = setting(None, least=0, of="complete", instead_of="temperature")
    top_k: int | None = setting(None, least=1, in_vain_at={"temperature": 0, "completion_temperature": 0})
    num_particles: int = setting(1, least=1, of="complete")

    @property
    def when_completing(self) -> float:
        """The temperature of completion."""
        return self.temperature if self.completion_temperature is None else self.completion_temperature


class Autoregressive(Method):
    """A network that predicts each next cell from those before it.

    Args:
        masked_share: of training puzzles, of whose cells the last panel's alone are learned, for the network to
            complete it sooner: what masks are to diffusion. Validation is always over all cells.
        sampling: of generation and completion.
        input_masking: fraction of the cells that are read in training as unknown, each drawn by itself, while all are
            learned: the noise on inputs that masked diffusion trains with, in the order of autoregression (Gao et al.
            2025, arXiv 2510.04071). Above 0 the network reads unknown cells (network.reads_unknown).

    Raises:
        InputError: a fraction out of range.
    """

    family = "autoregressive"
    settings = AutoregressiveSampling
    likelihood = ("exact", 1)
    confidences = ("agreement", "strongest", "log_probability")
    study_protocol: ClassVar[Mapping[str, Any]] = {
        "temperature": 1.0,
        "completion_temperature": 0.0,
    }  # it completes greedily
    pools = ("mean", "last")

    def __init__(
        self, masked_share: float = 0.0, sampling: AutoregressiveSampling | None = None, input_masking: float = 0.0
    ) -> None:
        super().__init__(sampling)
        check_fraction("masked_share", masked_share)
        check_fraction("input_masking", input_masking, below=1)
        self.masked_share, self.input_masking = masked_share, input_masking

    def architecture(self, network: nn.Module) -> str:
        """``GPT-2``, ``Mamba``, ``Relational AR`` or ``Axial AR``."""
        name = type(network).__name__
        return ARCHITECTURES.get(name, name)

    def check_network(self, network: nn.Module) -> None:
        """Raises InputError unless it reads cells in order, and where inputs are masked, unknown ones."""
        check_kind(network, NextCellNetwork, "predicts each next cell", "transformer.Transformer",
                   "an autoregressive model", "give it to DiffusionModule")  # fmt: skip
        if self.input_masking and isinstance(network, LearnsCells):
            raise InputError("expected input_masking 0 for a network with a training loss of its own, got it above 0 "
                             f"for {type(network).__name__}: leave it out.")  # fmt: skip
        if self.input_masking:
            check_reads_unknown(network, "input_masking above 0", "set input_masking to 0")

    def check_sampling(self, network: nn.Module, sampling: Sampling, given: Collection[str] = ()) -> None:
        """Raises InputError where particles would all be the same."""
        super().check_sampling(network, sampling, given)
        assert isinstance(sampling, AutoregressiveSampling)
        if sampling.num_particles > 1 and sampling.when_completing < decoding.COLD:
            raise InputError(f"expected a completion_temperature above 0 with particles, got "
                             f"{sampling.when_completing:g}: nothing would be drawn.")  # fmt: skip

    def check_missing(self, network: nn.Module) -> None:
        """Raises InputError unless it reads unknown cells."""
        check_reads_unknown(network)

    def losses(
        self, network: nn.Module, puzzles: Tensor, labels: Tensor | None, draw: Draw, unknown: Tensor | None = None
    ) -> Tensor:
        """(B,) cross-entropy in nats per known cell, summed over the heads; drawn is what is masked."""
        missing = None if unknown is None else layout.mask_to_tokens(unknown)
        tokens = layout.puzzles_to_tokens(puzzles if unknown is None else without(puzzles, unknown))
        learned = None if missing is None else ~missing
        if self.masked_share and network.training:
            is_whole = draw(torch.rand) >= self.masked_share
            learned = is_whole.unsqueeze(1) | layout.mask_to_tokens(last_panel_mask(len(tokens), tokens.device))
            learned = learned if missing is None else known_within(learned, missing)
        if network.training and isinstance(network, LearnsCells):
            return network.training_losses(tokens.long() + 1, labels, learned, missing, draw(torch.rand))
        hidden = missing
        if self.input_masking and network.training:
            hidden = draw(torch.rand, TOKENS_PER_PUZZLE) < self.input_masking
            hidden = hidden if missing is None else hidden | missing
        read = {} if hidden is None else {"unknown": hidden[:, :-1]}
        logits = network(tokens[:, :-1].long() + 1, labels, **read)
        of_cell = decoding.symbol_nats(logits, network.head_sizes, tokens)  # type: ignore[arg-type]
        return of_cell.mean(1) if learned is None else mean_within(of_cell, learned)

    def nats_per_cell(self, network: nn.Module, puzzles: Tensor, labels: Tensor | None, draw: Draw) -> Tensor:
        """(B, 1): the negative log-likelihood itself."""
        tokens = layout.puzzles_to_tokens(puzzles)
        logits = network(tokens[:, :-1].long() + 1, labels)
        return -decoding.cell_log_likelihood(logits, network.head_sizes, tokens).mean(1, keepdim=True)  # type: ignore[arg-type]

    def generate(
        self,
        network: nn.Module,
        n: int,
        labels: Tensor | None,
        sampling: AutoregressiveSampling,
        generator: torch.Generator | None,
    ) -> Tensor:
        device = device_of(network)
        blank = torch.full((n, TOKENS_PER_PUZZLE, NUM_ATTRIBUTES), EMPTY, dtype=torch.int8, device=device)
        everywhere = torch.ones(n, TOKENS_PER_PUZZLE, dtype=torch.bool, device="cpu")
        tokens = _decoded(network, blank, everywhere, labels, sampling.temperature, sampling.top_k, generator)
        return layout.tokens_to_puzzles(tokens).view(-1, NUM_ATTRIBUTES, GRID, GRID)

    def complete(
        self,
        network: nn.Module,
        puzzles: Tensor,
        mask: Tensor,
        sampling: AutoregressiveSampling,
        generator: torch.Generator | None,
        labels: Tensor | None = None,
    ) -> Tensor:
        """``puzzles`` with the cells under ``mask`` written in order; with particles those after them count."""
        tokens, open_cells = layout.puzzles_to_tokens(puzzles), layout.mask_to_tokens(mask.cpu())
        order = _order(network, layout.mask_to_tokens(mask))
        tokens, open_cells = decoding.in_order(tokens, order), open_cells.gather(1, _order(network, open_cells))
        temperature, top_k = sampling.when_completing, sampling.top_k
        if sampling.num_particles > 1 and decoding.has_given_after(open_cells).any():
            decoded = decoding.decode_particles(
                network,  # type: ignore[arg-type]
                tokens,
                open_cells,
                num_particles=sampling.num_particles,
                generator=generator,
                labels=labels,
                temperature=temperature,
                top_k=top_k,
            )
        else:
            decoded = _decoded(network, tokens, open_cells, labels, temperature, top_k, generator)
        completed = layout.tokens_to_puzzles(decoding.in_order(decoded, order.argsort(1)))
        return completed.where(mask.unsqueeze(1), puzzles)

    def leaves_unread(self, network: nn.Module, mask: Tensor, sampling: AutoregressiveSampling) -> Tensor:
        """Those with given cells after open ones, in the order of reading: particles alone read them."""
        open_cells = layout.mask_to_tokens(mask)
        given_after = decoding.has_given_after(open_cells.gather(1, _order(network, open_cells)))
        return given_after & (sampling.num_particles == 1)

    def nfe(
        self, network: nn.Module, sampling: AutoregressiveSampling, task: Task, num_open: int, *, labels: bool
    ) -> float:
        """Once, cell by cell: the last cells have none given after them, so that particles are not needed.

        A network that need not read all that is given again takes less to complete.
        """
        return 1.0 if task == "generate" else network.passes(num_open)  # type: ignore[operator, no-any-return]

    def log_probability(
        self, network: nn.Module, puzzles: Tensor, mask: Tensor, generator: torch.Generator | None
    ) -> LogProbability:
        """Of each cell given those before it: exact where no given cell comes after a written one.

        Rows are read in the order in which they are completed; of a whole puzzle that is the given one.
        """
        tokens, written = layout.puzzles_to_tokens(puzzles), layout.mask_to_tokens(mask)
        order = _order(network, written)
        tokens, back = decoding.in_order(tokens, order), order.argsort(1)
        logits, sizes = network(tokens[:, :-1].long() + 1), network.head_sizes
        cells = decoding.cell_log_likelihood(logits, sizes, tokens).gather(1, back)  # type: ignore[arg-type]
        entropy = decoding.cell_entropy(logits, sizes).gather(1, back)  # type: ignore[arg-type]
        return LogProbability(cells.where(written, 0.0), -entropy.where(written, 0.0))

    def probe_forward(
        self, network: nn.Module, puzzles: Tensor, level: float | None, generator: torch.Generator
    ) -> None:
        """Passes all cells of ``puzzles`` but the last through the network, which so predicts each of them."""
        network(layout.puzzles_to_tokens(puzzles)[:, :-1].long() + 1)


def _decoded(
    network: nn.Module,
    tokens: Tensor,
    open_cells: Tensor,
    labels: Tensor | None,
    temperature: float,
    top_k: int | None,
    generator: torch.Generator | None,
) -> Tensor:
    """(B, L, A) tokens, their ``open_cells`` (B, L) written in order."""
    shape = (len(tokens), TOKENS_PER_PUZZLE, len(network.head_sizes))  # type: ignore[arg-type]
    uniform = uniform_draws(shape, tokens.device, generator, finest(tokens.device))
    return decoding.decode(
        network, tokens, open_cells, uniform, labels=labels, temperature=temperature, top_k=top_k  # type: ignore[arg-type]
    )  # fmt: skip


def _order(network: nn.Module, open_cells: Tensor) -> Tensor:
    """(B, L) int64 positions of a puzzle's cells in the order in which ``network`` reads them.

    One that predicts a row from those before it whatever their order reads the rows with fewer of the ``open_cells``
    (B, L) first: a row that alone is open comes last, given all others.
    """
    by_row = open_cells.unflatten(1, (NUM_ROWS, -1))
    num_open = by_row.sum(2) if network.rows_exchangeable else torch.zeros_like(by_row[..., 0], dtype=torch.int64)
    rows, positions = num_open.argsort(dim=1, stable=True), torch.arange(by_row.shape[2], device=open_cells.device)
    return (rows.unsqueeze(2) * len(positions) + positions).flatten(1)
