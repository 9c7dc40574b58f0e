"""What generated rows look like, against the definition: exact probabilities, or a slow, obvious generator of its own.

A set is a bit mask here, as read from the puzzles: bit v says that value (or cell) v is in it.
"""

import math
import random
from collections import Counter
from collections.abc import Callable, Hashable, Iterable
from functools import cache
from itertools import combinations, product

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import chi2_contingency, chisquare

from genraven.puzzles.generate import generate
from genraven.puzzles.spec import RULE_ID

ATTRIBUTES = ("shape", "size", "color")
NUM_VALUES = {"shape": 7, "size": 10, "color": 10}
UNION_LIMIT = {"shape": 7, "size": 9, "color": 9}
SINGLETONS = (
    "constant",
    "progression-2",
    "progression-1",
    "progression+1",
    "progression+2",
    "arithmetic+",
    "arithmetic-",
)
LOGICAL = ("xor", "or", "and")
NUM_SLOW = 3000
P_VALUE = 1e-4
Triple = tuple[int, int, int]
Row = dict[str, Triple]  # three sets of each value attribute, of "position", and three counts as "number"


# Rows as the product makes them.


@cache
def cells_of(name: str, num: int) -> NDArray[np.int8]:
    """(rows, panel, cell, attribute) of ``num`` puzzles."""
    puzzles = generate(RULE_ID[name], 0, num, seed=11).numpy().reshape(num, 3, 3, 3, 3, 3)
    return puzzles.transpose(0, 2, 4, 3, 5, 1).reshape(-1, 3, 9, 3)


@cache
def columns_of(name: str, num: int = 3072) -> dict[str, NDArray[np.int64]]:
    """(rows, panel) sets of each value attribute and of cells, and counts."""
    cells = cells_of(name, num).astype(np.int64)
    occupied = cells[..., 0] >= 0
    columns = {"number": occupied.sum(-1), "position": (occupied << np.arange(9)).sum(-1)}
    for i, attribute in enumerate(ATTRIBUTES):
        columns[attribute] = np.bitwise_or.reduce(np.where(occupied, 1 << cells[..., i].clip(0), 0), -1)
    return columns


def rows_of(name: str) -> list[Row]:
    columns = {key: [tuple(row) for row in column.tolist()] for key, column in columns_of(name).items()}
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


# The definition, slowly.


@cache
def triples(attribute: str) -> dict[str, list[Triple]]:
    """Instances of the singleton relations, as values or counts."""
    number = attribute == "number"
    low, high = (1, 9) if number else (0, NUM_VALUES[attribute] - 1)
    inside = list(product(range(low, high + 1), repeat=3))
    steps = {"progression-2": (-2, 6), "progression-1": (-1, 3), "progression+1": (1, 1), "progression+2": (2, 2)}
    found = {
        "constant": [t for t in inside if len(set(t)) == 1 and (2 if number else 1) <= t[0] <= (8 if number else 9)]
    }
    for relation, (step, not_from) in steps.items():
        found[relation] = [(a, b, c) for a, b, c in inside if b - a == c - b == step and a != not_from]
    no_sums = [(1, 2), (2, 4)] + [(1, 1), (3, 6)] * number
    no_differences = [(3, 2), (6, 4)] + [(9, 6)] * number
    found["arithmetic+"] = [(a, b, c) for a, b, c in inside if c == a + b and b >= 1 and (a, b) not in no_sums]
    found["arithmetic-"] = [(a, b, c) for a, b, c in inside if c == a - b and b >= 1 and (a, b) not in no_differences]
    return found


@cache
def number_rules() -> set[Triple]:
    return {t for instances in triples("number").values() for t in instances}


@cache
def count_pairs() -> list[tuple[int, int]]:
    return sorted({(a, b) for a, b, _ in number_rules()})


def combine(relation: str, a: int, b: int) -> int:
    return {"xor": a ^ b, "or": a | b, "and": a & b}[relation]


def overlap(a: int, b: int) -> bool:
    return a & b != 0 and a != b


def position_holds(a: int, b: int, c: int) -> bool:
    counts = a.bit_count(), b.bit_count(), c.bit_count()
    thirds = [combine(relation, a, b) for relation in LOGICAL]
    return overlap(a, b) and c in thirds and counts[:2] in count_pairs() and counts not in number_rules()


def value_holds(attribute: str, a: int, b: int, c: int) -> bool:
    if a.bit_count() == b.bit_count() == c.bit_count() == 1:
        values = a.bit_length() - 1, b.bit_length() - 1, c.bit_length() - 1
        return any(values in instances for instances in triples(attribute).values())
    allowed = overlap(a, b) and (a | b).bit_count() < UNION_LIMIT[attribute]
    return allowed and c in [combine(relation, a, b) for relation in LOGICAL]


class SlowRows:
    """Rows of one rule drawn step by step as the definition says, one at a time."""

    def __init__(self, name: str, seed: int) -> None:
        self.attribute, self.relation = name.split(".")
        self.rng = random.Random(seed)

    def subset(self, num: int, size: int) -> int:
        return sum(1 << v for v in self.rng.sample(range(num), size))

    def value_instance(self, attribute: str, relation: str) -> Triple:
        if relation in SINGLETONS:
            a, b, c = self.rng.choice(triples(attribute)[relation])
            return 1 << a, 1 << b, 1 << c
        while True:
            a, b = (self.rng.getrandbits(NUM_VALUES[attribute]) for _ in range(2))
            if overlap(a, b) and (a | b).bit_count() < UNION_LIMIT[attribute]:
                return a, b, combine(relation, a, b)

    def distractor(self, attribute: str) -> Triple:
        a, b, c = self.value_instance(attribute, self.rng.choice(SINGLETONS + LOGICAL))
        while True:  # every set of less than u values is a third set
            third = self.subset(NUM_VALUES[attribute], c.bit_count())
            if not value_holds(attribute, a, b, third):
                return a, b, third

    def fitting(self, attribute: str, counts: Triple) -> Triple:
        while True:
            sets = self.distractor(attribute)
            if all(s.bit_count() <= n for s, n in zip(sets, counts, strict=True)):
                return sets

    def position_instance(self, relation: str) -> Triple:
        while True:
            a, b = self.rng.getrandbits(9), self.rng.getrandbits(9)
            if position_holds(a, b, combine(relation, a, b)):
                return a, b, combine(relation, a, b)

    def cells(self, counts: Triple) -> Triple:
        n1, n2, n3 = counts
        possible = set()
        for both in range(max(1, n1 + n2 - 9), min(n1, n2) + 1):
            if not n1 == n2 == both:
                possible |= {n for n in (n1 + n2 - 2 * both, n1 + n2 - both, both) if (n1, n2, n) not in number_rules()}
        drawn = n3 if n3 in possible else self.rng.choice(sorted(possible))
        while True:
            a, b = self.subset(9, n1), self.subset(9, n2)
            c = combine(self.rng.choice(LOGICAL), a, b)
            if c.bit_count() == drawn and position_holds(a, b, c):
                break
        while position_holds(a, b, c := self.subset(9, n3)):
            pass
        return a, b, c

    def counts(self, row: Row) -> Triple | None:
        largest = [max(row[attribute][panel].bit_count() for attribute in ATTRIBUTES) for panel in range(3)]
        n1, n2 = self.rng.choice([(a, b) for a, b in count_pairs() if a >= largest[0] and b >= largest[1]])
        thirds = [n for n in range(largest[2], 9) if (n1, n2, n) not in number_rules()]
        return (n1, n2, self.rng.choice(thirds)) if thirds else None

    def row(self) -> Row:
        row: Row = {}
        if self.attribute in ATTRIBUTES:
            governed = self.value_instance(self.attribute, self.relation)
            counts = None
            while counts is None:
                row = {a: governed if a == self.attribute else self.distractor(a) for a in ATTRIBUTES}
                counts = self.counts(row)
            return {**row, "number": counts, "position": self.cells(counts)}
        if self.attribute == "number":
            counts = self.rng.choice(triples("number")[self.relation])
            cells = self.cells(counts)
        else:
            a, b, c = cells = self.position_instance(self.relation)
            counts = a.bit_count(), b.bit_count(), c.bit_count()
        return {**{a: self.fitting(a, counts) for a in ATTRIBUTES}, "number": counts, "position": cells}


@cache
def slow_rows(name: str) -> list[Row]:
    slow = SlowRows(name, seed=1000 + len(name))
    return [slow.row() for _ in range(NUM_SLOW)]


# Comparisons.


def assert_follows(observed: Iterable[Hashable], probabilities: dict[Hashable, float]) -> None:
    """Chi-square against exact probabilities; bins with few expected are put together."""
    counts = Counter(observed)
    assert not set(counts) - {key for key, p in probabilities.items() if p > 0}, "something that cannot happen"
    assert sum(probabilities.values()) == pytest.approx(1)
    total = counts.total()
    large = [key for key, p in probabilities.items() if p * total >= 5]
    seen, expected = [counts[key] for key in large], [probabilities[key] * total for key in large]
    if total - sum(expected) > 1:
        seen, expected = [*seen, total - sum(seen)], [*expected, total - sum(expected)]
    expected = (np.array(expected) * (sum(seen) / sum(expected))).tolist()
    assert len(seen) > 1
    assert chisquare(seen, expected).pvalue > P_VALUE


def assert_alike(one: Iterable[Hashable], other: Iterable[Hashable]) -> None:
    """Two-sample chi-square; rare bins are put together."""
    a, b = Counter(one), Counter(other)
    pooled = a + b
    if len(pooled) == 1:
        return
    table = [[a[key], b[key]] for key, num in pooled.items() if num >= 40]
    rest = [sum(count[key] for key, num in pooled.items() if num < 40) for count in (a, b)]
    table = [*table, rest] if sum(rest) >= 40 else table
    assert len(table) > 1
    assert chi2_contingency(table).pvalue > P_VALUE


def uniform(keys: Iterable[Hashable]) -> dict[Hashable, float]:
    listed = list(keys)
    return {key: n / len(listed) for key, n in Counter(listed).items()}


# The governed attribute.


@pytest.mark.parametrize(
    "name", ["size.progression-1", "color.arithmetic+", "shape.constant", "shape.arithmetic-", "color.progression+2"]
)
def test_governed_singletons_are_uniform_over_the_instances(name: str) -> None:
    attribute, relation = name.split(".")
    possible = [tuple(1 << v for v in t) for t in triples(attribute)[relation]]
    if (attribute, relation) == ("shape", "constant"):
        assert len(possible) == 6
    assert_follows((row[attribute] for row in rows_of(name)), uniform(possible))


@pytest.mark.parametrize("relation", ["constant", "progression-2", "arithmetic+", "arithmetic-"])
def test_governed_counts_are_uniform_over_the_instances(relation: str) -> None:
    rows = rows_of(f"number.{relation}")
    assert_follows((row["number"] for row in rows), uniform(triples("number")[relation]))


@pytest.mark.parametrize("relation", LOGICAL)
def test_governed_sets_are_uniform_over_all_12012_instances(relation: str) -> None:
    a, b = np.meshgrid(*[np.arange(128)] * 2, indexing="ij")
    possible = (a != b) & ((a & b) != 0) & (np.bitwise_count(a | b) < 7)
    assert possible.sum() == 12012
    first, second, third = columns_of(f"shape.{relation}", 16 * 1024)["shape"].T
    assert possible[first, second].all()
    assert (third == combine(relation, first, second)).all()
    seen = np.bincount(first * 128 + second, minlength=128 * 128).reshape(128, 128)
    assert chisquare(seen[possible]).pvalue > P_VALUE


@pytest.mark.parametrize("name", ["size.and", "position.xor", "position.or"])
def test_large_tables_of_sets_are_uniform(name: str) -> None:
    attribute, relation = name.split(".")
    bits = 9 if attribute == "position" else 10
    a, b = (x.ravel() for x in np.meshgrid(*[np.arange(1 << bits)] * 2, indexing="ij"))
    possible = (a != b) & ((a & b) != 0)
    if attribute == "position":
        starts, rules = np.zeros((10, 10), bool), np.zeros((10, 10, 10), bool)
        starts[tuple(np.array(count_pairs()).T)] = True
        rules[tuple(np.array(sorted(number_rules())).T)] = True
        counts = [np.bitwise_count(x) for x in (a, b, combine(relation, a, b))]
        possible &= starts[counts[0], counts[1]] & ~rules[tuple(counts)]
        assert possible.sum() == {"xor": 168372, "or": 184092}[relation]
    else:
        possible &= np.bitwise_count(a | b) < 9
        assert possible.sum() == 738780
    first, second, third = columns_of(name)[attribute].T
    assert possible[(first << bits) + second].all()
    assert (third == combine(relation, first, second)).all()
    # Bins that know the sizes of the sets and bins that know their members.
    for key in (lambda x, y: np.bitwise_count(x) * 11 + np.bitwise_count(y), lambda x, y: (x * 1024 + y) % 997):
        expected = np.bincount(key(a[possible], b[possible]), minlength=997) / possible.sum() * len(first)
        seen = np.bincount(key(first, second), minlength=997)
        few = expected < 5
        seen, expected = (np.append(x[~few], x[few].sum()) for x in (seen, expected))
        few = expected > 0
        assert chisquare(seen[few], expected[few]).pvalue > P_VALUE


# Distractors.


@pytest.mark.parametrize(
    ("name", "attribute"),
    [("number.constant", "shape"), ("size.constant", "color"), ("position.or", "size"), ("color.xor", "shape")],
)
def test_single_valued_distractors_look_like_a_relation_that_the_third_breaks(name: str, attribute: str) -> None:
    """Exact: three singletons fit any counts, so that nothing distorts them."""
    probabilities: dict[Hashable, float] = Counter()
    num = NUM_VALUES[attribute]
    holding = {t for instances in triples(attribute).values() for t in instances}
    for instances, (a, b, _) in ((i, t) for i in triples(attribute).values() for t in i):
        thirds = [c for c in range(num) if (a, b, c) not in holding]
        for c in thirds:
            probabilities[1 << a, 1 << b, 1 << c] += 1 / len(SINGLETONS) / len(instances) / len(thirds)
    sets = [row[attribute] for row in rows_of(name)]
    assert_follows((t for t in sets if all(s.bit_count() == 1 for s in t)), probabilities)


@cache
def distractor_sizes(attribute: str) -> dict[Triple, float]:
    """Probabilities of the sizes of the three sets, before they must fit."""
    num, limit = NUM_VALUES[attribute], UNION_LIMIT[attribute]
    pairs: dict[Triple, int] = {}  # only a, only b, both
    for a, b, both in product(range(limit), range(limit), range(1, limit)):
        if a + b > 0 and a + b + both < limit:
            rest = num - a - b - both
            pairs[a, b, both] = math.factorial(num) // math.prod(map(math.factorial, (a, b, both, rest)))
    total = sum(pairs.values())
    assert total == (12012 if attribute == "shape" else 738780)
    sizes: dict[Triple, float] = Counter({(1, 1, 1): len(SINGLETONS) / 10})
    for (a, b, both), n in pairs.items():
        for third in (a + b, a + b + both, both):
            sizes[a + both, b + both, third] += n / total / 10
    return dict(sizes)


@pytest.mark.parametrize("name", ["number.constant", "number.arithmetic-", "position.xor", "position.and"])
@pytest.mark.parametrize("attribute", ["shape", "size"])
def test_distractors_are_redrawn_until_they_fit_the_counts(name: str, attribute: str) -> None:
    """Exact: sizes of the three sets, given the counts of each row."""
    rows = rows_of(name)
    probabilities: dict[Hashable, float] = Counter()
    for counts, num in Counter(row["number"] for row in rows).items():
        fit = {
            sizes: p
            for sizes, p in distractor_sizes(attribute).items()
            if all(s <= n for s, n in zip(sizes, counts, strict=True))
        }
        for sizes, p in fit.items():
            probabilities[sizes] += p / sum(fit.values()) * num / len(rows)
    assert_follows((tuple(s.bit_count() for s in row[attribute]) for row in rows), probabilities)


# Everything together, against the slow generator.


def sizes(row: Row, key: str) -> Triple:
    return tuple(s.bit_count() for s in row[key])  # type: ignore[return-value]


def meeting(row: Row, key: str) -> tuple[int, ...]:
    """How many members the sets share: with their sizes all there is to know but for the members' names."""
    a, b, c = row[key]
    return (a & b).bit_count(), (a & c).bit_count(), (b & c).bit_count(), (a & b & c).bit_count()


FEATURES: dict[str, Callable[[Row], Hashable]] = {
    "counts": lambda row: row["number"],
    "first two counts": lambda row: row["number"][:2],
    "third count": lambda row: row["number"][2],
    "count and largest set of panel 3": lambda row: (row["number"][2], max(sizes(row, a)[2] for a in ATTRIBUTES)),
    "count and largest set of panel 1": lambda row: (row["number"][0], max(sizes(row, a)[0] for a in ATTRIBUTES)),
    "sizes of shapes": lambda row: sizes(row, "shape"),
    "sizes of sizes": lambda row: sizes(row, "size"),
    "sizes of colors": lambda row: sizes(row, "color"),
    "sizes of shapes and colors": lambda row: (sizes(row, "shape")[2], sizes(row, "color")[2]),
    "shared shapes": lambda row: meeting(row, "shape"),
    "shared sizes": lambda row: meeting(row, "size"),
    "shared colors": lambda row: meeting(row, "color"),
    "first two colors": lambda row: (row["color"][0] * 1024 + row["color"][1]) % 61,
    "third shapes": lambda row: row["shape"][2],
    "shared cells": lambda row: meeting(row, "position"),
    "shared cells and third count": lambda row: (meeting(row, "position")[0], row["number"][2]),
    "first cells": lambda row: row["position"][0] % 64,
    "third cells": lambda row: row["position"][2] // 8,
}


@pytest.mark.parametrize(
    "name", ["shape.xor", "size.progression-1", "color.or", "number.constant", "number.arithmetic-", "position.and"]
)
def test_alike_to_rows_drawn_slowly(name: str) -> None:
    product_rows, slow = rows_of(name), slow_rows(name)
    unlike = []
    for feature, of in FEATURES.items():
        try:
            assert_alike(map(of, product_rows), map(of, slow))
        except AssertionError as error:
            unlike.append(f"{feature}: {error}")
    assert not unlike


# Filling.


@cache
def panels_of(attribute: str) -> tuple[NDArray[np.int8], NDArray[np.int64], NDArray[np.int64]]:
    """(panels, 9) values of rules of every kind, -1 where empty; how many objects, how many values each panel has."""
    names = ("shape.or", "shape.constant", "number.constant", "number.arithmetic-", "position.xor", "position.and")
    values = np.concatenate([cells_of(name, 3072).reshape(-1, 9, 3) for name in names])[
        ..., ATTRIBUTES.index(attribute)
    ]
    sets = np.bitwise_or.reduce(np.where(values >= 0, 1 << values.clip(0).astype(np.int64), 0), -1)
    return values, (values >= 0).sum(-1), np.bitwise_count(sets).astype(np.int64)


def patterns(values: NDArray[np.int8]) -> list[tuple[int, ...]]:
    """Objects of each panel, as ranks of their values in the panel's set."""
    panels = [[value for value in panel if value >= 0] for panel in values.tolist()]
    return [tuple(sorted(set(panel)).index(value) for value in panel) for panel in panels]


@pytest.mark.parametrize(("num_objects", "num_values"), [(3, 2), (4, 2), (4, 3), (4, 4), (5, 4)])
def test_every_value_once_the_rest_uniform_all_shuffled(num_objects: int, num_values: int) -> None:
    """Exact: a pattern has the fraction of the ways to deal first all values, then others, onto shuffled objects."""
    dealt: dict[Hashable, float] = Counter()
    for rest in product(range(num_values), repeat=num_objects - num_values):
        dealt_values = sorted((*range(num_values), *rest))
        arrangements = [p for p in product(range(num_values), repeat=num_objects) if sorted(p) == dealt_values]
        for arrangement in arrangements:
            dealt[arrangement] += 1 / len(arrangements) / num_values ** len(rest)
    seen = []
    for attribute in ATTRIBUTES:
        values, objects, sizes = panels_of(attribute)
        seen += patterns(values[(objects == num_objects) & (sizes == num_values)])
    assert_follows(seen, dealt)


@pytest.mark.parametrize("attribute", ATTRIBUTES)
def test_the_rest_is_uniform_in_panels_of_every_size(attribute: str) -> None:
    """Exact: how many objects show the lowest value is one and a binomial."""
    values, objects, sizes = panels_of(attribute)
    lowest = np.where(values >= 0, values, 99).min(1, keepdims=True)
    probabilities: dict[Hashable, float] = {}
    for (n, s), panels in Counter(zip(objects.tolist(), sizes.tolist(), strict=True)).items():
        for k in range(n - s + 1):
            p = math.comb(n - s, k) * (1 / s) ** k * (1 - 1 / s) ** (n - s - k)
            probabilities[n, s, 1 + k] = p * panels / len(values)
    shown = (values == lowest).sum(1)
    assert_follows(zip(objects.tolist(), sizes.tolist(), shown.tolist(), strict=True), probabilities)


def test_attributes_are_shuffled_on_their_own() -> None:
    """Where the lowest size and the lowest color each show on one object only, they meet as often as chance has it."""
    values = np.stack([panels_of(attribute)[0] for attribute in ATTRIBUTES])
    _, objects, _ = panels_of("size")
    lowest = values == np.where(values >= 0, values, 99).min(-1, keepdims=True)
    for one, other in combinations(range(3), 2):
        single = (lowest[[one, other]].sum(-1) == 1).all(0) & (objects > 1)
        meet = (lowest[one] & lowest[other]).any(-1)[single]
        chance = Counter(objects[single].tolist())
        probabilities: dict[Hashable, float] = {}
        for n, panels in chance.items():
            probabilities[n, True] = panels / chance.total() / n
            probabilities[n, False] = panels / chance.total() * (1 - 1 / n)
        assert_follows(zip(objects[single].tolist(), meet.tolist(), strict=True), probabilities)


def test_the_three_rows_of_a_puzzle_are_independent() -> None:
    values = columns_of("size.progression-1")["size"][:, 0].reshape(-1, 3)
    possible = [1 << a for a, _, _ in triples("size")["progression-1"]]
    for i, j in combinations(range(3), 2):
        assert_follows(
            zip(values[:, i].tolist(), values[:, j].tolist(), strict=True), uniform(product(possible, possible))
        )
