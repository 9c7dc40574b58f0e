"""Autoregression in any order: a network that knows where it writes next is trained in random orders.

The objective of masked diffusion in another form (Hoogeboom et al. 2022, "Autoregressive diffusion models"): a causal
network reads each cell once and keeps it (Pannatier et al. 2024, "Sigma-GPTs"). Whatever cells are given come first, so
that completion is exact with any mask.

B puzzles, L = 81 cells in the order of tokens, A attributes.
"""

from collections.abc import Collection
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from genraven.errors import InputError, check_fraction
from genraven.methods import decoding
from genraven.methods.draws import finest, uniform_draws
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
from genraven.methods.orders import ORDERS, known_before, positions_in_order, sorted_by_group
from genraven.networks.cells import AnyOrderNetwork
from genraven.puzzles import layout
from genraven.puzzles.masks import NUM_DRAWS, known_within, random_masks, without
from genraven.puzzles.spec import EMPTY, NUM_ATTRIBUTES, TOKENS_PER_PUZZLE

NUM_ORDERS = 8  # in which the likelihood of a model of random orders is estimated
NUM_READ = 2  # in which the probability of what was written is
GIVEN, OPEN, UNKNOWN = 0, 1, 2  # groups of cells, of which the first comes first


@dataclass(frozen=True)
class AnyOrderSampling(Sampling):
    """Settings of autoregression in any order.

    Args:
        order: in which cells are written, of those that do not wait for the network: at random, left to right, or
            panel after panel.
        completion_order: as order, of the open cells, which come after the given ones; null is that.
        temperature: of the softmax; 0 takes the likeliest symbol.
        completion_temperature: of the softmax when completing; null is the temperature of generation.
        top_k: only so many likeliest symbols of a head are drawn; null for all.
    """

    order: str = setting("random", among=ORDERS)
    completion_order: str | None = setting(None, among=ORDERS, of="complete", instead_of="order")
    temperature: float = setting(1.0, least=0)
    completion_temperature: float | None = setting(None, least=0, of="complete", instead_of="temperature")
    top_k: int | None = setting(None, least=1, in_vain_at={"temperature": 0, "completion_temperature": 0})

    @property
    def when_completing(self) -> tuple[str, float]:
        """Order and temperature of completion."""
        own = self.completion_temperature
        return self.completion_order or self.order, self.temperature if own is None else own


class AnyOrder(Method):
    """A network that predicts each next cell in an order from those before it in that order.

    Args:
        left_to_right: fraction of the training puzzles that are read in the order of tokens; others in random orders.
        masked_share: of training puzzles, of which the cells within some panels or some cells alone are learned (half
            of these the last panel's), after the others: what masks are to diffusion.
        sampling: of generation and completion. In its order validation reads, and the likelihood is.

    Raises:
        InputError: a fraction out of range.
    """

    family = "autoregressive"
    settings = AnyOrderSampling
    pools = ("mean", "last")

    def __init__(
        self, left_to_right: float = 0.0, masked_share: float = 0.0, sampling: AnyOrderSampling | None = None
    ) -> None:
        super().__init__(sampling)
        check_fraction("left_to_right", left_to_right)
        check_fraction("masked_share", masked_share)
        self.left_to_right, self.masked_share = left_to_right, masked_share

    @property
    def confidences(self) -> tuple[str, ...]:  # type: ignore[override]
        """All, but of a model that never reads given cells first: ``stability`` gives it half of what it wrote."""
        rewriting = () if self.is_forwards else ("stability",)
        return ("agreement", "strongest", "log_probability", *rewriting)

    @property
    def is_forwards(self) -> bool:
        """Was it trained from left to right alone? Then it knows no other order, also where cells are given."""
        return self.left_to_right == 1 and not self.masked_share

    @property
    def order(self) -> str:
        """The order in which it generates a puzzle."""
        return self.sampling.order  # type: ignore[attr-defined, no-any-return]

    @property
    def likelihood(self) -> Likelihood:  # type: ignore[override]
        """Exact in an order that no draw changes."""
        return ("exact", 1) if ORDERS[self.order].is_fixed else ("bound", NUM_ORDERS)

    def architecture(self, network: nn.Module) -> str:
        """``Any-order AR``."""
        return "Any-order AR"

    def check_network(self, network: nn.Module) -> None:
        """Raises InputError unless the network reads where it writes."""
        check_kind(network, AnyOrderNetwork, "reads where it writes next", "any_order.AnyOrderTransformer",
                   "autoregression in any order")  # fmt: skip

    def check_sampling(self, network: nn.Module, sampling: Sampling, given: Collection[str] = ()) -> None:
        """Raises InputError on an order that waits for what the network says of all cells, or was never trained."""
        super().check_sampling(network, sampling, given)
        usable = known_before()
        for name in ("order", "completion_order"):
            if (value := getattr(sampling, name)) is not None and value not in usable:
                raise InputError(f"expected {name} to be one of {', '.join(usable)} for autoregression, got {value}, "
                                 "which needs an output for every cell before one is written: choose one of "
                                 "those.")  # fmt: skip
            if value not in (None, "left_to_right") and self.left_to_right == 1:
                raise InputError(f"expected {name} to be left_to_right for a model that is trained in that order "
                                 f"alone, got {value}: choose that, or a fraction left_to_right below 1.")  # fmt: skip

    def check_missing(self, network: nn.Module) -> None:
        """Raises nothing: unknown cells come last, where nothing reads them."""

    def losses(
        self, network: nn.Module, puzzles: Tensor, labels: Tensor | None, draw: Draw, unknown: Tensor | None = None
    ) -> Tensor:
        """(B,) cross-entropy in nats per known cell, summed over the heads, in orders that are drawn."""
        tokens = layout.puzzles_to_tokens(puzzles if unknown is None else without(puzzles, unknown))
        uniform, groups = draw(torch.rand, TOKENS_PER_PUZZLE), None
        if network.training and self.masked_share:
            within = layout.mask_to_tokens(random_masks(draw(torch.rand, NUM_DRAWS)))
            groups = (within | (draw(torch.rand) >= self.masked_share).unsqueeze(1)).long()
        if unknown is not None:
            missing = layout.mask_to_tokens(unknown)
            within = ~missing if groups is None else known_within(groups == OPEN, missing)
            groups = within.long().masked_fill(missing, UNKNOWN)
        if not network.training:
            order = positions_in_order(self.order, uniform, groups)
        else:
            forwards = ORDERS["left_to_right"].before(uniform)  # type: ignore[misc]
            if 0 < self.left_to_right < 1:
                chosen = draw(torch.rand) < self.left_to_right
                forwards = forwards.where(chosen.unsqueeze(1), uniform)
            order = sorted_by_group(forwards if self.left_to_right else uniform, groups)
        nats = self._nats(network, tokens, order, labels)
        return nats.mean(1) if groups is None else mean_within(nats, groups.gather(1, order) == OPEN)

    def _nats(self, network: nn.Module, tokens: Tensor, order: Tensor, labels: Tensor | None) -> Tensor:
        """(B, L) what is trained, of the cells in ``order`` (B, L)."""
        ordered = decoding.in_order(tokens, order)
        logits = network(ordered[:, :-1].long() + 1, labels, order=order)
        return decoding.symbol_nats(logits, network.head_sizes, ordered)  # type: ignore[arg-type]

    def nats_per_cell(self, network: nn.Module, puzzles: Tensor, labels: Tensor | None, draw: Draw) -> Tensor:
        """(B, D): the negative log-likelihood of each of D orders, whose mean bounds that of all together.

        In an order that is fixed it is that of what is generated, and D = 1.
        """
        tokens, found = layout.puzzles_to_tokens(puzzles), []
        for _ in range(self.likelihood[1]):
            order = positions_in_order(self.order, draw(torch.rand, TOKENS_PER_PUZZLE))
            found.append(self._log_p(network, tokens, order, labels)[0].mean(1))
        return -torch.stack(found, 1)

    def _log_p(
        self, network: nn.Module, tokens: Tensor, order: Tensor, labels: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """((B, L), (B, L)) log-probabilities of the cells, and their entropies, at their positions."""
        ordered, back = decoding.in_order(tokens, order), order.argsort(1)
        logits, sizes = network(ordered[:, :-1].long() + 1, labels, order=order), network.head_sizes
        cells = decoding.cell_log_likelihood(logits, sizes, ordered)  # type: ignore[arg-type]
        return cells.gather(1, back), decoding.cell_entropy(logits, sizes).gather(1, back)  # type: ignore[arg-type]

    def generate(
        self,
        network: nn.Module,
        n: int,
        labels: Tensor | None,
        sampling: AnyOrderSampling,
        generator: torch.Generator | None,
    ) -> Tensor:
        device = device_of(network)
        blank = torch.full((n, TOKENS_PER_PUZZLE, NUM_ATTRIBUTES), EMPTY, dtype=torch.int8, device=device)
        everywhere = torch.ones(n, TOKENS_PER_PUZZLE, dtype=torch.bool, device="cpu")
        how = sampling.order, sampling.temperature, sampling.top_k
        return layout.tokens_to_puzzles(_written(network, blank, everywhere, None, labels, how, generator))

    def complete(
        self,
        network: nn.Module,
        puzzles: Tensor,
        mask: Tensor,
        sampling: AnyOrderSampling,
        generator: torch.Generator | None,
        labels: Tensor | None = None,
    ) -> Tensor:
        """``puzzles`` with the cells under ``mask`` written, each given all that are not under it.

        A model of left to right alone reads the given cells in their places, as far as they come before.
        """
        open_cells = None if self.is_forwards else layout.mask_to_tokens(mask).long()
        tokens, on_host = layout.puzzles_to_tokens(puzzles), layout.mask_to_tokens(mask.cpu())
        how = *sampling.when_completing, sampling.top_k
        written = _written(network, tokens, on_host, open_cells, labels, how, generator)
        return layout.tokens_to_puzzles(written).where(mask.unsqueeze(1), puzzles)

    def leaves_unread(self, network: nn.Module, mask: Tensor, sampling: AnyOrderSampling) -> Tensor:
        """Of a model of left to right alone, those with given cells after open ones."""
        if not self.is_forwards:
            return super().leaves_unread(network, mask, sampling)
        return decoding.has_given_after(layout.mask_to_tokens(mask))

    def nfe(self, network: nn.Module, sampling: AnyOrderSampling, task: Task, num_open: int, *, labels: bool) -> float:
        """Once, cell by cell."""
        return network.passes(num_open) if task == "complete" else 1.0  # type: ignore[operator, no-any-return]

    def log_probability(
        self, network: nn.Module, puzzles: Tensor, mask: Tensor, generator: torch.Generator | None
    ) -> LogProbability:
        """Of each cell given those that are not under ``mask`` and those before it: exact, the mean over orders.

        They are read in the order in which they are completed, or generated where a whole puzzle is under its mask.
        """
        tokens, written = layout.puzzles_to_tokens(puzzles), layout.mask_to_tokens(mask)
        completing, found = self.sampling.when_completing[0], []  # type: ignore[attr-defined]
        for _ in range(1 if ORDERS[completing].is_fixed and ORDERS[self.order].is_fixed else NUM_READ):
            uniform = uniform_draws(written.shape, tokens.device, generator)
            order = positions_in_order(completing, uniform, None if self.is_forwards else written.long())
            if completing != self.order:
                order = positions_in_order(self.order, uniform).where(written.all(1, keepdim=True), order)
            found.append(self._log_p(network, tokens, order))
        cells, entropy = (torch.stack(part).mean(0) for part in zip(*found, strict=True))
        return LogProbability(cells.where(written, 0.0), -entropy.where(written, 0.0))

    def probe_forward(
        self, network: nn.Module, puzzles: Tensor, level: float | None, generator: torch.Generator
    ) -> None:
        """Passes all cells of ``puzzles`` but the last through the network, in the order of tokens."""
        network(layout.puzzles_to_tokens(puzzles)[:, :-1].long() + 1)


def _written(
    network: nn.Module,
    tokens: Tensor,
    open_cells: Tensor,
    groups: Tensor | None,
    labels: Tensor | None,
    how: tuple[str, float, int | None],
    generator: torch.Generator | None,
) -> Tensor:
    """(B, L, A) tokens, of which those are written that are open: ``open_cells`` (B, L) on the host.

    They come after the others where they are ``groups`` (B, L) on the device, too; None leaves each in its place, which
    a fixed order must have where some are given.
    """
    (name, temperature, top_k), device = how, tokens.device
    order = positions_in_order(name, uniform_draws(open_cells.shape, device, generator), groups)
    if groups is not None:
        open_cells = torch.arange(open_cells.shape[1], device="cpu") >= (~open_cells).sum(1, keepdim=True)
    shape = (*open_cells.shape, len(network.head_sizes))  # type: ignore[arg-type]
    decoded = decoding.decode(
        network,  # type: ignore[arg-type]
        decoding.in_order(tokens, order),
        open_cells,
        uniform_draws(shape, device, generator, finest(device)),
        labels=labels,
        temperature=temperature,
        top_k=top_k,
        order=order,
    )
    return decoding.in_order(decoded, order.argsort(1))
