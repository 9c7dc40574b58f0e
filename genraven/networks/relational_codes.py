"""What a panel is to a rule: which values of each attribute it shows, how many objects it has, which cells they fill.

B batch, R rows, P = 3 panels of a row, N cells of a panel, S attributes of an object, A = S + 2 attributes of a panel
(those of its objects, then number and position), V values. Symbols are integers, 0 an empty cell's; value v of an
attribute is symbol v + 1, value n of number is n objects, value j of position is cell j. A code (A, V) holds a 1 for
each value that a panel shows.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from genraven.errors import InputError

PANELS = 3
"""The number of panels in a row."""
MOST_VALUES = 10
TOO_FEW = 8.0
"""Nats against each object that a panel has fewer than values to show."""


def value_counts(symbols: tuple[int, ...], num_cells: int) -> tuple[int, ...]:
    """Values that each of the A attributes has, for objects of ``symbols`` and panels of ``num_cells``."""
    return (*(n - 1 for n in symbols), num_cells + 1, num_cells)


def check_sizes(symbols: tuple[int, ...], shape: tuple[int, int, int]) -> None:
    """Raises InputError unless rows of ``shape`` (R, P, N) have three panels, and attributes ten values at most."""
    if shape[1] != PANELS:
        raise InputError(f"expected rows of {PANELS} panels for a relational network, got shape {shape}: "
                         "choose a transformer.")  # fmt: skip
    if max(value_counts(symbols, shape[2])) > MOST_VALUES:
        raise InputError(f"expected attributes of at most {MOST_VALUES} values for a relational network, got symbols "
                         f"{symbols} and {shape[2]} cells a panel: choose a transformer.")  # fmt: skip


def running_codes(
    cells: Tensor, num_values: int, unknown: Tensor | None = None, dtype: torch.dtype = torch.float32
) -> Tensor:
    """(..., N + 1, A, V): the codes of a panel's cells before each of them, and of all at last.

    Args:
        cells: (..., N, S) symbols; a cell with any symbol 0 is empty.
        num_values: V.
        unknown: (..., N) bool, cells that are not read; None for none.
        dtype: of the codes.
    """
    num = cells.shape[-2]
    is_filled = (cells > 0).all(-1)
    if unknown is not None:
        is_filled = is_filled & ~unknown
    filled = is_filled.to(dtype).unsqueeze(-1)
    is_shown = cells.unsqueeze(-1) == torch.arange(1, num_values + 1, device=cells.device)
    shown = (is_shown & is_filled[..., None, None]).to(dtype).flatten(-2)
    positions = F.pad(torch.eye(num, device=cells.device, dtype=dtype), (0, num_values - num)) * filled
    return codes_of_cells(shown, positions, filled, torch.ones(num + 1, num, device=cells.device, dtype=dtype).tril(-1))


def codes_of_cells(shown: Tensor, positions: Tensor, filled: Tensor, counted: Tensor) -> Tensor:
    """(..., M, A, V) codes of M groups of cells.

    Args:
        shown: (..., N, S * V), the values of each cell.
        positions: (..., N, V), a 1 at the position of each filled cell.
        filled: (..., N, 1).
        counted: (M, N), a 1 for each cell of a group.
    """
    num_values = positions.shape[-1]
    seen = (counted @ torch.cat([shown, positions], -1)).clamp(max=1).unflatten(-1, (-1, num_values))
    number = (counted @ filled == torch.arange(num_values, device=filled.device)).to(seen).unsqueeze(-2)
    return torch.cat([seen[..., :-1, :], number, seen[..., -1:, :]], -2)


def patterns(*bits: Tensor) -> Tensor:
    """(..., V, 2^k): a 1 for the one of the 2^k combinations of k ``bits`` (..., V) that each value has."""
    found = torch.ones_like(bits[0]).unsqueeze(-1)
    for bit in bits:
        found = (found.unsqueeze(-1) * torch.stack([1 - bit, bit], -1).unsqueeze(-2)).flatten(-2)
    return found


def counts(found: Tensor) -> Tensor:
    """(..., 2 K) how many values have each pattern of (..., V, K), in quarters, and whether any has."""
    num = found.sum(-2)
    return torch.cat([num * 0.25, num.clamp(max=1)], -1)


def objects_left(number: Tensor, have: Tensor, left: Tensor, wanted: Tensor, num_cells: int) -> Tensor:
    """(...) float32 expected number of objects in the cells of a panel that are left.

    Bayes' rule, where every choice of n of the panel's cells is as likely: n objects are had so far with probability
    C(left, n - have) / C(cells, n). A panel with fewer objects than it has values to show is all but impossible.

    Args:
        number: (..., V) logits of how many objects the panel has.
        have: (...) objects in the other cells.
        left: (...) cells that are left.
        wanted: (...) values of an attribute that are expected and not yet shown, the most of any.
        num_cells: of the panel.
    """
    numbers = torch.arange(number.shape[-1], device=number.device, dtype=torch.float32)
    more = numbers - have.float().unsqueeze(-1)
    free = left.float().unsqueeze(-1)
    ways = _log_choose(free, more) - _log_choose(torch.full_like(numbers, num_cells), numbers)
    can_be = (more > -0.5) & (more < free + 0.5) & (numbers <= num_cells)
    too_few = (wanted.float().unsqueeze(-1) - more).clamp(min=0)
    found = (number.float() + ways - TOO_FEW * too_few).masked_fill(~can_be, -1e4).softmax(-1)
    return (found * more.clamp(min=0)).sum(-1).minimum(left.float())


def _log_choose(whole: Tensor, part: Tensor) -> Tensor:
    """Logarithm of the binomial coefficient, also between whole numbers; of no meaning where there is none."""
    rest = (whole - part).clamp(min=0)
    return torch.lgamma(whole.clamp(min=0) + 1) - torch.lgamma(part.clamp(min=0) + 1) - torch.lgamma(rest + 1)


def shifted(bits: Tensor, most: int) -> Tensor:
    """(..., V, 2 most + 1): ``bits`` (..., V) moved along the values by -most .. most, zeros coming in."""
    return F.pad(bits, (most, most)).unfold(-1, bits.shape[-1], 1).flip(-2).transpose(-1, -2)


def steps(first: Tensor, second: Tensor, most: int) -> Tensor:
    """(..., 2 most + 1): how many values of ``second`` (..., V) stand -most .. most above one of ``first``."""
    return (shifted(first, most) * second.unsqueeze(-1)).sum(-2)


def sums(first: Tensor, second: Tensor) -> Tensor:
    """(..., V): the values that are the sum of one of ``first`` and one of ``second`` (..., V)."""
    most = first.shape[-1] - 1
    return (shifted(second, most)[..., most:] @ first.unsqueeze(-1)).squeeze(-1).clamp(max=1)


def differences(first: Tensor, second: Tensor) -> Tensor:
    """(..., V): the values that are one of ``first`` less one of ``second`` (..., V)."""
    most = first.shape[-1] - 1
    return (shifted(first, most)[..., : most + 1].flip(-1) @ second.unsqueeze(-1)).squeeze(-1).clamp(max=1)
