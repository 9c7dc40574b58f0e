"""Which rules hold in each row of a puzzle: table look-ups and set arithmetic on whole batches.

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
    GRID,
    NUM_CELLS,
    NUM_PANELS,
    NUM_ROWS,
    NUM_RULES,
    NUM_STUDY_RULES,
    NUM_VALUES,
    RELATIONS,
    RULE_ID,
    RULES,
    UNION_LIMIT,
    VALUE_ATTRIBUTES,
    Attribute,
)

_OUTSIDE = max(NUM_VALUES)  # every value out of any range is counted as this one
_NO_SINGLETON = _OUTSIDE
_NUM_SETS = 1 << (_OUTSIDE + 1)
_EMPTY_BIT = 15
_CHUNK = 1 << 14  # puzzles at once: bounds the memory and keeps the work in cache
_INTEGERS = (torch.int8, torch.int16, torch.int32, torch.int64, torch.uint8, torch.uint16, torch.uint32, torch.uint64)
_LOGICAL = tuple(instances.LOGICAL.values())
_NO_POSITION = -(1 << 63)  # a sign: no position rule may hold


@cache
def _tables(device: torch.device) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Look-up tables on ``device``, flattened.

    - (A, sets) int64: the value of a singleton, ``_NO_SINGLETON`` for any other set;
    - (A, a, b, c) int64: masks of the singleton rules that hold for three values;
    - (A, sets) bool: sets small enough to be the union of a logical rule, without a value out of range;
    - (A + position, 2^L) int64: masks of the one rule that holds, by which of the L logical relations would;
    - (sets of cells) int64: their sizes;
    - (na, nb, nc) int64: masks of the number rules for three counts; below 0 where no position rule may hold.
    """
    sets = np.arange(_NUM_SETS)
    width = _NO_SINGLETON + 1
    values = np.full((len(VALUE_ATTRIBUTES), _NUM_SETS), _NO_SINGLETON)
    singletons = np.zeros((len(VALUE_ATTRIBUTES), width, width, width), np.int64)
    small = np.zeros((len(VALUE_ATTRIBUTES), _NUM_SETS), np.bool_)
    for i, attribute in enumerate(VALUE_ATTRIBUTES):
        values[i, 1 << np.arange(NUM_VALUES[i])] = np.arange(NUM_VALUES[i])
        small[i] = (instances.popcount(sets) < UNION_LIMIT[i]) & (sets < 1 << NUM_VALUES[i])
        for relation, triples in instances.value_triples(attribute).items():
            singletons[i][tuple(triples.T)] |= 1 << RULE_ID[f"{attribute}.{relation}"]
    logical = np.array([_first_that_holds(attribute) for attribute in (*VALUE_ATTRIBUTES, "position")])
    counts = instances.popcount(np.arange(1 << NUM_CELLS))
    numbers, of_study = instances.number_rule_table(), instances.number_rule_table(NUM_STUDY_RULES)
    closed = (of_study != 0) | ~of_study.any(2, keepdims=True)
    numbers = numbers | np.where(closed, _NO_POSITION, 0)
    tables = values, singletons, small, logical, counts, numbers
    return tuple(torch.from_numpy(t.ravel()).to(device) for t in tables)  # type: ignore[return-value]


def _first_that_holds(attribute: Attribute) -> list[int]:
    """For each subset of the logical relations the mask of the rule with the lowest id; 0 where there is none."""
    ids = [RULE_ID[f"{attribute}.{r}"] if r in RELATIONS[attribute] else None for r in instances.LOGICAL]
    found = []
    for subset in range(1 << len(ids)):
        holding = [rule for k, rule in enumerate(ids) if rule is not None and subset >> k & 1]
        found.append(1 << min(holding) if holding else 0)
    return found


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
    puzzles: Tensor, values: Tensor, singletons: Tensor, small: Tensor, logical: Tensor, counts: Tensor, numbers: Tensor
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
    found = _logical(sets, small.take(union)) + (index << len(_LOGICAL))
    by_value = singletons.take(triple) | logical.take(found)  # A, R, B

    cell = torch.arange(NUM_CELLS, device=puzzles.device, dtype=torch.int16).view(3, 1, 3, 1)
    position = _union(((~empty).to(torch.int16) << cell).unsqueeze(0))[0]  # R, P, B
    n = counts.take(position.long())
    number = numbers.take((n[:, 0] * (NUM_CELLS + 1) + n[:, 1]) * (NUM_CELLS + 1) + n[:, 2])
    found = _logical(position, number >= 0) + (len(VALUE_ATTRIBUTES) << len(_LOGICAL))
    masks = (number & ~_NO_POSITION) | logical.take(found)
    for of_attribute in by_value:
        masks |= of_attribute
    return masks.t().contiguous()


def _union(sets: Tensor) -> Tensor:
    """Unions over the cells of each panel: (A, R, cell row, P, cell column, B) -> (A, R, P, B)."""
    sets = sets[:, :, 0] | sets[:, :, 1] | sets[:, :, 2]
    return sets[..., 0, :] | sets[..., 1, :] | sets[..., 2, :]


def _logical(sets: Tensor, allowed: Tensor) -> Tensor:
    """int64 subset of the logical relations that the third of ``sets`` (..., P, B) has to the first two.

    None where these do not overlap and differ; no relation has an empty third set.
    """
    a, b, c = sets.unbind(-2)
    allowed = allowed & ((a ^ b) != 0) & ((a & b) != 0) & (c != 0)
    found = torch.zeros_like(c, dtype=torch.int64)
    for k, third in enumerate(_LOGICAL):
        found += (c == third(a, b)).to(torch.int64) << k
    return found * allowed


def shared_rules(masks: Tensor) -> Tensor:
    """(B,) int64 masks of the rules that hold in all rows of ``masks`` (B, 3) int64."""
    return masks[:, 0] & masks[:, 1] & masks[:, 2]


def pair_rules(masks: Tensor) -> Tensor:
    """(B,) int64 masks of the rules that hold in exactly two rows of ``masks`` (B, 3) int64."""
    a, b, c = masks.unbind(1)
    return ((a & b) | (a & c) | (b & c)) & ~(a & b & c)


def rule_bits(masks: Tensor) -> Tensor:
    """(..., rules) bool from masks (...) int64: entry k says whether rule k is set."""
    ids = torch.arange(NUM_RULES, device=masks.device)
    return (masks.unsqueeze(-1) >> ids & 1).bool()


def rule_names(masks: Tensor) -> list[str]:
    """For each of ``masks`` (B,) the rules in it, or a dash."""
    return [", ".join(RULES[int(k)].name for k in bits.nonzero().squeeze(1)) or "-" for bits in rule_bits(masks)]
