"""Makes puzzles: a pure function of (seed, split, rule, index), computed in vectorised blocks.

n rows at once, P = 3 panels, A = 3 value attributes, 9 cells a panel. A set is a bit mask: bit v says that value (or
cell) v is in it. All rows of a block follow one rule, and every draw comes from the raw words of a bit generator seeded
by the block's key, whose stream numpy guarantees, so that a data set stays the same across versions and machines.
"""

import itertools
import math
from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from genraven.errors import InputError
from genraven.puzzles import instances, layout
from genraven.puzzles.spec import (
    NUM_CELLS,
    NUM_PANELS,
    NUM_ROWS,
    NUM_RULES,
    NUM_VALUES,
    RULES,
    TOKENS_PER_PUZZLE,
    VALUE_ATTRIBUTES,
    Attribute,
    Rule,
    known_with,
)

Array = NDArray[Any]

BLOCK = 2048  # puzzles made together; part of the definition of the data, not a setting
SPLITS = ("train", "val", "test", "calibration")  # a new one goes last: the place of each names its stream
_MAX_COUNT = NUM_CELLS - 1  # the third panel of a value rule leaves a cell free
_MAX_SET = max(NUM_VALUES)


def generate(rule: int, start: int, count: int, *, seed: int = 0, split: str = "train") -> Tensor:
    """(count, 3, 9, 9) int8 puzzles ``start`` .. ``start + count - 1`` of ``rule``.

    Any slice equals the same slice of a longer run; splits and seeds never share a stream.

    Args:
        rule: id.
        start: index of the first puzzle.
        count: how many.
        seed: any integer from 0.
        split: one of ``SPLITS``.

    Raises:
        InputError: an unknown rule or split, or a negative start, count or seed.
    """
    if split not in SPLITS:
        raise InputError(f"expected split to be one of {', '.join(SPLITS)}, got {split!r}.")
    if not isinstance(rule, int) or not 0 <= rule < NUM_RULES:
        raise InputError(f"expected a rule id 0-{NUM_RULES - 1}, got {rule!r}: `genraven rules` lists them.")
    for name, number in (("start", start), ("count", count), ("seed", seed)):
        if number < 0:
            raise InputError(f"expected {name} to be 0 or more, got {number}.")
    first, last = start // BLOCK, -(-(start + count) // BLOCK)
    blocks = [_block(rule, block, seed, split) for block in range(first, last)]
    puzzles = torch.from_numpy(np.concatenate(blocks) if blocks else np.empty((0, *layout.PUZZLE_SHAPE), np.int8))
    return puzzles[start - first * BLOCK :][:count]


def _block(rule: int, block: int, seed: int, split: str) -> NDArray[np.int8]:
    """(BLOCK, 3, 9, 9) puzzles of one block."""
    draws = Draws(seed, "puzzles", SPLITS.index(split), rule, block)
    return _pictures(RULES[rule], BLOCK * NUM_ROWS, draws).reshape(BLOCK, *layout.PUZZLE_SHAPE)


class Draws:
    """Uniform draws from a stream that its key alone determines.

    Args:
        seed: of the experiment.
        purpose: a word that keeps streams of different uses apart.
        key: integers that name the stream within its purpose.
    """

    def __init__(self, seed: int, purpose: str, *key: int) -> None:
        word = int.from_bytes(purpose.encode()[:8], "little")
        sequence = np.random.SeedSequence(seed, spawn_key=(word & 0xFFFFFFFF, word >> 32, *key))
        self._bits = np.random.SFC64(sequence)

    def below(self, limit: Array | int, shape: tuple[int, ...]) -> Array:
        """int64 of ``shape``, uniform on 0 .. limit - 1."""
        words = self._bits.random_raw(math.prod(shape)).reshape(shape)
        return ((words >> np.uint64(11)) * 2.0**-53 * limit).astype(np.int64)

    def many_below(self, limit: Array, shape: tuple[int, ...]) -> Array:
        """uint8 of ``shape``, uniform on 0 .. limit - 1 (uint8, to within 2^-24): for draws by the million."""
        size = math.prod(shape)
        words = self._bits.random_raw(-(-size // 2)).view(np.uint32)[:size].reshape(shape)
        return ((words >> np.uint32(8)).astype(np.float32) * np.float32(2.0**-24) * limit).astype(np.uint8)

    def permutation(self, size: int) -> Array:
        """(size,) int64: a uniform order of 0 .. size - 1."""
        return np.argsort(self._bits.random_raw(size), kind="stable")

    def words(self, num: int) -> Array:
        """(num,) uint64, all values alike."""
        return self._bits.random_raw(num)


class _Choices:
    """For each key a list of values to choose from uniformly; lists of different lengths, stored end to end."""

    def __init__(self, keys: Array, values: Array, num_keys: int) -> None:
        order = np.argsort(keys, kind="stable")
        self.values = values[order]
        self.num = np.bincount(keys, minlength=num_keys)
        self._first = np.cumsum(self.num) - self.num

    def index(self, draws: Draws, keys: Array) -> Array:
        assert self.num[keys].all(), "nothing to choose from"
        return self._first[keys] + draws.below(self.num[keys], keys.shape)

    def draw(self, draws: Draws, keys: Array) -> Array:
        return self.values[self.index(draws, keys)]


def _key(*parts: Array) -> Array:
    """One key from sizes or counts 0-9."""
    key = parts[0]
    for part in parts[1:]:
        key = key * (NUM_CELLS + 1) + part
    return key


@cache
def _instance_choices(attribute: Attribute, known: int) -> _Choices:
    """Keyed by relation, of the rules with ids below ``known``: its instances (n, P)."""
    tables = list(instances.instances(attribute, known).values())
    keys = np.repeat(np.arange(len(tables)), [len(t) for t in tables])
    return _Choices(keys, np.concatenate(tables), len(tables))


@cache
def _third_choices(attribute: Attribute, known: int) -> _Choices:
    """Keyed by size: the distinct third sets of that size in the attribute's instances."""
    thirds = np.flatnonzero(np.bincount(_instance_choices(attribute, known).values[:, 2])).astype(np.int16)
    return _Choices(instances.popcount(thirds), thirds, NUM_CELLS + 1)


@cache
def _pair_choices() -> _Choices:
    """Keyed by the largest sets of the first two panels: count pairs that hold them."""
    pairs = instances.count_pairs()
    m1, m2, which = np.meshgrid(
        np.arange(NUM_CELLS + 1), np.arange(NUM_CELLS + 1), np.arange(len(pairs)), indexing="ij"
    )
    fits = (pairs[which, 0] >= m1) & (pairs[which, 1] >= m2)
    return _Choices(_key(m1[fits], m2[fits]), pairs[which[fits]], (NUM_CELLS + 1) ** 2)


@cache
def _third_count_choices(known: int) -> _Choices:
    """Keyed by the first two counts and the largest set of panel 3: third counts that make no number rule."""
    n1, n2, m3, n3 = np.meshgrid(*[np.arange(NUM_CELLS + 1)] * 4, indexing="ij")
    fits = (m3 <= n3) & (n3 <= _MAX_COUNT) & (instances.number_rule_table(known)[n1, n2, n3] == 0)
    return _Choices(_key(n1, n2, m3)[fits], n3[fits], (NUM_CELLS + 1) ** 3)


@cache
def _position_choices(known: int) -> tuple[_Choices, _Choices]:
    """Position instances keyed by their three counts; and, keyed by the first two, the third counts that exist."""
    sets = _instance_choices("position", known).values
    counts = instances.popcount(sets)
    by_counts = _Choices(_key(*counts.T), sets, (NUM_CELLS + 1) ** 3)
    pair, third = np.divmod(np.flatnonzero(by_counts.num), NUM_CELLS + 1)
    return by_counts, _Choices(pair, third, (NUM_CELLS + 1) ** 2)


@cache
def _subset_choices() -> _Choices:
    """Keyed by size: all sets of cells."""
    sets = np.arange(1 << NUM_CELLS, dtype=np.int16)
    return _Choices(instances.popcount(sets), sets, NUM_CELLS + 1)


@cache
def _permutation_choices() -> _Choices:
    """Keyed by n: all permutations of 0 .. n-1, in rows of nine uint8."""
    keys, tables = [], []
    for n in range(1, NUM_CELLS + 1):
        table = np.zeros((math.factorial(n), NUM_CELLS), np.uint8)
        table[:, :n] = np.fromiter(itertools.chain.from_iterable(itertools.permutations(range(n))), np.uint8).reshape(
            -1, n
        )
        keys.append(np.full(len(table), n))
        tables.append(table)
    return _Choices(np.concatenate(keys), np.concatenate(tables), NUM_CELLS + 1)


@cache
def _set_tables() -> tuple[NDArray[np.int8], NDArray[np.uint8]]:
    """(sets, 10) the k-th value of a set of values; (sets of cells, 9) how many cells of a set come before a cell."""
    sets = np.arange(1 << _MAX_SET)
    nth = np.zeros((len(sets), _MAX_SET), np.int8)
    member = (sets[:, None] >> np.arange(_MAX_SET) & 1).astype(bool)
    rank = member.cumsum(1) - member
    which, value = np.nonzero(member)
    nth[which, rank[which, value]] = value
    return nth, rank[: 1 << NUM_CELLS, :NUM_CELLS].astype(np.uint8)


def _pictures(rule: Rule, n: int, draws: Draws) -> NDArray[np.int8]:
    """(n / 3, A, 81) puzzles from n rows of one rule."""
    known = known_with(rule.id)
    sets = np.zeros((len(VALUE_ATTRIBUTES), n, NUM_PANELS), np.int16)
    relation = list(instances.instances(rule.attribute, known)).index(rule.relation)
    instance = _instance_choices(rule.attribute, known).draw(draws, np.full(n, relation))
    distracted = [i for i, attribute in enumerate(VALUE_ATTRIBUTES) if attribute != rule.attribute]
    if rule.attribute in VALUE_ATTRIBUTES:
        sets[VALUE_ATTRIBUTES.index(rule.attribute)] = instance
        counts = _draw_counts(sets, distracted, known, draws)
    else:
        counts = instances.popcount(instance) if rule.attribute == "position" else instance.astype(np.int64)
        for i in distracted:
            sets[i] = _fitting_distractors(VALUE_ATTRIBUTES[i], counts, known, draws)
    cells = instance if rule.attribute == "position" else _draw_cells(counts, known, draws)
    return _fill(sets, counts, cells, draws)


def _redraw_third(
    attribute: Attribute, known: int, sets: Array, candidates: _Choices, sizes: Array, draws: Draws
) -> None:
    """Replaces the third of ``sets`` (n, P) in place by a candidate of the given size that completes no rule."""
    table = instances.completions(attribute, known)
    todo = np.arange(len(sets))
    while len(todo):
        third = candidates.draw(draws, sizes[todo])
        sets[todo, 2] = third
        holds = (table[sets[todo, 0], sets[todo, 1]] == third[:, None]).any(1)
        todo = todo[holds]


def _distractors(attribute: Attribute, n: int, known: int, draws: Draws) -> Array:
    """(n, P) sets whose first two look like a rule that the third does not complete."""
    choices = _instance_choices(attribute, known)
    sets = choices.draw(draws, draws.below(len(choices.num), (n,)))
    _redraw_third(attribute, known, sets, _third_choices(attribute, known), instances.popcount(sets[:, 2]), draws)
    return sets


def _fitting_distractors(attribute: Attribute, counts: Array, known: int, draws: Draws) -> Array:
    """(n, P) distractors, redrawn until no set is larger than the ``counts`` (n, P) of objects that show it."""
    sets = np.zeros(counts.shape, np.int16)
    todo = np.arange(len(counts))
    while len(todo):
        sets[todo] = _distractors(attribute, len(todo), known, draws)
        todo = todo[(instances.popcount(sets[todo]) > counts[todo]).any(1)]
    return sets


def _draw_counts(sets: Array, distracted: Sequence[int], known: int, draws: Draws) -> Array:
    """(n, P) counts for value rules; the distractors in ``sets`` (A, n, P) are drawn with them."""
    n = sets.shape[1]
    counts = np.zeros((n, NUM_PANELS), np.int64)
    thirds = _third_count_choices(known)
    todo = np.arange(n)
    while len(todo):
        for i in distracted:
            sets[i, todo] = _distractors(VALUE_ATTRIBUTES[i], len(todo), known, draws)
        largest = instances.popcount(sets[:, todo]).max(0)
        counts[todo, :2] = _pair_choices().draw(draws, _key(largest[:, 0], largest[:, 1]))
        key = _key(counts[todo, 0], counts[todo, 1], largest[:, 2])
        possible = thirds.num[key] > 0
        counts[todo[possible], 2] = thirds.draw(draws, key[possible])
        todo = todo[~possible]
    return counts


def _draw_cells(counts: Array, known: int, draws: Draws) -> Array:
    """(n, P) occupied cells for ``counts`` (n, P): two panels look like a position rule, the third breaks it.

    Counts that no position rule begins with, as a number rule beside the study's may have, get cells at random.
    """
    by_counts, third_counts = _position_choices(known)
    begins = third_counts.num[_key(*counts.T[:2])] > 0
    if not begins.all():
        cells = _subset_choices().draw(draws, counts)
        cells[begins] = _draw_cells(counts[begins], known, draws)
        return cells
    third = counts[:, 2].copy()
    missing = by_counts.num[_key(*counts.T)] == 0
    third[missing] = third_counts.draw(draws, _key(counts[missing, 0], counts[missing, 1]))
    cells = by_counts.draw(draws, _key(counts[:, 0], counts[:, 1], third))
    _redraw_third("position", known, cells, _subset_choices(), counts[:, 2], draws)
    return cells


def _fill(sets: Array, counts: Array, cells: Array, draws: Draws) -> NDArray[np.int8]:
    """(n / 3, A, 81) pictures: each value of a set at least once, the others uniform from it, in any order."""
    nth, rank = _set_tables()
    permutations = _permutation_choices()
    shape = (*counts.shape, NUM_CELLS)
    slot = rank.take(cells, 0)
    empty = -(cells[..., None] >> np.arange(NUM_CELLS) & 1 ^ 1).astype(np.int8)  # -1 in empty cells, else 0
    # numpy, not layout.tokens_to_puzzles: blocks are made in threads, where torch would start threads of its own.
    order = layout.token_places()
    pictures = np.empty((len(counts) // NUM_ROWS, len(sets), TOKENS_PER_PUZZLE), np.int8)
    for i, values in enumerate(sets):
        place = permutations.values.ravel().take(permutations.index(draws, counts)[..., None] * NUM_CELLS + slot)
        size = np.bitwise_count(values)[..., None]
        # Arithmetic that wraps, and EMPTY as all bits set: several times as fast as masked copies.
        place += (draws.many_below(size, shape) - place) * (place >= size)
        value = nth.ravel().take(values[..., None].astype(np.int64) * _MAX_SET + place)
        pictures[:, i] = (value | empty).reshape(len(pictures), -1).take(order, 1)
    return pictures
