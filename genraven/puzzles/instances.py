"""Every instance of every relation, enumerated: the one definition from which rules are checked and puzzles made.

An instance is what the three panels of a row hold. Singleton relations (constant, progressions, arithmetic) are triples
of values or counts; logical relations (xor, or, and) are triples of sets. A set is a bit mask: bit v says that value
(or cell) v is in it.
"""

import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from genraven.puzzles.spec import (
    NUM_CELLS,
    NUM_RULES,
    NUM_STUDY_RULES,
    NUM_VALUES,
    RELATIONS,
    RULE_ID,
    UNION_LIMIT,
    VALUE_ATTRIBUTES,
    Attribute,
    Relation,
)

IntArray = NDArray[np.int64]
SetArray = NDArray[np.int16]


@dataclass(frozen=True)
class Range:
    """The values, or counts, that singleton relations are asked about, and what the study leaves out of them."""

    low: int
    high: int
    constant: tuple[int, int]
    """First and last value of ``constant``."""
    ambiguous_sums: tuple[tuple[int, int], ...]
    """First two values of sums that another relation could have meant, too."""
    ambiguous_differences: tuple[tuple[int, int], ...]


Holds = Callable[[IntArray, IntArray, IntArray, Range], NDArray[np.bool_]]


def _progression(step: int, *, ambiguous: int | None = None) -> Holds:
    """Three values at the same distance; not those that begin with the ``ambiguous`` one."""
    return lambda a, b, c, within: (b == a + step) & (c == b + step) & (a != ambiguous)


SINGLETON: dict[Relation, Holds] = {
    "constant": lambda a, b, c, within: (a == b) & (b == c) & (within.constant[0] <= a) & (a <= within.constant[1]),
    "progression-2": _progression(-2, ambiguous=6),
    "progression-1": _progression(-1, ambiguous=3),
    "progression+1": _progression(+1, ambiguous=1),
    "progression+2": _progression(+2, ambiguous=2),
    "arithmetic+": lambda a, b, c, within: (c == a + b) & (b >= 1) & ~_pair_in(a, b, *within.ambiguous_sums),
    "arithmetic-": lambda a, b, c, within: (c == a - b) & (b >= 1) & ~_pair_in(a, b, *within.ambiguous_differences),
}
"""Relations of three values, or counts: where they hold. A triple that two relations take is the older one's."""

LOGICAL: dict[Relation, Callable[[Any, Any], Any]] = {
    "xor": operator.xor,
    "or": operator.or_,
    "and": operator.and_,
}
"""Relations of three sets: the third of two that overlap and differ, a part of their union; arrays and tensors alike.
Where two relations have the same third set, it is the older one's; nowhere is it empty."""


def _of_kind(attribute: Attribute, kind: Mapping[Relation, Any]) -> tuple[Relation, ...]:
    """The relations on ``attribute`` that ``kind`` defines, in the order of their ids."""
    of_all: list[Mapping[Relation, Any]] = [SINGLETON, LOGICAL]
    kinds = {"number": of_all[:1], "position": of_all[1:]}.get(attribute, of_all)
    for relation in RELATIONS[attribute]:
        assert any(relation in defined for defined in kinds), f"{relation} of {attribute} is not defined"
    return tuple(relation for relation in RELATIONS[attribute] if relation in kind)


def _triples(low: int, high: int) -> tuple[IntArray, IntArray, IntArray]:
    """a, b, c of every triple with ``low`` <= a, b, c <= ``high``."""
    a, b, c = np.meshgrid(*[np.arange(low, high + 1)] * 3, indexing="ij")
    return a.ravel(), b.ravel(), c.ravel()


def _pair_in(a: IntArray, b: IntArray, *pairs: tuple[int, int]) -> NDArray[np.bool_]:
    return np.isin(a * 16 + b, [x * 16 + y for x, y in pairs])


def _singleton_triples(attribute: Attribute, within: Range) -> dict[Relation, IntArray]:
    """Instances (n, 3) of the singleton relations on an attribute, without the ambiguous triples."""
    a, b, c = _triples(within.low, within.high)
    tables, taken = {}, np.zeros(len(a), np.bool_)
    for relation in _of_kind(attribute, SINGLETON):
        holds = SINGLETON[relation](a, b, c, within) & ~taken
        taken |= holds
        tables[relation] = np.stack([a, b, c], 1)[holds]
    return tables


@cache
def value_triples(attribute: Attribute) -> dict[Relation, IntArray]:
    """Instances (n, 3) of the singleton relations on a value attribute, as values."""
    top = NUM_VALUES[VALUE_ATTRIBUTES.index(attribute)] - 1
    return _singleton_triples(attribute, Range(0, top, (1, top), ((1, 2), (2, 4)), ((3, 2), (6, 4))))


@cache
def number_triples() -> dict[Relation, IntArray]:
    """Instances (n, 3) of the number rules, as counts 1-9."""
    sums, differences = ((1, 1), (1, 2), (2, 4), (3, 6)), ((3, 2), (6, 4), (9, 6))
    return _singleton_triples("number", Range(1, NUM_CELLS, (2, NUM_CELLS - 1), sums, differences))


@cache
def number_rule_table(known: int = NUM_RULES) -> IntArray:
    """(10, 10, 10) masks of the number rules with ids below ``known`` that hold for counts [a, b, c]."""
    table = np.zeros((NUM_CELLS + 1,) * 3, np.int64)
    for relation, triples in number_triples().items():
        if (rule := RULE_ID[f"number.{relation}"]) < known:
            table[tuple(triples.T)] |= 1 << rule
    return table


@cache
def count_pairs() -> IntArray:
    """(59, 2) first two counts of the study's number rules: those that look as if a number rule were to come."""
    return np.argwhere((number_rule_table(NUM_STUDY_RULES) != 0).any(2))


def popcount(masks: IntArray | SetArray) -> IntArray:
    """Sizes of the sets ``masks``."""
    return np.bitwise_count(masks).astype(np.int64)


def _logical(relations: tuple[Relation, ...], a: SetArray, b: SetArray) -> dict[Relation, SetArray]:
    """Instances (n, 3) of logical relations that follow from the first two sets."""
    thirds: list[SetArray] = []
    tables = {}
    for relation in relations:
        third = LOGICAL[relation](a, b)
        assert not (third & ~(a | b)).any(), f"{relation} has more than its first two sets"
        holds = third != 0
        for older in thirds:
            holds &= third != older
        thirds.append(third)
        tables[relation] = np.stack([a, b, third], 1)[holds]
    return tables


def _overlapping_pairs(num_bits: int) -> tuple[SetArray, SetArray]:
    """All pairs of sets that differ and share something."""
    a, b = np.meshgrid(*[np.arange(1, 1 << num_bits, dtype=np.int16)] * 2, indexing="ij")
    keep = (a != b) & ((a & b) != 0)
    return a[keep], b[keep]


@cache
def _logical_value_sets(relations: tuple[Relation, ...], num_values: int, union_limit: int) -> dict[Relation, SetArray]:
    a, b = _overlapping_pairs(num_values)
    keep = popcount(a | b) < union_limit
    return _logical(relations, a[keep], b[keep])


@cache
def value_sets(attribute: Attribute) -> dict[Relation, SetArray]:
    """Instances (n, 3) of all relations on a value attribute, as sets."""
    i = VALUE_ATTRIBUTES.index(attribute)
    singletons = {r: (1 << triples).astype(np.int16) for r, triples in value_triples(attribute).items()}
    return {**singletons, **_logical_value_sets(_of_kind(attribute, LOGICAL), NUM_VALUES[i], UNION_LIMIT[i])}


@cache
def position_sets() -> dict[Relation, SetArray]:
    """Instances (n, 3) of the position rules, as sets of occupied cells; what they take of numbers is the study's."""
    a, b = _overlapping_pairs(NUM_CELLS)
    numbers = number_rule_table(NUM_STUDY_RULES)
    na, nb = popcount(a), popcount(b)
    keep = (numbers != 0).any(2)[na, nb]
    instances = _logical(_of_kind("position", LOGICAL), a[keep], b[keep])
    return {r: sets[numbers[tuple(popcount(sets).T)] == 0] for r, sets in instances.items()}


def instances(attribute: Attribute, known: int = NUM_RULES) -> Mapping[Relation, IntArray | SetArray]:
    """Instances (n, 3) of every relation on ``attribute``: sets of values or cells, or counts for ``number``.

    Args:
        attribute: that rules are on.
        known: rules with this id or a later one are left out.
    """
    if attribute == "number":
        found: Mapping[Relation, IntArray | SetArray] = number_triples()
    else:
        found = position_sets() if attribute == "position" else value_sets(attribute)
    of_ids = {RULE_ID[f"{attribute}.{relation}"]: relation for relation in found}
    return {of_ids[rule]: found[of_ids[rule]] for rule in sorted(of_ids) if rule < known}


@cache
def completions(attribute: Attribute, known: int = NUM_RULES) -> SetArray:
    """(sets, sets, k) third sets that complete a rule after the first two, -1 for none.

    k is the most that any two sets have: 3 of the study's rules.

    Args:
        attribute: a value attribute, or ``position``.
        known: as for ``instances``.
    """
    num_sets = 1 << (NUM_CELLS if attribute == "position" else NUM_VALUES[VALUE_ATTRIBUTES.index(attribute)])
    columns: list[SetArray] = []
    for triples in instances(attribute, known).values():
        nth = _nth_of_pair(triples, num_sets)
        for n in range(int(nth.max(initial=-1)) + 1):
            a, b, third = triples[nth == n].T
            column = next((column for column in columns if (column[a, b] < 0).all()), None)
            if column is None:
                columns.append(column := np.full((num_sets, num_sets), -1, np.int16))
            column[a, b] = third
    return np.stack(columns, -1)


def _nth_of_pair(triples: IntArray | SetArray, num_sets: int) -> IntArray:
    """(n,) for each of ``triples`` (n, 3) how many before it have the same first two sets."""
    pairs = triples[:, 0].astype(np.int64) * num_sets + triples[:, 1]
    nth = np.zeros(len(pairs), np.int64)
    if np.bincount(pairs, minlength=1).max() <= 1:  # as of each relation that determines its third set
        return nth
    order = np.argsort(pairs, kind="stable")
    new = np.append(True, np.diff(pairs[order]) != 0)
    first = np.maximum.accumulate(np.where(new, np.arange(len(pairs)), 0))
    nth[order] = np.arange(len(pairs)) - first
    return nth
