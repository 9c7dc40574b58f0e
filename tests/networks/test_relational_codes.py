"""What a panel is to a rule, against sets in plain Python."""

from itertools import combinations, product
from math import comb, exp

import pytest
import torch
from switched import puzzle_cells
from torch import Tensor

from genraven.networks.relational_codes import (
    TOO_FEW,
    counts,
    differences,
    objects_left,
    patterns,
    running_codes,
    shifted,
    steps,
    sums,
    value_counts,
)

V = 10


def code_of(cells: list[list[int]], known: list[bool]) -> list[set[int]]:
    """The values of shape, size, color, number and position that the ``known`` of a panel's ``cells`` show."""
    filled = [place for place, cell in enumerate(cells) if known[place] and 0 not in cell]
    shown = [{cells[place][a] - 1 for place in filled} for a in range(len(cells[0]))]
    return [*shown, {len(filled)}, set(filled)]


@pytest.mark.parametrize("has_unknown", [False, True])
def test_codes_are_the_sets_of_the_cells_before_each_and_of_all(has_unknown: bool) -> None:
    panels = puzzle_cells(4).unflatten(1, (9, 9))
    panels[0, 0, 0, 1] = 0  # a cell with one symbol 0 is empty
    unknown = torch.rand(panels.shape[:3], generator=torch.Generator().manual_seed(0)) < 0.3
    found = running_codes(panels, V, unknown if has_unknown else None)
    assert found.shape == (4, 9, 10, 5, V)
    for b, p in product(range(4), range(9)):
        known = [not (has_unknown and gap) for gap in unknown[b, p].tolist()]
        for num in range(10):
            wanted = code_of(panels[b, p].tolist(), [is_known and i < num for i, is_known in enumerate(known)])
            assert [set(row.nonzero().flatten().tolist()) for row in found[b, p, num]] == wanted
    assert found.unique().tolist() == [0, 1]


def test_attributes_have_the_values_of_their_symbols() -> None:
    assert value_counts((8, 11, 11), 9) == (7, 10, 10, 10, 9)


def some_sets(num: int = 40) -> tuple[Tensor, list[set[int]]]:
    """(num, V) bits, the first none, the second one of all."""
    bits = torch.rand(num, V, generator=torch.Generator().manual_seed(3)) < torch.linspace(0.1, 0.6, num).unsqueeze(1)
    bits[0], bits[1] = False, True
    return bits.float(), [set(row.nonzero().flatten().tolist()) for row in bits]


def pairs() -> tuple[Tensor, Tensor, list[tuple[set[int], set[int]]]]:
    bits, sets = some_sets()
    first, second = zip(*combinations(range(len(sets)), 2), strict=True)
    return bits[list(first)], bits[list(second)], list(combinations(sets, 2))


def as_sets(bits: Tensor) -> list[set[int]]:
    assert set(bits.unique().tolist()) <= {0, 1}
    return [set(row.nonzero().flatten().tolist()) for row in bits]


def test_sums_and_differences_are_those_of_any_two_values() -> None:
    first, second, both = pairs()
    assert as_sets(sums(first, second)) == [{a + b for a in x for b in y} & set(range(V)) for x, y in both]
    assert as_sets(differences(first, second)) == [{a - b for a in x for b in y} & set(range(V)) for x, y in both]


def test_steps_count_pairs_of_values_that_far_apart() -> None:
    first, second, both = pairs()
    wanted = [[sum(a + step in y for a in x) for step in range(-2, 3)] for x, y in both]
    assert steps(first, second, 2).tolist() == wanted
    bits, sets = some_sets()
    moved = shifted(bits, 2)
    for i, step in enumerate(range(-2, 3)):
        assert as_sets(moved[..., i]) == [{a + step for a in x} & set(range(V)) for x in sets]


def test_patterns_are_the_regions_of_a_venn_diagram() -> None:
    first, second, both = pairs()
    third = first.roll(7, 0)
    sets = [(x, y, z) for (x, y), z in zip(both, as_sets(third), strict=True)]
    regions = patterns(first, second, third)
    wanted = [[[4 * (v in x) + 2 * (v in y) + (v in z) for v in range(V)]] for x, y, z in sets]
    assert regions.argmax(-1).tolist() == [row[0] for row in wanted]
    assert (regions.sum(-1) == 1).all()
    sizes = [[sum(code == k for code in row[0]) for k in range(8)] for row in wanted]
    assert (4 * counts(regions)[:, :8]).tolist() == sizes
    assert counts(regions)[:, 8:].tolist() == [[float(size > 0) for size in row] for row in sizes]


@pytest.mark.parametrize(("have", "left"), [(0, 5), (1, 4), (2, 1), (3, 0)])
@pytest.mark.parametrize("wanted", [0.0, 1.0, 2.5])
def test_objects_left_are_those_of_all_panels_that_look_so_far_alike(have: int, left: int, wanted: float) -> None:
    """Five cells; each number of objects as likely as it is said, and each choice of their cells as likely."""
    num_cells, weights = 5, [0.1, 0.3, 0.2, 0.05, 0.25, 0.1]
    total = expected = 0.0
    for filled in product([False, True], repeat=num_cells):
        more = sum(filled) - have
        if sum(filled[: num_cells - left]) != have:
            continue
        weight = weights[sum(filled)] / comb(num_cells, sum(filled)) * exp(-TOO_FEW * max(0.0, wanted - more))
        total += weight
        expected += weight * more
    number = torch.tensor([*weights, 1e-30, 1e-30]).log()
    of_panel = (torch.tensor(value) for value in (float(have), float(left), wanted))
    assert objects_left(number, *of_panel, num_cells).item() == pytest.approx(expected / total, abs=1e-5)
