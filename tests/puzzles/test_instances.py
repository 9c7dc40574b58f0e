"""Tables of instances against the counts of the definition and against brute force."""

from itertools import product

import numpy as np
import pytest

from genraven.puzzles import instances
from genraven.puzzles.spec import RELATIONS, RULE_ID, Attribute

LOGICAL_RELATIONS = ("xor", "or", "and")
VALUE_COUNTS = (9, 5, 7, 7, 5, 43, 43, 738780, 738780, 738780)
COUNTS: dict[Attribute, tuple[int, ...]] = {
    "shape": (6, 2, 4, 4, 2, 19, 19, 12012, 12012, 12012),
    "size": VALUE_COUNTS,
    "color": VALUE_COUNTS,
    "number": (7, 4, 6, 6, 4, 32, 33),
    "position": (168372, 184092, 171126),
}


@pytest.mark.parametrize("attribute", COUNTS)
def test_as_many_instances_as_the_definition_says(attribute: Attribute) -> None:
    tables = instances.instances(attribute)
    assert tuple(tables) == RELATIONS[attribute]
    assert tuple(len(table) for table in tables.values()) == COUNTS[attribute]


@pytest.mark.parametrize("attribute", ["size", "color", "shape", "position"])
def test_logical_thirds_follow_from_the_first_two(attribute: Attribute) -> None:
    tables = instances.instances(attribute)
    for relation, operation in zip(LOGICAL_RELATIONS, (np.bitwise_xor, np.bitwise_or, np.bitwise_and), strict=True):
        a, b, c = tables[relation].T
        assert np.array_equal(operation(a, b), c)
        assert ((a & b) != 0).all()
        assert ((a ^ b) != 0).all()


@pytest.mark.parametrize(("attribute", "limit"), [("shape", 7), ("size", 9), ("color", 9)])
def test_unions_stay_below_the_limit_and_every_smaller_set_is_a_third(attribute: Attribute, limit: int) -> None:
    tables = instances.value_sets(attribute)
    assert max(int(instances.popcount(tables[r][:, 0] | tables[r][:, 1]).max()) for r in LOGICAL_RELATIONS) == limit - 1
    thirds = np.unique(np.concatenate([table[:, 2] for table in tables.values()]))
    sets = np.arange(1, 1 << (7 if attribute == "shape" else 10))
    assert np.array_equal(thirds, sets[[bin(s).count("1") < limit for s in sets]])


def test_59_pairs_of_counts() -> None:
    pairs = {(int(a), int(b)) for a, b in instances.count_pairs()}
    assert len(pairs) == len(instances.count_pairs()) == 59
    assert pairs == {(int(a), int(b)) for table in instances.number_triples().values() for a, b, _ in table}
    assert (1, 1) not in pairs
    assert (9, 9) not in pairs


def test_number_table_has_one_bit_for_each_instance() -> None:
    table = instances.number_rule_table()
    triples = instances.number_triples()
    for counts in product(range(10), repeat=3):
        holding = [RULE_ID[f"number.{r}"] for r, rows in triples.items() if list(counts) in rows.tolist()]
        assert int(table[counts]) == sum(1 << rule for rule in holding)
        assert len(holding) <= 1


def test_every_pair_of_counts_has_a_position_instance() -> None:
    sets = np.concatenate(list(instances.position_sets().values()))
    counts = instances.popcount(sets)
    assert {(int(a), int(b)) for a, b in np.unique(counts[:, :2], axis=0)} == set(
        map(tuple, instances.count_pairs().tolist())
    )
    assert not instances.number_rule_table()[tuple(counts.T)].any()


def test_popcount() -> None:
    sets = np.arange(1 << 10)
    assert instances.popcount(sets).tolist() == [bin(s).count("1") for s in sets]


def test_completions_of_shapes_are_those_of_brute_force() -> None:
    thirds: dict[tuple[int, int], set[int]] = {}
    for table in instances.value_sets("shape").values():
        for a, b, c in table.tolist():
            thirds.setdefault((a, b), set()).add(c)
    table = instances.completions("shape")
    assert table.shape == (128, 128, 3)
    for a, b in product(range(128), repeat=2):
        completing = table[a, b][table[a, b] >= 0].tolist()
        assert set(completing) == thirds.get((a, b), set())
        assert len(completing) == len(set(completing))


@pytest.mark.parametrize("attribute", ["size", "color", "position"])
def test_completions_hold_every_instance_and_nothing_else(attribute: Attribute) -> None:
    """So no instance stands in two tables, nor twice in one."""
    table = instances.completions(attribute)
    rows = np.concatenate(list(instances.instances(attribute).values()))
    assert (table[rows[:, 0], rows[:, 1]] == rows[:, 2:]).any(1).all()
    assert (table >= 0).sum() == len(rows)
