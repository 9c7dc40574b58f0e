import time
from pathlib import Path

import numpy as np
import torch

from genraven.formats.read import open_puzzles
from genraven.metrics.census import Copies, leaked, repeated, take_census
from genraven.metrics.memorization import TrainingIndex
from genraven.puzzles.generate import generate


def numbers(copies: Copies | None) -> list[tuple[int, int]]:
    assert copies is not None
    return [(int(rate.hits), int(rate.total)) for rate in copies]


def with_copies() -> torch.Tensor:
    """Ten puzzles: the last is the first, the one before has its rows turned, the one before that two of its rows."""
    puzzles = generate(37, 0, 10)
    puzzles[9] = puzzles[0]
    puzzles[8] = puzzles[0].roll(3, dims=1)
    puzzles[7, :, :6] = puzzles[0, :, 3:]
    return puzzles


def test_copies_are_counted_after_their_first_time() -> None:
    puzzles = with_copies()
    index = TrainingIndex.build(puzzles)
    assert numbers(repeated(index, 10)) == [(1, 10), (2, 10), (8, 30)]
    as_sets = [{puzzle.numpy().tobytes()} for puzzle in puzzles]
    assert len(set().union(*as_sets)) == 9
    rows = {puzzle[:, 3 * r : 3 * r + 3].numpy().tobytes() for puzzle in puzzles for r in range(3)}
    assert len(rows) == 22


def test_a_leak_is_counted_on_each_level() -> None:
    puzzles = with_copies()
    index = TrainingIndex.build(puzzles[:1])
    assert numbers(leaked(index, puzzles[1:])) == [(1, 9), (2, 9), (8, 27)]
    assert not leaked(index, puzzles[1:6])
    assert numbers(leaked(index, puzzles[1:6]).plus(leaked(index, puzzles[6:]))) == [(1, 9), (2, 9), (8, 27)]
    assert str(leaked(index, puzzles[1:])) == ("1 of 9 puzzles, 2 of 9 puzzles up to the order of rows, 8 of 27 rows")


def test_a_census_of_good_bad_and_incomplete_puzzles(tmp_path: Path) -> None:
    puzzles = np.concatenate([generate(rule, 0, 4).numpy() for rule in (0, 37)])
    broken = puzzles[3:4].copy()
    broken[:, 0] = np.where(broken[:, 0] >= 0, np.arange(81).reshape(9, 9) % 7, -1)  # shapes that follow nothing
    bad = puzzles[:1].copy()
    bad[0, :, 0, 0] = 3, 10, 0
    known = np.ones((10, 9, 9), bool)
    known[5, :2, 0] = False
    together = np.concatenate([puzzles, broken, bad])
    np.savez(tmp_path / "own.npz", puzzles=together, rules=[0, 0, 0, -1, 37, 37, 37, 37, 0, 0], known=known)
    census = take_census(open_puzzles(tmp_path / "own.npz"))
    assert (census.num, census.num_bad, census.num_with_missing, census.num_whole) == (10, 1, 1, 8)
    assert (census.unknown_cells, census.known_cells) == (2, 9 * 81 - 2)
    counted = np.moveaxis(together[:9], 1, -1)[known[:9]]
    objects = counted[counted[:, 0] >= 0]
    assert census.empty_cells == len(counted) - len(objects)
    assert census.ranges == [(int(objects[:, a].min()), int(objects[:, a].max())) for a in range(3)]
    assert census.consistency.c3_per_rule.nonzero().flatten().tolist() == [0, 37]
    assert census.consistency.c3_per_rule[[0, 37]].tolist() == [4, 3]  # one of 37 has missing cells
    assert census.stated[:, 0].tolist() == [4, 1]
    assert census.stated[:, 37].tolist() == [3, 0]
    assert (census.num_unstated, census.num_with_several) == (1, 0)
    assert numbers(census.copies) == [(0, 8), (0, 8), (0, 24)]


def test_a_census_of_nothing_whole(tmp_path: Path) -> None:
    np.savez(tmp_path / "own.npz", puzzles=generate(0, 0, 2).numpy(), known=np.zeros((2, 9, 9), bool))
    census = take_census(open_puzzles(tmp_path / "own.npz"))
    assert (census.num_whole, census.copies, census.ranges) == (0, None, [None] * 3)


def test_counting_is_vectorised(tmp_path: Path) -> None:
    np.save(tmp_path / "own.npy", generate(0, 0, 2048).numpy().repeat(10, 0))
    start = time.process_time()
    census = take_census(open_puzzles(tmp_path / "own.npy"))
    assert time.process_time() - start < 10  # 0.5 s where nothing else runs; a loop over puzzles takes a minute
    assert numbers(census.copies)[0] == (20480 - 2048, 20480)
