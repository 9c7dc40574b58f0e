"""Writing masked cells with a network that says what stands under each mask, and asking it how likely they were.

B puzzles, L cells, V states of a cell, P cells to predict.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from genraven.methods.decoding import pick
from genraven.methods.draws import at_least_float32, finest, uniform_draws
from genraven.methods.orders import ORDERS, first_positions
from genraven.progress import watched
from genraven.puzzles import layout
from genraven.puzzles.spec import NUM_STATES

Predict = Callable[[Tensor, Tensor, Tensor | None], Tensor]
"""Logits (B, P, V) at positions (B, P), or of all L cells for None, from states (B, L) and which are masked (B, L)."""


@dataclass(frozen=True)
class Writing:
    """How masked cells are written."""

    num_steps: int | None = None
    """Evaluations; None is one for each masked cell of a puzzle, and none is for nothing."""
    order: str = "random"
    """In which cells are written: a name of ``ORDERS``."""
    temperature: float = 1.0
    """Of the softmax; 0 takes the likeliest state."""
    remasking: float = 0.0
    """Fraction of the written cells that is masked again before each evaluation but the first."""


class Cells(NamedTuple):
    """What a step changes in place."""

    states: Tensor
    """(B, L) int64."""
    masked: Tensor
    """(B, L) bool: those that are not written."""
    open_cells: Tensor
    """(B, L) bool: those that were masked at the start; they stay."""


class Drawn(NamedTuple):
    """The uniform draws of a step."""

    again: Tensor | None
    """(B, L) which written cells are masked before; None for none."""
    first: Tensor | None
    """(B, L) of an order that does not wait for the network."""
    states: Tensor
    """(B, P, 1) of what is written, P being the most cells that are written at once, or L for an order that waits."""


def write_masked(
    predict: Predict,
    states: Tensor,
    masked: Tensor,
    writing: Writing,
    *,
    generator: torch.Generator | None = None,
    step: Callable[..., None] | None = None,
    static: Callable[..., list[Tensor]] | None = None,
    on_device: Tensor | None = None,
    num_reserved: int = 0,
) -> Tensor:
    """(B, L) states with all masked cells written.

    One cell an evaluation in random order is a draw from the network's own distribution. Several cells of one
    evaluation are drawn as if they were independent. Remasked cells are written anew by later evaluations, which see
    more (ReMDM with a constant fraction: Wang et al. 2025, sec. 4).

    Args:
        predict: the network.
        states: (B, L) int64; what stands in masked cells is not read.
        masked: (B, L) bool; on the host, where the number of evaluations is decided, they are not read from the device.
        writing: number of steps, order, temperature.
        generator: of all draws.
        step: ``write_some`` compiled whole; None takes it as it is.
        static: copies tensors into static buffers for ``step``; None leaves them where they are.
        on_device: ``masked`` where the states are; None copies it.
        num_reserved: masked cells for which is drawn, also where none of the batch has as many, so that what is drawn
            later for a puzzle does not depend on the others of its batch.
    """
    device, most = states.device, most_open(masked)
    open_cells = masked.to(device) if on_device is None else on_device
    cells = Cells(states.masked_fill(open_cells, 0), open_cells.clone(), open_cells)
    if static is not None:
        cells = Cells(*static("cells", *cells))
    shape, num_open = open_cells.shape, open_cells.sum(1)
    num_steps = min(writing.num_steps or most, most)
    reserved = min(writing.num_steps or num_reserved, num_reserved)  # evaluations
    at_once = -(-max(most, num_reserved) // max(num_steps, reserved, 1)) if not writing.remasking else shape[1]
    waits = ORDERS[writing.order].after is not None
    num_drawn = shape[1] if waits else at_once
    nothing = torch.ones(shape, device=device, dtype=torch.float32) if writing.remasking else None

    def draw(i: int) -> Drawn:
        again = uniform_draws(shape, device, generator) if writing.remasking and i else nothing
        first = None if waits else uniform_draws(shape, device, generator)
        return Drawn(again, first, uniform_draws((len(states), num_drawn, 1), device, generator, finest(device)))

    steps_of_each = num_open.clamp(min=1, max=writing.num_steps)
    for i in watched(range(num_steps)):
        wanted = ((num_open * (i + 1) + steps_of_each - 1) // steps_of_each).minimum(num_open)  # written after this one
        (step or write_some)(predict, cells, wanted, draw(i), writing, at_once)
    for i in range(num_steps, reserved):
        draw(i)
    return cells.states if static is None else cells.states.clone()


def most_open(masked: Tensor) -> int:
    """The most cells of a puzzle of ``masked`` (B, L) bool that are; 0 for no puzzle."""
    return int(masked.cpu().sum(1).max()) if len(masked) else 0


def write_some(predict: Predict, cells: Cells, wanted: Tensor, drawn: Drawn, writing: Writing, at_once: int) -> None:
    """One step, all in place: some masked ``cells`` are written and no longer masked.

    Args:
        predict: the network.
        cells: of which some are masked.
        wanted: (B,) how many of those open at the start are to be written after this step.
        drawn: what is random.
        writing: order, temperature, remasking.
        at_once: the most cells of a puzzle that are written.
    """
    states, masked, open_cells = cells
    still = masked if drawn.again is None else masked | open_cells & (drawn.again < writing.remasking)
    to_write, order = wanted - (open_cells & ~still).sum(1), ORDERS[writing.order]
    if order.before is not None:
        assert drawn.first is not None
        positions, real = first_positions(order.before(drawn.first), still, to_write, at_once)
        new = _draw(predict(states, still, positions), writing.temperature, drawn.states)
    else:
        assert order.after is not None
        logits = predict(states, still, None)
        of_all = _draw(logits, writing.temperature, drawn.states)
        scores = order.after(at_least_float32(logits).log_softmax(-1), of_all)
        positions, real = first_positions(scores, still, to_write, at_once)
        new = of_all.gather(1, positions)
    states.scatter_(1, positions, new.where(real, states.gather(1, positions)))
    masked.copy_(still.scatter(1, positions, still.gather(1, positions) & ~real))


def log_probability_in_order(
    predict: Predict, states: Tensor, masked: Tensor, *, generator: torch.Generator | None = None
) -> tuple[Tensor, Tensor]:
    """((B, L), (B, L)) log-probability in nats of the masked cells of ``states``, and its expectation; 0 elsewhere.

    The cells are read one an evaluation in random order, each given those before it. Their sum is the log-probability
    of one order, whose mean over orders is not above that of what was written.

    Args:
        predict: the network.
        states: (B, L) int64.
        masked: (B, L) bool, best on the host.
        generator: of the order.
    """
    cells, expected = (torch.zeros(states.shape, device=states.device, dtype=torch.float32) for _ in range(2))
    most, masked = most_open(masked), masked.to(states.device)
    for _ in watched(range(most)):
        positions, real = first_positions(
            uniform_draws(masked.shape, states.device, generator), masked, masked.any(1).long(), 1
        )
        log_p = predict(states, masked, positions).float().log_softmax(-1)  # B, 1, V
        found = log_p.gather(-1, states.gather(1, positions).unsqueeze(-1)).squeeze(-1)
        for into, values in ((cells, found), (expected, -torch.special.entr(log_p.exp()).sum(-1))):
            into.scatter_(1, positions, values.where(real, into.gather(1, positions)))
        masked = masked.scatter(1, positions, masked.gather(1, positions) & ~real)
    return cells, expected


def symbols_of_states(device: torch.device) -> Tensor:
    """(V, A) int64 symbols of each state of a cell, as networks read them."""
    return layout.states_to_tokens(torch.arange(NUM_STATES, device=device)).long() + 1


def guided(with_labels: Tensor, without: Tensor, scale: float) -> Tensor:
    """(..., V) logits whose labels are strengthened by classifier-free guidance (Ho and Salimans 2022)."""
    without = without.log_softmax(-1)
    return without + scale * (with_labels.log_softmax(-1) - without)


def _draw(logits: Tensor, temperature: float, uniform: Tensor) -> Tensor:
    """(B, P) states by inverse transform: float32 Gumbel noise would cool the softmax (Zheng et al. 2024)."""
    return pick(logits, (logits.shape[-1],), uniform, temperature).squeeze(-1)
