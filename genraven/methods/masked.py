"""Masked diffusion: cells are masked as a whole, and the network says what stands under each mask.

The absorbing-state diffusion of MDLM (Sahoo et al. 2024), MD4 (Shi et al. 2024) and RADD (Ou et al. 2024), whose
objective is that of autoregression in any order.

B puzzles, L = 81 cells in the order of tokens, V = 701 states of a cell (0 empty), P cells to predict.
"""

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from genraven.errors import InputError, check_fraction, check_number
from genraven.methods import decoding
from genraven.methods.draws import at_least_float32, uniform_draws
from genraven.methods.method import (
    Draw,
    Likelihood,
    LogProbability,
    Method,
    Sampling,
    Task,
    check_kind,
    device_of,
    mean_within,
    setting,
)
from genraven.methods.orders import ORDERS
from genraven.methods.unmasking import (
    Predict,
    Writing,
    guided,
    log_probability_in_order,
    symbols_of_states,
    write_masked,
    write_some,
)
from genraven.networks.cells import LearnsMaskedCells, MaskedCellNetwork
from genraven.networks.compiling import compiled_step, static_buffers
from genraven.networks.slices import in_slices
from genraven.puzzles import layout
from genraven.puzzles.masks import NUM_DRAWS, known_within, random_masks
from genraven.puzzles.spec import EMPTY, TOKENS_PER_PUZZLE

ARCHITECTURES = {"RelationalMasked": "Relational MDM", "AxialMasked": "Axial MDM"}
READ_AT = (0.1, 0.3, 0.5)
NUM_BOUNDS = 8  # draws of the bound of a puzzle
NUM_READ = 2  # orders in which the probability of what was written is read


@dataclass(frozen=True)
class MaskedSampling(Sampling):
    """Settings of sampling by masked diffusion.

    Args:
        num_steps: network evaluations of a generated puzzle, each of which writes about as many cells as the others;
            null is one for each cell, which is exact for the network.
        order: in which cells are written: at random, from left to right, panel after panel, or those first that the
            network is surest of, by the probability of what was drawn (confidence), by entropy, or by the margin of
            the two likeliest. A network of cells alone generates badly by what it is surest of, which is empty cells.
        temperature: of the softmax in generation.
        completion_steps: network evaluations of a completed puzzle; null is one for each open cell, and no more are
            made than that.
        completion_order: as order; null is that.
        completion_temperature: of the softmax in completion; null is that of generation.
        remasking: fraction of the cells written so far that are masked again before each evaluation.
        guidance_scale: of labels in generation (classifier-free); 1 is the network's own.
    """

    num_steps: int | None = setting(None, least=1, of="generate")
    order: str = setting("random", among=ORDERS, in_vain_at={"num_steps": 1, "completion_steps": 1})
    temperature: float = setting(1.0, least=0)
    completion_steps: int | None = setting(None, least=1, of="complete")
    completion_order: str | None = setting(
        None, among=ORDERS, of="complete", instead_of="order", in_vain_at={"completion_steps": 1}
    )
    completion_temperature: float | None = setting(None, least=0, of="complete", instead_of="temperature")
    remasking: float = setting(0.0, least=0, below=1, in_vain_at={"num_steps": 1, "completion_steps": 1})
    guidance_scale: float = setting(1.0, of="generate")


class MaskedDiffusion(Method):
    """A network that says what stands in masked cells, trained with any number of them.

    Args:
        masked_share: of training puzzles, that are masked within some panels or cells only (half of these within the
            last panel), for the network to learn to complete them sooner. Validation is always over all cells.
        sampling: of generation and completion.
        training_spacing: in training the fraction of masked cells is u ** training_spacing for a uniform u: below
            1, more puzzles are nearly all masked, where a network that memorises has most to learn.

    Raises:
        InputError: a fraction or a spacing out of range.
    """

    family = "diffusion"
    settings = MaskedSampling
    confidences = ("agreement", "strongest", "log_probability", "stability")

    def __init__(
        self, masked_share: float = 0.0, sampling: MaskedSampling | None = None, training_spacing: float = 1.0
    ) -> None:
        super().__init__(sampling)
        check_fraction("masked_share", masked_share)
        check_number("training_spacing", training_spacing)
        if not 0 < training_spacing < math.inf:
            raise InputError(f"expected training_spacing above 0, got {training_spacing}: 1 is even.")
        self.masked_share, self.training_spacing = masked_share, training_spacing

    @property
    def likelihood(self) -> Likelihood | None:  # type: ignore[override]
        """A bound, of generation in random order: what is written in another order has another likelihood."""
        return ("bound", NUM_BOUNDS) if self.sampling.order == "random" else None  # type: ignore[attr-defined]

    def architecture(self, network: nn.Module) -> str:
        """``MDM``, a masked diffusion model, ``Relational MDM`` or ``Axial MDM``."""
        return ARCHITECTURES.get(type(network).__name__, "MDM")

    def check_network(self, network: nn.Module) -> None:
        """Raises InputError unless it reads masked cells."""
        check_kind(network, MaskedCellNetwork, "reads masked cells", "bidirectional.BidirectionalTransformer",
                   "masked diffusion")  # fmt: skip

    def check_sampling(self, network: nn.Module, sampling: Sampling, given: Collection[str] = ()) -> None:
        """Raises InputError on more evaluations than cells, or a temperature at which nothing would be drawn."""
        super().check_sampling(network, sampling, given)
        assert isinstance(sampling, MaskedSampling)
        for name in ("num_steps", "completion_steps"):
            if (value := getattr(sampling, name)) is not None and value > TOKENS_PER_PUZZLE:
                raise InputError(f"expected {name} to be at most {TOKENS_PER_PUZZLE}, one for each cell, got {value}.")
        if sampling.temperature < decoding.COLD:
            raise InputError(f"expected a temperature above 0 to generate, got {sampling.temperature:g}, which would "
                             "write nearly the same puzzle each time: choose one, or set completion_temperature "
                             "alone.")  # fmt: skip
        if "remasking" in given and sampling.remasking and sampling.num_steps == 1 == sampling.completion_steps:
            raise InputError(f"expected 2 network evaluations or more with remasking {sampling.remasking}, got 1: "
                             "later evaluations write the cells that are masked again.")  # fmt: skip

    def check_missing(self, network: nn.Module) -> None:
        """Raises nothing: an unknown cell is one that is masked, always."""

    def losses(
        self, network: nn.Module, puzzles: Tensor, labels: Tensor | None, draw: Draw, unknown: Tensor | None = None
    ) -> Tensor:
        """(B,) mean cross-entropy of the masked cells in nats; one draw of a bound on the nats per known cell."""
        within = torch.ones(len(puzzles), TOKENS_PER_PUZZLE, dtype=torch.bool, device=puzzles.device)
        if network.training and self.masked_share:
            parts = layout.mask_to_tokens(random_masks(draw(torch.rand, NUM_DRAWS)))
            chosen = draw(torch.rand) < self.masked_share
            within = torch.where(chosen.unsqueeze(1), parts, within)
        missing = None if unknown is None else layout.mask_to_tokens(unknown)
        spacing = self.training_spacing if network.training else 1.0
        return self._nats(network, puzzles, within, labels, draw, missing, spacing)

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
        """(B,) mean cross-entropy of k masked cells ``within`` (B, L) some: k from 1 to all, uniform at spacing 1.

        Those that are ``unknown`` (B, L) are masked besides, and do not count.
        """
        tokens = layout.puzzles_to_tokens(puzzles)
        if unknown is not None:
            within, tokens = known_within(within, unknown), tokens.masked_fill(unknown.unsqueeze(-1), EMPTY)
        size = within.sum(1)
        num = 1 + (draw.spread() ** spacing * size).long().minimum(size - 1)
        scores = draw(torch.rand, TOKENS_PER_PUZZLE).masked_fill(~within, 2.0)
        masked = scores.argsort(1).argsort(1) < num.unsqueeze(1)
        cells, hidden = tokens.long() + 1, masked if unknown is None else masked | unknown
        if network.training and isinstance(network, LearnsMaskedCells):
            return network.training_losses(cells, hidden, masked, labels)
        logits = at_least_float32(network(cells, hidden, labels).flatten(0, 1))
        nats = F.cross_entropy(logits, layout.tokens_to_states(tokens).flatten(), reduction="none")
        return mean_within(nats.view_as(masked), masked)

    def nats_per_cell(self, network: nn.Module, puzzles: Tensor, labels: Tensor | None, draw: Draw) -> Tensor:
        """(B, 8) independent draws of the any-order bound (Uria et al. 2014; Hoogeboom et al. 2022).

        It bounds the negative log-likelihood of generation in random order, a cell an evaluation, at temperature 1,
        without guidance or remasking.
        """
        whole = torch.ones(len(puzzles), TOKENS_PER_PUZZLE, dtype=torch.bool, device=puzzles.device)
        num = 1 if self.likelihood == ("exact", 1) else NUM_BOUNDS
        return torch.stack([self._nats(network, puzzles, whole, labels, draw) for _ in range(num)], 1)

    def generate(
        self,
        network: nn.Module,
        n: int,
        labels: Tensor | None,
        sampling: MaskedSampling,
        generator: torch.Generator | None,
    ) -> Tensor:
        states = torch.zeros(n, TOKENS_PER_PUZZLE, dtype=torch.int64, device=device_of(network))
        written = write_masked(
            _predictor(network, labels, sampling.guidance_scale),
            states,
            torch.ones(states.shape, dtype=torch.bool, device="cpu"),
            Writing(sampling.num_steps, sampling.order, sampling.temperature, sampling.remasking),
            generator=generator,
            **_compiled(network),
        )
        return layout.tokens_to_puzzles(layout.states_to_tokens(written))

    def complete(
        self,
        network: nn.Module,
        puzzles: Tensor,
        mask: Tensor,
        sampling: MaskedSampling,
        generator: torch.Generator | None,
        labels: Tensor | None = None,
    ) -> Tensor:
        """``puzzles`` with the cells under ``mask`` written; the given ones are simply not masked."""
        own = sampling.completion_temperature
        written = write_masked(
            _predictor(network, labels, 1.0),
            layout.tokens_to_states(layout.puzzles_to_tokens(puzzles)),
            layout.mask_to_tokens(mask.cpu()),
            Writing(
                sampling.completion_steps,
                sampling.completion_order or sampling.order,
                sampling.temperature if own is None else own,
                sampling.remasking,
            ),
            generator=generator,
            **_compiled(network),
        )
        return layout.tokens_to_puzzles(layout.states_to_tokens(written)).where(mask.unsqueeze(1), puzzles)

    def log_probability(
        self, network: nn.Module, puzzles: Tensor, mask: Tensor, generator: torch.Generator | None
    ) -> LogProbability:
        """Of each cell given the others that are not masked and those before it, the mean over random orders."""
        states, masked = layout.tokens_to_states(layout.puzzles_to_tokens(puzzles)), layout.mask_to_tokens(mask.cpu())
        predict = _predictor(network, None, 1.0)
        drawn = [log_probability_in_order(predict, states, masked, generator=generator) for _ in range(NUM_READ)]
        return LogProbability(*(torch.stack(part).mean(0) for part in zip(*drawn, strict=True)))

    def nfe(self, network: nn.Module, sampling: MaskedSampling, task: Task, num_open: int, *, labels: bool) -> float:
        """Each reads all cells."""
        if task == "complete":
            return min(sampling.completion_steps or num_open, num_open)
        return (sampling.num_steps or TOKENS_PER_PUZZLE) * (2 if labels and sampling.guidance_scale != 1 else 1)

    def passes(self, network: nn.Module, sampling: MaskedSampling, task: Task, num_open: int, *, labels: bool) -> float:
        """Some networks answer for the cells that are asked for alone; some orders, and remasking, ask for all."""
        evaluations = self.nfe(network, sampling, task, num_open, labels=labels)
        if task == "complete":
            order, steps = sampling.completion_order or sampling.order, sampling.completion_steps
        else:
            order, steps, num_open = sampling.order, sampling.num_steps, TOKENS_PER_PUZZLE
        asks_for_all = ORDERS[order].after is not None or sampling.remasking
        num_asked = TOKENS_PER_PUZZLE if asks_for_all else math.ceil(num_open / min(steps or num_open, num_open))
        assert isinstance(network, MaskedCellNetwork)
        return evaluations * network.share_of_pass(num_asked)

    def reading_levels(self, asked: Sequence[float] | None) -> list[float | None]:
        """Fractions of the cells that are masked."""
        for fraction in asked or ():
            if not 0 <= fraction < 1:
                raise InputError(
                    f"expected --noise, the fraction of masked cells, from 0 to below 1, got {fraction:g}."
                )
        return list(asked or READ_AT)

    def probe_forward(
        self, network: nn.Module, puzzles: Tensor, level: float | None, generator: torch.Generator
    ) -> None:
        """Passes ``puzzles`` with some cells masked through the network."""
        assert level is not None
        tokens = layout.puzzles_to_tokens(puzzles)
        network(tokens.long() + 1, uniform_draws(tokens.shape[:2], tokens.device, generator) < level)


def _compiled(network: nn.Module) -> dict[str, Any]:
    """What ``write_masked`` needs for steps that are compiled whole; nothing where they are not."""
    step = compiled_step(write_some, network)
    return {} if step is None else {"step": step, "static": partial(static_buffers, network)}


def _predictor(network: nn.Module, labels: Tensor | None, guidance_scale: float) -> Predict:
    """The network on states, its labels strengthened by guidance."""
    symbols, read = symbols_of_states(device_of(network)), in_slices(network)

    def predict(states: Tensor, masked: Tensor, positions: Tensor | None) -> Tensor:
        cells = symbols[states]
        logits = at_least_float32(read(cells, masked, labels, positions))
        if labels is None or guidance_scale == 1:
            return logits
        return guided(logits, at_least_float32(read(cells, masked, None, positions)), guidance_scale)

    return predict
