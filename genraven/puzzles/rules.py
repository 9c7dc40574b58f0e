"""Which of the 40 rules hold in each row of a puzzle: table look-ups and set arithmetic on whole batches.

B batch, A value attribute, R row, P panel, k cell of a panel. Inside, the batch is the last dimension, so that every
operation runs over contiguous memory. A set is a bit mask: bit v says that value (or cell) v is in it.
"""

from functools import cache

import numpy as np
import torch
from torch import Tensor

from genraven.errors import InputError
from genraven.puzzles import instances
from genraven.puzzles.spec import (
    FIRST_RULE,
    GRID,
    NUM_CELLS,
    NUM_PANELS,
    NUM_ROWS,
    NUM_RULES,
    NUM_VALUES,
    RULES,
    SINGLETON_RELATIONS,
    UNION_LIMIT,
    VALUE_ATTRIBUTES,
)

_OUTSIDE = max(NUM_VALUES)  # every value out of any range is counted as this one
_NO_SINGLETON = _OUTSIDE
_NUM_SETS = 1 << (_OUTSIDE + 1)
_EMPTY_BIT = 15
_CHUNK = 1 << 14  # puzzles at once: bounds the memory and keeps the work in cache
_INTEGERS = (torch.int8, torch.int16, torch.int32, torch.int64, torch.uint8, torch.uint16, torch.uint32, torch.uint64)
_XOR, _OR, _AND = (len(SINGLETON_RELATIONS) + i for i in range(3))


@cache
def _tables(device: torch.device) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Look-up tables on ``device``, flattened.

    - (A, sets) int64: the value of a singleton, ``_NO_SINGLETON`` for any other set;
    - (A, a, b, c) int16: bits of the singleton relations that hold for three values;
    - (A, sets) bool: sets small enough to be the union of a logical rule, without a value out of range;
    - (sets of cells) int64: their sizes;
    - (na, nb, nc) int16: bits of the number rules for three counts; bit 15 where no position rule may hold.
    """
    sets = np.arange(_NUM_SETS)
    width = _NO_SINGLETON + 1
    values = np.full((len(VALUE_ATTRIBUTES), _NUM_SETS), _NO_SINGLETON)
    relations = np.zeros((len(VALUE_ATTRIBUTES), width, width, width), np.int16)
    small = np.zeros((len(VALUE_ATTRIBUTES), _NUM_SETS), np.bool_)
    for i, attribute in enumerate(VALUE_ATTRIBUTES):
        values[i, 1 << np.arange(NUM_VALUES[i])] = np.arange(NUM_VALUES[i])
        small[i] = (instances.popcount(sets) < UNION_LIMIT[i]) & (sets < 1 << NUM_VALUES[i])
        for k, triples in enumerate(instances.value_triples(attribute).values()):
            relations[i][tuple(triples.T)] |= 1 << k
    counts = instances.popcount(np.arange(1 << NUM_CELLS))
    rules = instances.number_rule_table().astype(np.int16)
    closed = (rules != 0) | ~rules.any(2, keepdims=True)
    numbers = rules | np.where(closed, np.int16(-(1 << 15)), np.int16(0))
    return tuple(torch.from_numpy(t.ravel()).to(device) for t in (values, relations, small, counts, numbers))  # type: ignore[return-value]


def row_rules(puzzles: Tensor) -> Tensor:
    """(B, 3) int64 masks: bit k is set when rule k holds in that row.

    A cell with any channel -1 counts as empty. A value out of its range makes every rule on that attribute fail in
    that row.

    Args:
        puzzles: (B, 3, 9, 9) of any integer dtype, on any device.

    Raises:
        InputError: another shape or a floating-point dtype.
    """
    puzzles = torch.as_tensor(puzzles)
    if puzzles.shape[1:] != (3, GRID, GRID) or puzzles.dtype not in _INTEGERS:
        raise InputError(
            f"expected puzzles as integers of shape (B, 3, {GRID}, {GRID}), got {puzzles.dtype} of "
            f"{tuple(puzzles.shape)}: convert them with genraven.puzzles.layout first."
        )
    if puzzles.dtype != torch.int8:
        puzzles = puzzles.long().clamp(-2, 127).to(torch.int8)
    if len(puzzles) <= _CHUNK:
        return _row_rules(puzzles, *_tables(puzzles.device))
    return torch.cat([row_rules(chunk) for chunk in puzzles.split(_CHUNK)])


def _row_rules(
    puzzles: Tensor, values: Tensor, relations: Tensor, small: Tensor, counts: Tensor, numbers: Tensor
) -> Tensor:
    """``row_rules`` of int8 puzzles with the tables at hand: tensor operations alone, so that it compiles whole."""
    # attribute, row, cell row, panel, cell column, puzzle. As unsigned bytes negative values are large: one clamp sends
    # all that is out of range to one bit; an empty cell is sent to another, which is cleared from the union.
    cells = puzzles.flatten(1, 2).permute(1, 2, 0).contiguous()
    cells = cells.view(torch.uint8).view(3, NUM_ROWS, 3, NUM_PANELS, 3, len(puzzles))
    empty = torch.maximum(torch.maximum(cells[0], cells[1]), cells[2]) == 255  # a channel is -1
    bit = torch.ones((), dtype=torch.int16, device=puzzles.device)
    shift = torch.maximum(cells.clamp_max(_OUTSIDE), empty.to(torch.uint8) * _EMPTY_BIT).to(torch.int16)
    sets = _union(torch.bitwise_left_shift(bit, shift, out=shift)) & (_NUM_SETS - 1)  # A, R, P, B

    index = torch.arange(len(VALUE_ATTRIBUTES), device=puzzles.device).view(-1, 1, 1)
    value = values.take(sets + index.unsqueeze(-1) * _NUM_SETS)
    width = _NO_SINGLETON + 1
    triple = ((index * width + value[:, :, 0]) * width + value[:, :, 1]) * width + value[:, :, 2]
    union = (sets[:, :, 0] | sets[:, :, 1]) + index * _NUM_SETS
    by_value = relations.take(triple) | _logical(sets, small.take(union)) << _XOR  # A, R, B

    cell = torch.arange(NUM_CELLS, device=puzzles.device, dtype=torch.int16).view(3, 1, 3, 1)
    position = _union(((~empty).to(torch.int16) << cell).unsqueeze(0))[0]  # R, P, B
    n = counts.take(position.long())
    number = numbers.take((n[:, 0] * (NUM_CELLS + 1) + n[:, 1]) * (NUM_CELLS + 1) + n[:, 2])
    by_position = _logical(position, number >= 0)

    masks = by_position.to(torch.int64) << FIRST_RULE["position"]
    masks |= (number & 0x7FFF).to(torch.int64) << FIRST_RULE["number"]
    for i, attribute in enumerate(VALUE_ATTRIBUTES):
        masks |= by_value[i].to(torch.int64) << FIRST_RULE[attribute]
    return masks.t().contiguous()


def _union(sets: Tensor) -> Tensor:
    """Unions over the cells of each panel: (A, R, cell row, P, cell column, B) -> (A, R, P, B)."""
    sets = sets[:, :, 0] | sets[:, :, 1] | sets[:, :, 2]
    return sets[..., 0, :] | sets[..., 1, :] | sets[..., 2, :]


def _logical(sets: Tensor, allowed: Tensor) -> Tensor:
    """int16 bits 0 xor, 1 or, 2 and of the third of ``sets`` (..., P, B), where the first two overlap and differ."""
    a, b, c = sets.unbind(-2)
    xor, union, both = a ^ b, a | b, a & b
    found = (c == xor).to(torch.int16) + 2 * (c == union).to(torch.int16) + 4 * (c == both).to(torch.int16)
    return found * ((xor != 0) & (both != 0) & allowed)


def shared_rules(masks: Tensor) -> Tensor:
    """(B,) int64 masks of the rules that hold in all rows of ``masks`` (B, 3) int64."""
    return masks[:, 0] & masks[:, 1] & masks[:, 2]


def pair_rules(masks: Tensor) -> Tensor:
    """(B,) int64 masks of the rules that hold in exactly two rows of ``masks`` (B, 3) int64."""
    a, b, c = masks.unbind(1)
    return ((a & b) | (a & c) | (b & c)) & ~(a & b & c)


def rule_bits(masks: Tensor) -> Tensor:
    """(..., 40) bool from masks (...) int64: entry k says whether rule k is set."""
    ids = torch.arange(NUM_RULES, device=masks.device)
    return (masks.unsqueeze(-1) >> ids & 1).bool()


def rule_names(masks: Tensor) -> list[str]:
    """For each of ``masks`` (B,) the rules in it, or a dash."""
    return [", ".join(RULES[int(k)].name for k in bits.nonzero().squeeze(1)) or "-" for bits in rule_bits(masks)]
