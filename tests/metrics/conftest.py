"""The definitions of DESIGN.md once more, with Python sets: slow, obvious and apart from the product's tables."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from genraven.puzzles.generate import generate

Cell = tuple[int, int, int]
Panel = tuple[Cell, ...]
Row = tuple[Panel, ...]


def rows_of(puzzle: Tensor) -> list[Row]:
    """Three rows of three panels of nine cells; a cell with an empty channel is (-1, -1, -1)."""
    values = puzzle.tolist()

    def cell(row: int, panel: int, k: int) -> Cell:
        shape, size, color = (values[a][3 * row + k // 3][3 * panel + k % 3] for a in range(3))
        return (-1, -1, -1) if -1 in (shape, size, color) else (shape, size, color)

    return [tuple(tuple(cell(r, p, k) for k in range(9)) for p in range(3)) for r in range(3)]


def logical(a: set[int], b: set[int], c: set[int]) -> set[int]:
    if not a ^ b or not a & b:
        return set()
    return {i for i, result in enumerate((a ^ b, a | b, a & b)) if c == result}


def progressions(a: int, b: int, c: int, excluded: dict[int, int]) -> set[int]:
    steps = {-2: 1, -1: 2, 1: 3, 2: 4}
    return {i for d, i in steps.items() if (b, c) == (a + d, a + 2 * d) and a != excluded[d]}


def value_rules(sets: list[set[int]], num_values: int, limit: int) -> set[int]:
    """Relations 0-9 that hold for three sets of values."""
    if any(not 0 <= v < num_values for s in sets for v in s):
        return set()
    if all(len(s) == 1 for s in sets):
        a, b, c = (next(iter(s)) for s in sets)
        found = progressions(a, b, c, {-2: 6, -1: 3, 1: 1, 2: 2})
        found |= {0} if a == b == c >= 1 else set()
        found |= {5} if c == a + b and b >= 1 and (a, b) not in ((1, 2), (2, 4)) else set()
        return found | ({6} if c == a - b and b >= 1 and (a, b) not in ((3, 2), (6, 4)) else set())
    return {7 + i for i in logical(*sets)} if len(sets[0] | sets[1]) < limit else set()


def number_rules(a: int, b: int, c: int) -> set[int]:
    """Relations 0-6 that hold for three counts."""
    if min(a, b, c) < 1:
        return set()
    found = progressions(a, b, c, {-2: 6, -1: 3, 1: 1, 2: 2})
    found |= {0} if a == b == c and 2 <= a <= 8 else set()
    found |= {5} if c == a + b and (a, b) not in ((1, 1), (1, 2), (2, 4), (3, 6)) else set()
    return found | ({6} if c == a - b and (a, b) not in ((3, 2), (6, 4), (9, 6)) else set())


def rules_of_row(row: Row) -> set[int]:
    """Ids of the rules that hold in a row."""
    objects = [[cell for cell in panel if -1 not in cell] for panel in row]
    found: set[int] = set()
    for attribute, (num_values, limit) in enumerate(((7, 7), (10, 9), (10, 9))):
        sets = [{cell[attribute] for cell in panel} for panel in objects]
        found |= {10 * attribute + i for i in value_rules(sets, num_values, limit)}
    a, b, c = (len(panel) for panel in objects)
    number = number_rules(a, b, c)
    found |= {30 + i for i in number}
    if not number and any(number_rules(a, b, third) for third in range(1, 10)):
        found |= {37 + i for i in logical(*[{k for k in range(9) if -1 not in panel[k]} for panel in row])}
    return found


def _mixed() -> tuple[Tensor, Tensor]:
    """Puzzles of every rule, with exchanged rows, random ones, broken cells and out-of-range values; and rule ids."""
    draws = torch.Generator().manual_seed(0)
    made = torch.stack([generate(rule, 0, 6) for rule in range(40)], 1).flatten(0, 1)
    rules = torch.arange(40).repeat(6)
    exchanged = made.clone()
    for row in range(3):  # some keep two rows of their rule, some one, some none
        other = made[torch.randperm(len(made), generator=draws), :, 3 * row : 3 * row + 3]
        chosen = torch.rand(len(made), 1, 1, 1, generator=draws) < 0.4
        exchanged[:, :, 3 * row : 3 * row + 3] = torch.where(chosen, other, made[:, :, 3 * row : 3 * row + 3])
    high = torch.tensor([7, 10, 10]).view(1, 3, 1, 1)
    random = ((torch.rand(200, 3, 9, 9, generator=draws) * (high + 1)).long() - 1).to(torch.int8)
    broken = made[:120].where(torch.rand(120, 3, 9, 9, generator=draws) > 0.01, random[:120])
    outside = made[:80].clone()
    outside[torch.rand(outside.shape, generator=draws) < 0.01] = 11
    outside[torch.rand(outside.shape, generator=draws) < 0.01] = -5
    both = generate(0, 6, 10).clone()  # the shape is constant in three rows, the size in just two
    both[:, 1, :6] = torch.where(both[:, 1, :6] == -1, -1, 5)
    puzzles = torch.cat([made, exchanged, random, broken, outside, both])
    drawn = torch.randint(0, 40, (200,), generator=draws)
    rules = torch.cat([rules, rules, drawn, rules[:120], rules[:80], torch.full((10,), 10)])
    order = torch.randperm(len(puzzles), generator=draws)
    return puzzles[order], rules[order]


@pytest.fixture(scope="session")
def mixed() -> tuple[Tensor, Tensor]:
    return _mixed()


@pytest.fixture(scope="session")
def rows() -> Callable[[Tensor], list[Row]]:
    return rows_of


@pytest.fixture(scope="session")
def row_rule_sets() -> Callable[[Tensor], list[set[int]]]:
    return lambda puzzle: [rules_of_row(row) for row in rows_of(puzzle)]
