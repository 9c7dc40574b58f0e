import os
import pickle
import re
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from datamodules.batches import FinitePool
from datamodules.sources import Selection, file_source
from datamodules.store import open_index, open_set
from genraven.errors import InputError
from genraven.formats.read import open_puzzles
from genraven.puzzles import layout
from genraven.puzzles.corrupt import Corruption
from genraven.puzzles.generate import generate
from genraven.puzzles.rules import row_rules

CLEAN = Corruption()
ALL = Selection(tuple(range(40)), ())


def published(num: int = 4) -> NDArray[np.int64]:
    """(40, 3 * num, 3, 9, 3): ``num`` validation puzzles of each rule."""
    puzzles = [layout.puzzles_to_rows(generate(rule, 0, num, split="val")).flatten(0, 1) for rule in range(40)]
    return torch.stack(puzzles).numpy().astype(np.int64)


def save(path: Path, data: NDArray[Any]) -> Path:
    np.save(path, data)
    return path


def maps_of(
    path: Path, cache: Path, selection: Selection = ALL, num: int | None = None, corruption: Corruption = CLEAN
) -> dict[int, NDArray[np.int8]]:
    """What is trained on, by rule."""
    source = file_source(open_puzzles(path), selection, num, 0, corruption)
    rules = tuple(source.counts)
    return dict(zip(rules, open_set(source, rules, cache, verify=True), strict=True))


@pytest.mark.parametrize("dtype", [np.int8, np.int64, np.float32])
@pytest.mark.parametrize("num", [None, 3])
def test_a_source_gives_the_puzzles_put_in(tmp_path: Path, dtype: type, num: int | None) -> None:
    path = save(tmp_path / "source.npy", published().astype(dtype))
    maps = maps_of(path, tmp_path / "cache", Selection((0, 21, 39), ()), num)
    assert list(maps) == [0, 21, 39]
    for rule, puzzles in maps.items():
        assert isinstance(puzzles, np.memmap)
        assert np.array_equal(puzzles, generate(rule, 0, num or 4, split="val").numpy())


def test_a_source_that_changed_is_read_anew(tmp_path: Path) -> None:
    data = published()
    path = save(tmp_path / "source.npy", data)
    maps_of(path, tmp_path / "cache")
    save(path, data[:, ::-1])
    os.utime(path, ns=(1, 1))
    assert not np.array_equal(maps_of(path, tmp_path / "cache")[5], generate(5, 0, 4, split="val").numpy())


def test_rules_beside_that_changed_are_read_anew(tmp_path: Path) -> None:
    puzzles = torch.cat([generate(rule, 0, 2) for rule in (3, 8)]).numpy()
    path = save(tmp_path / "own.npy", puzzles)
    for rules in ([3, 3, 8, 8], [8, 8, 3, 3]):
        save(tmp_path / "own.rules.npy", np.array(rules))
        maps = maps_of(path, tmp_path / "cache", Selection((3, 8), ()))
        assert np.array_equal(maps[rules[0]], puzzles[:2])


def test_rules_may_have_different_numbers_of_puzzles_in_any_order(tmp_path: Path) -> None:
    puzzles = torch.cat([generate(rule, 0, num) for rule, num in ((3, 5), (8, 2), (30, 7))]).numpy()
    rules = np.repeat([3, 8, 30], [5, 2, 7])
    order = np.random.default_rng(0).permutation(14)
    np.savez(tmp_path / "own.npz", puzzles=puzzles[order], rules=rules[order])
    selection = Selection((3, 8, 30), ())
    maps = maps_of(tmp_path / "own.npz", tmp_path / "cache", selection)
    for rule, found in maps.items():
        assert np.array_equal(found, puzzles[order][rules[order] == rule])
    assert [len(found) for found in maps_of(tmp_path / "own.npz", tmp_path / "cache", selection, 2).values()] == [2] * 3

    pool = FinitePool(tuple(maps), list(maps.values()))
    assert pool.size == 14
    taken, of_rules = pool.take(0, np.arange(14))
    assert of_rules.tolist() == [3] * 5 + [8] * 2 + [30] * 7
    assert np.array_equal(taken, np.concatenate(list(maps.values())))


def test_a_pool_larger_than_memory_gives_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    parts = [generate(rule, 0, num).numpy() for rule, num in ((3, 5), (8, 2), (30, 7))]
    indices = np.random.default_rng(0).permutation(14)
    small = FinitePool((3, 8, -1), parts).take(0, indices)
    monkeypatch.setattr("datamodules.batches.IN_MEMORY", 0)
    large = FinitePool((3, 8, -1), parts).take(0, indices)
    assert np.array_equal(small[0], np.concatenate(parts)[indices])
    assert all(np.array_equal(a, b) for a, b in zip(small, large, strict=True))
    assert sorted(small[1].tolist()) == [-1] * 7 + [3] * 5 + [8] * 2


# Rules that are not stated --------------------------------------------------------------------------------------------


def mixed(path: Path) -> dict[str, NDArray[np.int8]]:
    """Puzzles of three rules, and some of none, without a word about them."""
    shape, size, position = (generate(rule, 0, 3).numpy() for rule in (0, 10, 37))
    none = shape.copy()
    none[:, :, :, 6:] = generate(39, 0, 3).numpy()[:, :, :, :3]
    save(path, np.concatenate([none, position, shape, size]))
    return {"none": none, "shape": shape, "size": size, "position": position}


def test_the_rules_found_group_puzzles_whose_rule_is_not_stated(tmp_path: Path) -> None:
    put_in = mixed(tmp_path / "own.npy")
    maps = maps_of(tmp_path / "own.npy", tmp_path / "cache", Selection((0, 5, 10), (37,)))
    assert list(maps) == [0, 10, -1]  # neither the rule that is held out nor one that the file lacks
    for rule, name in ((0, "shape"), (10, "size"), (-1, "none")):
        assert np.array_equal(maps[rule], put_in[name])
    other = maps_of(tmp_path / "own.npy", tmp_path / "cache", Selection((37,), (0,)))
    assert list(other) == [37, -1]  # what follows only rules that are not asked for is left out
    assert np.array_equal(other[37], put_in["position"])


@pytest.mark.parametrize(
    ("trained", "num", "says"),
    [
        ((0, 10), 4, r"at most the 3 puzzles of shape\.constant in .* got samples_per_rule 4: lower it, or set it to"),
        ((0, 5, 10), 2, r"all 3 rules to train on, got none of shape.*that it holds \(shape\.constant, size\.constant\)"
                        r", or data\.samples_per_rule to null"),
        ((5,), 1, r"got none of shape.* rules that it holds \(none\)"),
    ],
)  # fmt: skip
def test_rules_that_are_found_are_held_against_the_number_asked_for(
    trained: tuple[int, ...], num: int, says: str, tmp_path: Path
) -> None:
    mixed(tmp_path / "own.npy")
    with pytest.raises(InputError, match=says) as caught:
        file_source(open_puzzles(tmp_path / "own.npy"), Selection(trained, (37,)), num, 0, CLEAN)
    assert "\n" not in str(caught.value)


def test_as_many_as_are_asked_for_are_taken_of_each_rule_found(tmp_path: Path) -> None:
    put_in = mixed(tmp_path / "own.npy")
    maps = maps_of(tmp_path / "own.npy", tmp_path / "cache", Selection((0, 10), (37,)), num=2)
    assert {rule: len(puzzles) for rule, puzzles in maps.items()} == {0: 2, 10: 2, -1: 2}
    assert np.array_equal(maps[0], put_in["shape"][:2])


def test_a_puzzle_that_also_follows_a_rule_held_out_is_left_out(tmp_path: Path) -> None:
    puzzles = np.ones((2, 3, 9, 9), np.int8)  # constant in shape, size and color
    save(tmp_path / "own.npy", puzzles)
    assert len(maps_of(tmp_path / "own.npy", tmp_path / "cache", Selection((0, 10), ()))[0]) == 2
    with pytest.raises(InputError, match="to train on, got none"):
        maps_of(tmp_path / "own.npy", tmp_path / "cache", Selection((0,), (10,)))


def test_sets_of_other_rules_held_out_share_no_file(tmp_path: Path) -> None:
    mixed(tmp_path / "own.npy")
    names = {
        file_source(open_puzzles(tmp_path / "own.npy"), selection, None, 0, CLEAN).name
        for selection in (Selection((0,), ()), Selection((0,), (10,)), Selection((0, 10), ()))
    }
    assert len(names) == 3


def test_puzzles_without_a_rule_are_corrupted_and_indexed_as_others(tmp_path: Path) -> None:
    mixed(tmp_path / "own.npy")
    source = file_source(open_puzzles(tmp_path / "own.npy"), Selection((0,), ()), None, 0, Corruption(cells=0.5))
    maps = open_set(source, (0, -1), tmp_path / "cache", verify=True)
    assert len(open_index(source, (0, -1), tmp_path / "cache", verify=False).puzzles) == sum(map(len, maps)) == 6


def test_rules_in_another_order_are_named(tmp_path: Path) -> None:
    data = published()
    data[[3, 8]] = data[[8, 3]]
    path = save(tmp_path / "source.npy", data)
    with pytest.warns(
        UserWarning, match=r"half of the first puzzles of shape\.progression\+1, shape\.or in .*source\.npy"
    ):
        file_source(open_puzzles(path), ALL, None, 0, CLEAN)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        file_source(open_puzzles(path), Selection((0, 39), ()), None, 0, CLEAN)


# Missing cells --------------------------------------------------------------------------------------------------------


def with_missing(path: Path, **rules: list[int]) -> tuple[NDArray[np.int8], NDArray[np.bool_]]:
    """Four puzzles of rule 7: whole, with a missing cell in one row, in two, in all; and which cells are unknown."""
    puzzles, unknown = generate(7, 0, 4).numpy(), np.zeros((4, 9, 9), bool)
    unknown[1, 0, 0] = unknown[2, :6, 8] = unknown[3, :, 4] = True
    np.savez(path, puzzles=np.where(unknown[:, None], 99, puzzles), known=~unknown, **rules)
    return puzzles, unknown


def test_missing_cells_of_a_source_are_missing_cells_of_the_set(tmp_path: Path) -> None:
    puzzles, unknown = with_missing(tmp_path / "own.npz", rules=[7] * 4)
    found = maps_of(tmp_path / "own.npz", tmp_path / "cache", Selection((7,), ()))[7]
    assert np.array_equal(found[:, 3], unknown)
    assert np.array_equal(found[:, :3], np.where(unknown[:, None], 0, puzzles))
    more = maps_of(
        tmp_path / "own.npz", tmp_path / "cache", Selection((7,), ()), corruption=Corruption(missing_panels=0.5)
    )
    assert (more[7][:, 3] >= found[:, 3]).all()
    assert more[7][:, 3].sum() > found[:, 3].sum()
    np.savez(tmp_path / "whole.npz", puzzles=puzzles, known=np.ones_like(unknown), rules=[7] * 4)
    assert maps_of(tmp_path / "whole.npz", tmp_path / "cache", Selection((7,), ()))[7].shape == (4, 3, 9, 9)


def test_whole_rows_tell_the_rule_that_is_not_stated(tmp_path: Path) -> None:
    """A puzzle without one may follow any, also one that is held out."""
    with_missing(tmp_path / "own.npz")
    for held_out, counts in (((1,), {7: 3}), ((), {7: 3, -1: 1})):
        file = open_puzzles(tmp_path / "own.npz")
        assert dict(file_source(file, Selection((7,), held_out), None, 0, CLEAN).counts) == counts
    with pytest.raises(InputError, match="to train on, got none"):
        maps_of(tmp_path / "own.npz", tmp_path / "cache", Selection((8,), (7,)))


def test_puzzles_with_missing_cells_are_no_exceptions(tmp_path: Path) -> None:
    puzzles, unknown = with_missing(tmp_path / "own.npz", rules=[7] * 4)
    corrupted = Corruption(exceptions=1.0)
    found = maps_of(tmp_path / "own.npz", tmp_path / "cache", Selection((7,), ()), corruption=corrupted)[7]
    assert np.array_equal(found[1:, :3], np.where(unknown[1:, None], 0, puzzles[1:]))
    assert not np.array_equal(found[0, :3], puzzles[0])
    assert (row_rules(torch.from_numpy(found[:1, :3].copy())) == 0).all()


# Bad sources ----------------------------------------------------------------------------------------------------------


class Trap:
    """Makes a folder when unpickled."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.marker),)


def raw_pickle(path: Path) -> None:
    path.write_bytes(pickle.dumps(Trap(path.with_name("executed"))))


def with_cell(cell: tuple[int, int, int]) -> Callable[[Path], None]:
    def write(path: Path) -> None:
        data = published()
        data[7, 11, 2, 8] = cell
        np.save(path, data)

    return write


BAD_SOURCES: dict[str, tuple[Callable[[Path], None], str]] = {
    "missing": (lambda path: None, "No such file"),
    "pickle": (raw_pickle, "a pickle"),
    "shape 7": (with_cell((7, 0, 0)), "[7, 0, 0] at [11, 2, 8] (row, panel, cell) of rule 7"),
    "256 more": (with_cell((258, 0, 0)), "[258, 0, 0]"),
    "half empty": (with_cell((3, -1, 4)), "[3, -1, 4]"),
    "eleven rows": (lambda path: np.save(path, published()[:, :11]), "multiple of 3 rows, got 11"),
}


@pytest.mark.parametrize("kind", BAD_SOURCES)
def test_a_bad_source_is_refused_in_one_line(tmp_path: Path, kind: str) -> None:
    write, said = BAD_SOURCES[kind]
    path = tmp_path / "source.npy"
    write(path)
    with pytest.raises(InputError) as caught:
        maps_of(path, tmp_path / "cache", Selection((7,), ()))
    message = str(caught.value)
    assert "\n" not in message
    assert said in message
    assert str(path) in message
    assert not (tmp_path / "executed").exists()
    assert [path for path in tmp_path.glob("cache/*") if path.suffix != ".lock"] == []


def test_asking_for_more_than_a_source_holds_is_refused(tmp_path: Path) -> None:
    path = save(tmp_path / "source.npy", published())
    with pytest.raises(InputError, match=re.escape("at most the 4 puzzles of shape.constant in") + ".*_per_rule 5"):
        file_source(open_puzzles(path), ALL, 5, 0, CLEAN)


def test_a_rule_that_a_source_lacks_is_named_with_those_that_it_has(tmp_path: Path) -> None:
    np.savez(tmp_path / "own.npz", puzzles=generate(7, 0, 4).numpy(), rules=[7] * 4)
    with pytest.raises(InputError, match=r"got none of shape\.or in .* rules that it holds \(shape\.xor\)"):
        file_source(open_puzzles(tmp_path / "own.npz"), Selection((7, 8), ()), None, 0, CLEAN)
