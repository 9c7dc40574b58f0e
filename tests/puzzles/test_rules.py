"""Rules as tables against a slow, obvious reference: plain sets, written from the definition and from nothing else.

``python tests/puzzles/test_rules.py`` writes vectors.npz anew, the file of puzzles and their rules read here.
"""

from collections.abc import Callable
from functools import cache
from itertools import product
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from genraven.errors import InputError
from genraven.puzzles import rules
from genraven.puzzles.generate import generate
from genraven.puzzles.rules import pair_rules, row_rules, rule_bits, shared_rules
from genraven.puzzles.spec import NUM_RULES, RULE_ID, RULES

VECTORS = Path(__file__).with_name("vectors.npz")
Puzzles = NDArray[np.int8]

# The reference.

PROGRESSIONS = {"progression-2": (-2, 6), "progression-1": (-1, 3), "progression+1": (1, 1), "progression+2": (2, 2)}
VALUE_SUMS, VALUE_DIFFERENCES = {(1, 2), (2, 4)}, {(3, 2), (6, 4)}
NUMBER_SUMS, NUMBER_DIFFERENCES = {(1, 1), (1, 2), (2, 4), (3, 6)}, {(3, 2), (6, 4), (9, 6)}


def of_triple(
    a: int, b: int, c: int, constants: range, no_sums: set[tuple[int, int]], no_differences: set[tuple[int, int]]
) -> set[str]:
    """The singleton relations of three values or counts."""
    found = {"constant"} if a == b == c and a in constants else set()
    found |= {name for name, (d, not_from) in PROGRESSIONS.items() if (b, c) == (a + d, a + 2 * d) and a != not_from}
    if c == a + b and b >= 1 and (a, b) not in no_sums:
        found.add("arithmetic+")
    if c == a - b and b >= 1 and (a, b) not in no_differences:
        found.add("arithmetic-")
    return found


def of_sets(a: set[int], b: set[int], c: set[int]) -> set[str]:
    """The logical relations of three sets."""
    if not (a ^ b and a & b):
        return set()
    return {name for name, third in (("xor", a ^ b), ("or", a | b), ("and", a & b)) if c == third}


def of_values(a: set[int], b: set[int], c: set[int], num_values: int, union_limit: int) -> set[str]:
    """Relations of three sets of values."""
    if any(not 0 <= value < num_values for value in a | b | c):
        return set()
    if len(a) == len(b) == len(c) == 1:
        return of_triple(*a, *b, *c, range(1, num_values), VALUE_SUMS, VALUE_DIFFERENCES)
    return of_sets(a, b, c) if len(a | b) < union_limit else set()


@cache
def of_counts(a: int, b: int, c: int) -> frozenset[str]:
    """Relations of three counts of objects."""
    if 0 in (a, b, c):
        return frozenset()
    return frozenset(of_triple(a, b, c, range(2, 9), NUMBER_SUMS, NUMBER_DIFFERENCES))


def of_cells(a: set[int], b: set[int], c: set[int]) -> set[str]:
    """Relations of three sets of occupied cells."""
    starts_a_number_rule = any(of_counts(len(a), len(b), n) for n in range(1, 10))
    if not starts_a_number_rule or of_counts(len(a), len(b), len(c)):
        return set()
    return of_sets(a, b, c)


def row_reference(puzzle: list[list[list[int]]], row: int) -> set[str]:
    """Names of the rules that hold in one row of a puzzle (channel, image row, image column)."""
    panels: list[dict[int, list[int]]] = [{}, {}, {}]
    for panel, i, j in product(range(3), repeat=3):
        cell = [puzzle[channel][3 * row + i][3 * panel + j] for channel in range(3)]
        if -1 not in cell:
            panels[panel][3 * i + j] = cell
    names = set()
    for channel, (attribute, num_values, limit) in enumerate((("shape", 7, 7), ("size", 10, 9), ("color", 10, 9))):
        sets = [{cell[channel] for cell in panel.values()} for panel in panels]
        names |= {f"{attribute}.{relation}" for relation in of_values(*sets, num_values, limit)}
    names |= {f"number.{relation}" for relation in of_counts(*map(len, panels))}
    return names | {f"position.{relation}" for relation in of_cells(*map(set, panels))}


def row_rules_reference(puzzle: NDArray[np.integer]) -> list[int]:
    """The masks of the three rows of a puzzle (3, 9, 9)."""
    return [sum(1 << RULE_ID[name] for name in row_reference(puzzle.tolist(), row)) for row in range(3)]


def reference(puzzles: NDArray[np.integer]) -> NDArray[np.int64]:
    return np.array([row_rules_reference(puzzle) for puzzle in puzzles], np.int64).reshape(-1, 3)


# Puzzles of every kind.


def uniform(rng: np.random.Generator, num: int) -> Puzzles:
    """Any value anywhere, -1 among them: most cells are objects, many are half empty."""
    return rng.integers(-1, np.array([7, 10, 10])[:, None, None], (num, 3, 9, 9)).astype(np.int8)


def generated(num: int) -> Puzzles:
    """``num`` puzzles of each of the 40 rules."""
    return torch.cat([generate(rule.id, 0, num, seed=1) for rule in RULES]).numpy()


def altered(rng: np.random.Generator, num: int) -> Puzzles:
    """Two whole cells of each puzzle become other objects, or empty."""
    puzzles = generated(num)
    for puzzle, y, x in zip(puzzles, *rng.integers(9, size=(2, len(puzzles), 2)), strict=True):
        puzzle[:, y, x] = -1 if rng.random() < 0.3 else rng.integers((7, 10, 10), size=(2, 3)).T
    return puzzles


def sprinkled(rng: np.random.Generator, num: int, *values: int) -> Puzzles:
    """Three single channels of each puzzle become one of ``values``, whether their cell was empty or not."""
    puzzles = generated(num)
    for puzzle in puzzles:
        puzzle.reshape(-1)[rng.integers(243, size=3)] = rng.choice(values, 3)
    return puzzles


def triples(rng: np.random.Generator) -> Puzzles:
    """Every triple of values 0-9 in every channel as full panels, then every triple of counts 0-9 of like objects."""
    digits = np.array(list(product(range(10), repeat=3)))
    channels = np.stack([digits, rng.permutation(digits), rng.permutation(digits)], -1)
    values = np.broadcast_to(channels[:, :, None], (1000, 3, 9, 3))
    counted = rng.random((1000, 3, 9)).argsort(-1) < digits[..., None]
    rows = np.concatenate([values, np.where(counted[..., None], channels[:, :1, None], -1)])[: 2000 // 3 * 3]
    cells = rows.reshape(-1, 3, 3, 3, 3, 3)  # puzzle, row, panel, cell row, cell column, channel
    return cells.transpose(0, 5, 1, 3, 2, 4).reshape(-1, 3, 9, 9).astype(np.int8)


KINDS: dict[str, Callable[[np.random.Generator], Puzzles]] = {
    "uniform": lambda rng: uniform(rng, 1000),
    "generated": lambda rng: generated(8),
    "altered": lambda rng: altered(rng, 12),
    "out of range": lambda rng: sprinkled(rng, 10, -2, -128, 7, 10, 127),
    "half empty": lambda rng: sprinkled(rng, 10, -1),
    "mostly empty": lambda rng: np.where(rng.random((500, 1, 9, 9)) < 0.8, np.int8(-1), uniform(rng, 500)),
    "triples": triples,
}


def make_vectors() -> None:
    """Writes vectors.npz: puzzles of all kinds from a fixed seed with the masks that the reference gives them."""
    rng = np.random.default_rng(0)
    odd = [sprinkled(rng, 1, -2, -128, 7, 10, 127), sprinkled(rng, 1, -1)]
    singles = rng.permutation(triples(rng))[:60]
    puzzles = np.concatenate([generated(3), altered(rng, 3), *odd, uniform(rng, 60), singles])
    np.savez_compressed(VECTORS, puzzles=puzzles, row_rules=reference(puzzles))


# The tests.


@pytest.mark.parametrize("kind", KINDS)
def test_agrees_with_the_reference(kind: str) -> None:
    puzzles = KINDS[kind](np.random.default_rng(0))
    expected = reference(puzzles)
    masks = row_rules(torch.from_numpy(puzzles))
    assert masks.dtype == torch.int64
    assert np.array_equal(masks.numpy(), expected)
    assert len(np.unique(expected)) > 4, "a test of nothing but rows without a rule"


def test_vectors() -> None:
    with np.load(VECTORS) as file:
        puzzles, expected = file["puzzles"], file["row_rules"]
    assert VECTORS.stat().st_size < 60_000
    assert puzzles.dtype == np.int8
    assert expected.dtype == np.int64
    assert np.bitwise_or.reduce(expected, axis=None) == (1 << NUM_RULES) - 1, "every rule stands in the file"
    assert np.array_equal(row_rules(torch.from_numpy(puzzles)).numpy(), expected)
    assert np.array_equal(reference(puzzles), expected)


def test_share_of_uniform_rows_with_a_rule() -> None:
    masks = row_rules(torch.from_numpy(uniform(np.random.default_rng(0), 30_000)))
    assert (masks != 0).float().mean() == pytest.approx(0.169, abs=0.005)
    assert (shared_rules(masks) != 0).float().mean() == pytest.approx(0.0003, abs=0.0003)


@pytest.mark.parametrize("num", [1, 2, 100])
def test_never_modifies_its_input(num: int) -> None:
    for puzzles in (torch.from_numpy(uniform(np.random.default_rng(0), num)), generate(RULE_ID["shape.xor"], 0, num)):
        for dtype in (torch.int8, torch.int16, torch.int64):
            given = puzzles.to(dtype)
            before = given.clone()
            row_rules(given)
            assert torch.equal(given, before)


@pytest.mark.parametrize("dtype", [torch.int16, torch.int32, torch.int64])
def test_other_integer_dtypes(dtype: torch.dtype) -> None:
    puzzles = torch.from_numpy(sprinkled(np.random.default_rng(0), 5, -128, -2, -1, 7, 10, 127))
    expected = row_rules(puzzles)
    assert torch.equal(row_rules(puzzles.to(dtype)), expected)
    # What does not fit into int8 is out of range too: 256 must not come back as 0, nor 255 as empty.
    wide = puzzles.to(dtype)
    assert torch.equal(row_rules(wide.where(wide < 100, 256)), expected)
    assert torch.equal(row_rules(wide.where(wide > -100, -32513)), expected)


def test_unsigned_puzzles_without_an_empty_cell() -> None:
    puzzles = generate(RULE_ID["shape.xor"], 0, 20).clamp_min(0)
    assert torch.equal(row_rules(puzzles.to(torch.uint8)), row_rules(puzzles))


def test_empty_batch() -> None:
    masks = row_rules(torch.empty(0, 3, 9, 9, dtype=torch.int8))
    assert masks.shape == (0, 3)
    assert masks.dtype == torch.int64
    assert shared_rules(masks).shape == pair_rules(masks).shape == (0,)


def test_batches_are_independent_of_their_neighbours(monkeypatch: pytest.MonkeyPatch) -> None:
    puzzles = torch.from_numpy(generated(1))
    masks = row_rules(puzzles)
    assert torch.equal(torch.cat([row_rules(puzzle[None]) for puzzle in puzzles]), masks)
    assert torch.equal(row_rules(puzzles.transpose(2, 3).contiguous().transpose(2, 3)), masks)
    monkeypatch.setattr(rules, "_CHUNK", 16)
    assert torch.equal(row_rules(puzzles), masks)


def test_batches_larger_than_a_chunk() -> None:
    num = rules._CHUNK + 5
    puzzles = torch.from_numpy(uniform(np.random.default_rng(3), 50)).repeat(num // 50 + 1, 1, 1, 1)[:num]
    masks = row_rules(puzzles)
    assert masks.shape == (num, 3)
    assert torch.equal(masks, row_rules(puzzles[:50]).repeat(num // 50 + 1, 1)[:num])


@pytest.mark.parametrize("shape", [(), (3, 9, 9), (2, 9, 9), (2, 3, 9, 8), (2, 81, 3), (2, 3, 3, 9, 3), (0,)])
def test_another_shape_is_an_error_of_one_line(shape: tuple[int, ...]) -> None:
    with pytest.raises(InputError) as caught:
        row_rules(torch.zeros(shape, dtype=torch.int8))
    assert f"of {shape}" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64, torch.bool])
def test_another_dtype_is_an_error_of_one_line(dtype: torch.dtype) -> None:
    with pytest.raises(InputError, match=str(dtype)) as caught:
        row_rules(torch.zeros(2, 3, 9, 9, dtype=dtype))
    assert "\n" not in str(caught.value)


def random_sets(rng: np.random.Generator) -> list[list[set[int]]]:
    """Three sets of rule ids for each of 200 puzzles, with much in common."""
    return [[set(np.flatnonzero(rng.random(NUM_RULES) < 0.5).tolist()) for _ in range(3)] for _ in range(200)]


def mask_of(ids: set[int]) -> int:
    return sum(1 << i for i in ids)


def test_shared_and_pair_rules_are_set_operations() -> None:
    sets = random_sets(np.random.default_rng(0))
    masks = torch.tensor([[mask_of(ids) for ids in puzzle] for puzzle in sets])
    before = masks.clone()
    everything = set(range(NUM_RULES))
    assert shared_rules(masks).tolist() == [mask_of(a & b & c) for a, b, c in sets]
    exactly_two = [{i for i in everything if (i in a) + (i in b) + (i in c) == 2} for a, b, c in sets]
    assert pair_rules(masks).tolist() == [mask_of(ids) for ids in exactly_two]
    assert torch.equal(masks, before)


def test_rule_bits_are_membership() -> None:
    sets = random_sets(np.random.default_rng(1))
    bits = rule_bits(torch.tensor([[mask_of(ids) for ids in puzzle] for puzzle in sets]))
    assert bits.shape == (200, 3, NUM_RULES)
    assert bits.dtype == torch.bool
    assert [[set(row.nonzero().flatten().tolist()) for row in puzzle] for puzzle in bits] == sets
    assert rule_bits(torch.tensor(1 << RULE_ID["position.and"])).nonzero().tolist() == [[RULE_ID["position.and"]]]


if __name__ == "__main__":
    make_vectors()
