"""The probability of a panel's cells, of which it is known whether they are filled and what their values may be.

N rows of puzzles, P panels, K roles of a panel, J cells, S attributes of an object, A = S + 2 of a panel, V values.
"""

import torch.nn.functional as F
from torch import Tensor

from genraven.networks.relational_writer import filled_log_prob


def of_cells(occupancy: Tensor, values: Tensor, written: Tensor) -> Tensor:
    """(N, P, J) log-probability of cells, where no attribute is distinguished.

    Args:
        occupancy: (N, P, J) logits of *filled*.
        values: (N, P, J, S, V) log-probabilities.
        written: (N, P, J, S) symbols.
    """
    return filled_log_prob(occupancy, (written > 0).all(-1)) + _of_values(values, written).sum(-1)


def of_third(occupancy: Tensor, values: Tensor, written: Tensor, unknown: Tensor | None = None) -> Tensor:
    """(N, J, A) log-probability of each cell of a third panel under each hypothesis of who carries the rule.

    Args:
        occupancy: (N, 1, J, A) logits of *filled*.
        values: (N, 2, J, S, V) log-probabilities of attributes that carry the rule and of those that do not.
        written: (N, J, S) symbols.
        unknown: (N, J) bool, cells that say nothing: 0; None for none.
    """
    carries, others = _of_values(values, written.unsqueeze(1)).unbind(1)  # N, J, S
    filled = (written > 0).all(-1, keepdim=True)
    found = filled_log_prob(occupancy[:, 0], filled) + others.sum(-1, keepdim=True)
    found = found + F.pad(carries - others, (0, 2))
    return found if unknown is None else found * ~unknown.unsqueeze(-1)


def posterior(carrier: Tensor, third: Tensor) -> Tensor:
    """(N, 1, J, A) log-probability of each hypothesis given the cells of the third panel before each.

    Args:
        carrier: (N, 1, A) log-probability of each hypothesis before any.
        third: (N, J, A) of ``of_third``.
    """
    so_far = F.pad(third.cumsum(1)[:, :-1], (0, 0, 1, 0))
    return (so_far + carrier).log_softmax(-1).unsqueeze(1)


def _of_values(values: Tensor, written: Tensor) -> Tensor:
    """(N, K, J, S) of the values (N, K, J, S, V) that stand in cells ``written`` (N, K or 1, J, S); 0 in empty ones."""
    at = (written - 1).clamp(min=0).long().unsqueeze(-1).expand(-1, values.shape[1], -1, -1, -1)
    return values.gather(-1, at).squeeze(-1) * (written > 0).all(-1, keepdim=True)
