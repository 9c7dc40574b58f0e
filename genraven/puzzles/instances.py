"""Every instance of every relation, enumerated: the one definition from which rules are checked and puzzles made.

An instance is what the three panels of a row hold. Singleton relations (constant, progressions, arithmetic) are triples
of values or counts; logical relations (xor, or, and) are triples of sets. A set is a bit mask: bit v says that value
(or cell) v is in it.
"""

from collections.abc import Mapping
from functools import cache

import numpy as np
from numpy.typing import NDArray

from genraven.puzzles.spec import (
    LOGICAL_RELATIONS,
    NUM_CELLS,
    NUM_VALUES,
    SINGLETON_RELATIONS,
    UNION_LIMIT,
    VALUE_ATTRIBUTES,
    Attribute,
    Relation,
)

IntArray = NDArray[np.int64]
SetArray = NDArray[np.int16]


def _triples(low: int, high: int) -> tuple[IntArray, IntArray, IntArray]:
    """a, b, c of every triple with ``low`` <= a, b, c <= ``high``."""
    a, b, c = np.meshgrid(*[np.arange(low, high + 1)] * 3, indexing="ij")
    return a.ravel(), b.ravel(), c.ravel()


def _pair_in(a: IntArray, b: IntArray, *pairs: tuple[int, int]) -> NDArray[np.bool_]:
    return np.isin(a * 16 + b, [x * 16 + y for x, y in pairs])


def _singleton_triples(
    low: int,
    high: int,
    constant: tuple[int, int],
    ambiguous_sums: tuple[tuple[int, int], ...],
    ambiguous_differences: tuple[tuple[int, int], ...],
) -> dict[Relation, IntArray]:
    """Instances (n, 3) of the seven singleton relations over ``low`` .. ``high``, without the ambiguous triples."""
    a, b, c = _triples(low, high)
    step = {d: (b == a + d) & (c == b + d) for d in (-2, -1, 1, 2)}
    holds: dict[Relation, NDArray[np.bool_]] = {
        "constant": (a == b) & (b == c) & (constant[0] <= a) & (a <= constant[1]),
        "progression-2": step[-2] & (a != 6),
        "progression-1": step[-1] & (a != 3),
        "progression+1": step[+1] & (a != 1),
        "progression+2": step[+2] & (a != 2),
        "arithmetic+": (c == a + b) & (b >= 1) & ~_pair_in(a, b, *ambiguous_sums),
        "arithmetic-": (c == a - b) & (b >= 1) & ~_pair_in(a, b, *ambiguous_differences),
    }
    return {relation: np.stack([a, b, c], 1)[holds[relation]] for relation in SINGLETON_RELATIONS}


@cache
def value_triples(attribute: Attribute) -> dict[Relation, IntArray]:
    """Instances (n, 3) of the singleton relations on a value attribute, as values."""
    top = NUM_VALUES[VALUE_ATTRIBUTES.index(attribute)] - 1
    return _singleton_triples(0, top, (1, top), ((1, 2), (2, 4)), ((3, 2), (6, 4)))


@cache
def number_triples() -> dict[Relation, IntArray]:
    """Instances (n, 3) of the number rules, as counts 1-9."""
    sums, differences = ((1, 1), (1, 2), (2, 4), (3, 6)), ((3, 2), (6, 4), (9, 6))
    return _singleton_triples(1, NUM_CELLS, (2, NUM_CELLS - 1), sums, differences)


@cache
def number_rule_table() -> NDArray[np.uint8]:
    """(10, 10, 10) bit masks: bit k is set where the k-th number rule holds for counts [a, b, c]."""
    table = np.zeros((NUM_CELLS + 1,) * 3, np.uint8)
    for k, triples in enumerate(number_triples().values()):
        table[tuple(triples.T)] |= np.uint8(1 << k)
    return table


@cache
def count_pairs() -> IntArray:
    """(59, 2) first two counts of the number rules: those that look as if a number rule were to come."""
    return np.argwhere((number_rule_table() != 0).any(2))


def popcount(masks: IntArray | SetArray) -> IntArray:
    """Sizes of the sets ``masks``."""
    return np.bitwise_count(masks).astype(np.int64)


def _logical(a: SetArray, b: SetArray) -> dict[Relation, SetArray]:
    """Instances (n, 3) that follow from the first two sets."""
    third = {"xor": a ^ b, "or": a | b, "and": a & b}
    return {relation: np.stack([a, b, third[relation]], 1) for relation in LOGICAL_RELATIONS}


def _overlapping_pairs(num_bits: int) -> tuple[SetArray, SetArray]:
    """All pairs of sets that differ and share something."""
    a, b = np.meshgrid(*[np.arange(1, 1 << num_bits, dtype=np.int16)] * 2, indexing="ij")
    keep = (a != b) & ((a & b) != 0)
    return a[keep], b[keep]


@cache
def _logical_value_sets(num_values: int, union_limit: int) -> dict[Relation, SetArray]:
    a, b = _overlapping_pairs(num_values)
    keep = popcount(a | b) < union_limit
    return _logical(a[keep], b[keep])


@cache
def value_sets(attribute: Attribute) -> dict[Relation, SetArray]:
    """Instances (n, 3) of all ten relations on a value attribute, as sets."""
    i = VALUE_ATTRIBUTES.index(attribute)
    singletons = {r: (1 << triples).astype(np.int16) for r, triples in value_triples(attribute).items()}
    return {**singletons, **_logical_value_sets(NUM_VALUES[i], UNION_LIMIT[i])}


@cache
def position_sets() -> dict[Relation, SetArray]:
    """Instances (n, 3) of the position rules, as sets of occupied cells."""
    a, b = _overlapping_pairs(NUM_CELLS)
    numbers = number_rule_table()
    na, nb = popcount(a), popcount(b)
    keep = (numbers != 0).any(2)[na, nb]
    instances = _logical(a[keep], b[keep])
    return {r: sets[numbers[tuple(popcount(sets).T)] == 0] for r, sets in instances.items()}


def instances(attribute: Attribute) -> Mapping[Relation, IntArray | SetArray]:
    """Instances (n, 3) of every relation on ``attribute``: sets of values or cells, or counts for ``number``."""
    if attribute == "number":
        return number_triples()
    return position_sets() if attribute == "position" else value_sets(attribute)


@cache
def completions(attribute: Attribute) -> SetArray:
    """(sets, sets, 3) third sets that complete a rule after the first two, -1 for none.

    Any two sets have at most three: one each from the columns below, since a step determines its progression and sets
    that a logical relation takes are never two singletons.
    """
    column = {"arithmetic+": 1, "arithmetic-": 2, "or": 1, "and": 2}
    num_sets = 1 << (NUM_CELLS if attribute == "position" else NUM_VALUES[VALUE_ATTRIBUTES.index(attribute)])
    table = np.full((num_sets, num_sets, 3), -1, np.int16)
    for relation, triples in instances(attribute).items():
        table[triples[:, 0], triples[:, 1], column.get(relation, 0)] = triples[:, 2]
    return table
