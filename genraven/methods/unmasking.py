"""Writing masked cells with a network that says what stands under each mask, and asking it how likely they were.

B puzzles, L cells, V states of a cell, P cells to predict.
"""

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor

from genraven.methods.decoding import pick
from genraven.methods.draws import at_least_float32, finest, uniform_draws
from genraven.networks.compiling import stay

Order = Literal["random", "confidence", "entropy", "margin"]
Predict = Callable[[Tensor, Tensor, Tensor | None], Tensor]
"""Logits (B, P, V) at places (B, P), or of all L cells for None, from states (B, L) and which are masked (B, L)."""


def write_masked(
    predict: Predict,
    states: Tensor,
    masked: Tensor,
    *,
    num_steps: int | None = None,
    order: Order = "random",
    temperature: float = 1.0,
    remasking: float = 0.0,
    generator: torch.Generator | None = None,
    step: Callable[..., None] | None = None,
) -> Tensor:
    """(B, L) states with all masked cells written.

    One cell an evaluation in random order is a draw from the network's own distribution. Several cells of one
    evaluation are drawn as if they were independent. Remasked cells are written anew by later evaluations, which see
    more (ReMDM with a constant share: Wang et al. 2025, sec. 4).

    Args:
        predict: the network.
        states: (B, L) int64; what stands in masked cells is not read.
        masked: (B, L) bool; on the host, where the number of evaluations is decided, they are not read from the device.
        num_steps: evaluations; None is as many as the most masked puzzle has masked cells, and no more are made.
        order: in which cells are written.
        temperature: of the softmax; 0 takes the likeliest state.
        remasking: share of the written cells that is masked again before each evaluation but the first.
        generator: of all draws.
        step: ``write_some`` compiled whole; None takes it as it is.
    """
    device, most = states.device, int(masked.cpu().sum(1).max())
    open_cells = masked.to(device)
    states = states.masked_fill(open_cells, 0)
    masked = open_cells.clone()
    if step is not None:
        stay(states, masked, open_cells)
    num_open = open_cells.sum(1)
    num_steps = min(num_steps or most, most)
    at_once = open_cells.shape[1] if remasking else -(-most // max(num_steps, 1))
    num_drawn = at_once if order == "random" else open_cells.shape[1]
    again = torch.ones(masked.shape, device=device, dtype=torch.float32) if remasking else None
    for i in range(num_steps):
        if remasking and i:
            again = uniform_draws(masked.shape, device, generator)
        wanted = (num_open * (i + 1) + num_steps - 1) // num_steps  # cells written after this evaluation
        first = uniform_draws(masked.shape, device, generator) if order == "random" else None
        uniform = uniform_draws((len(states), num_drawn, 1), device, generator, finest(device))
        (step or write_some)(
            predict,
            states,
            masked,
            open_cells,
            wanted,
            again,
            first,
            uniform,
            at_once=at_once,
            order=order,
            temperature=temperature,
            remasking=remasking,
        )
    return states


def write_some(
    predict: Predict,
    states: Tensor,
    masked: Tensor,
    open_cells: Tensor,
    wanted: Tensor,
    again: Tensor | None,
    first: Tensor | None,
    uniform: Tensor,
    *,
    at_once: int,
    order: Order,
    temperature: float,
    remasking: float,
) -> None:
    """One step, all in place: some ``masked`` cells of ``states`` (B, L) are written and no longer masked.

    Args:
        predict: the network.
        states, masked: (B, L).
        open_cells: (B, L) those that were masked at the start.
        wanted: (B,) how many of them are to be written after this step.
        again: (B, L) draws of which written cells are masked before; None for none.
        first: (B, L) draws of which cells are written, in random order.
        uniform: (B, P, 1) draws of what is written, P being ``at_once`` in random order, else L.
        at_once: the most cells of a puzzle that are written.
        order, temperature, remasking: as in ``write_masked``.
    """
    still = masked if again is None else masked | open_cells & (again < remasking)
    to_write = wanted - (open_cells & ~still).sum(1)
    if first is not None:
        places, real = _first(first, still, to_write, at_once)
        drawn = _draw(predict(states, still, places), temperature, uniform)
    else:
        logits = predict(states, still, None)
        of_all = _draw(logits, temperature, uniform)
        places, real = _first(_certainty(logits, of_all, order), still, to_write, at_once)
        drawn = of_all.gather(1, places)
    states.scatter_(1, places, drawn.where(real, states.gather(1, places)))
    masked.copy_(still.scatter(1, places, still.gather(1, places) & ~real))


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
    most, masked = int(masked.cpu().sum(1).max()), masked.to(states.device)
    for _ in range(most):
        places, real = _first(uniform_draws(masked.shape, states.device, generator), masked, masked.any(1).long(), 1)
        log_p = predict(states, masked, places).float().log_softmax(-1)  # B, 1, V
        found = log_p.gather(-1, states.gather(1, places).unsqueeze(-1)).squeeze(-1)
        for into, values in ((cells, found), (expected, -torch.special.entr(log_p.exp()).sum(-1))):
            into.scatter_(1, places, values.where(real, into.gather(1, places)))
        masked = masked.scatter(1, places, masked.gather(1, places) & ~real)
    return cells, expected


def _draw(logits: Tensor, temperature: float, uniform: Tensor) -> Tensor:
    """(B, P) states by inverse transform: float32 Gumbel noise would cool the softmax (Zheng et al. 2024)."""
    return pick(logits, (logits.shape[-1],), uniform, temperature).squeeze(-1)


def _first(scores: Tensor, masked: Tensor, num: Tensor, at_once: int) -> tuple[Tensor, Tensor]:
    """The places (B, at_once) of the highest ``scores`` (B, L) among the masked, and which are of the first ``num``."""
    places = scores.masked_fill(~masked, -torch.inf).topk(at_once, 1).indices
    return places, torch.arange(at_once, device=num.device) < num.unsqueeze(1)


def _certainty(logits: Tensor, drawn: Tensor, order: Order) -> Tensor:
    """(B, L): how sure the network is of each cell, the higher the surer."""
    log_p = at_least_float32(logits).log_softmax(-1)
    if order == "confidence":
        return log_p.gather(-1, drawn.unsqueeze(-1)).squeeze(-1)
    if order == "entropy":
        return (log_p.exp() * log_p).sum(-1)
    likeliest = log_p.exp().topk(2, -1).values
    return likeliest[..., 0] - likeliest[..., 1]
