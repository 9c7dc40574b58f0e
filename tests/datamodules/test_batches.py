import gc
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from datamodules.batches import (
    Batch,
    EvaluationLoader,
    FinitePool,
    GlobalOrder,
    Shard,
    SharedBlocks,
    StreamPool,
    TrainLoader,
)
from genraven.errors import InputError
from genraven.puzzles import layout
from genraven.puzzles.corrupt import Corruption, corrupt
from genraven.puzzles.generate import BLOCK, generate

torch.set_num_threads(1)


def numbered(size: int) -> NDArray[np.int8]:
    """(size, 3, 9, 9) puzzles that hold their own numbers, below 100."""
    return np.broadcast_to(np.arange(size, dtype=np.int8).reshape(-1, 1, 1, 1), (size, 3, 9, 9))


def pool(per_rule: int = 5) -> FinitePool:
    """Two rules, 4 and 9, whose puzzles are numbered through."""
    puzzles = numbered(2 * per_rule)
    return FinitePool((4, 9), [puzzles[:per_rule], puzzles[per_rule:]])


def numbers(order: GlobalOrder, start: int, count: int) -> list[int]:
    puzzles, rules = order.at(np.arange(start, start + count))
    found: list[int] = puzzles[:, 0, 0, 0].tolist()
    assert rules.tolist() == [4 if number < order.pool.size // 2 else 9 for number in found]
    return found


def test_each_pass_visits_every_puzzle_once_in_an_order_of_its_own() -> None:
    order = GlobalOrder(pool(20), seed=0)
    passes = [numbers(order, epoch * 40, 40) for epoch in range(4)]
    assert all(sorted(visited) == list(range(40)) for visited in passes)
    assert len({tuple(visited) for visited in [*passes, list(range(40))]}) == 5
    assert numbers(GlobalOrder(pool(20), seed=1), 0, 40) != passes[0]


def test_a_set_too_large_for_memory_gives_the_same_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    positions = np.arange(1, 60, 2)
    puzzles, rules = GlobalOrder(pool(20), seed=0).at(positions)
    monkeypatch.setattr("datamodules.batches.IN_MEMORY", 0)
    looked_up, of_rules = GlobalOrder(pool(20), seed=0).at(positions)
    assert torch.equal(looked_up, puzzles)
    assert torch.equal(of_rules, rules)


def test_batches_reach_over_the_end_of_a_pass_without_gap_or_repeat() -> None:
    order = GlobalOrder(pool(), seed=0)
    one_by_one = [numbers(order, position, 1)[0] for position in range(40)]
    for size in (3, 4, 7, 10, 25):  # 25: over two ends in one batch
        batches = [numbers(GlobalOrder(pool(), seed=0), start, size) for start in range(0, 40 - size + 1, size)]
        together = [number for batch in batches for number in batch]
        assert together == one_by_one[: len(together)]


@pytest.mark.parametrize(("world_size", "accumulate"), [(1, 1), (2, 1), (1, 3), (3, 2), (12, 1), (2, 6)])
def test_a_global_batch_is_the_same_for_any_ranks_and_accumulation(world_size: int, accumulate: int) -> None:
    order = GlobalOrder(pool(), seed=0)
    steps = [torch.full((12,), -1) for _ in range(5)]
    for rank in range(world_size):
        loader = TrainLoader(order, Shard(12, rank, world_size, accumulate), 5, lambda: 0)
        batches = list(loader)
        assert len(batches) == len(loader) == 5 * accumulate
        assert [batch.step for batch in batches] == [step for step in range(5) for _ in range(accumulate)]
        for batch in batches:
            place = slice(batch.start, batch.start + len(batch.puzzles))
            assert batch.total == 12
            assert (steps[batch.step][place] == -1).all()  # no place twice
            steps[batch.step][place] = batch.puzzles[:, 0, 0, 0].long()
    assert [step.tolist() for step in steps] == [numbers(order, 12 * step, 12) for step in range(5)]


def test_parts_of_a_step_lie_at_the_same_places_whether_ranks_or_accumulation_make_them() -> None:
    ranks = [Shard(12, rank, 4, 1).start(0) for rank in range(4)]
    parts = [Shard(12, 0, 1, 4).start(part) for part in range(4)]
    assert ranks == parts == [0, 3, 6, 9]


def test_a_loader_goes_on_from_the_step_that_training_has_reached() -> None:
    order = GlobalOrder(pool(), seed=0)
    shard = Shard(6, 1, 2, 1)

    def through(first: int) -> list[tuple[int, list[int]]]:
        batches = TrainLoader(order, shard, 10, lambda: first)
        return [(batch.step, batch.puzzles[:, 0, 0, 0].tolist()) for batch in batches]

    assert [step for step, _ in through(0)] == list(range(10))
    assert through(7) == through(0)[7:]
    assert [step for step, _ in through(10)] == list(range(10, 20))
    assert through(13) == through(10)[3:]


@pytest.mark.parametrize(
    ("batch_size", "world_size", "accumulate", "multiple"), [(10, 3, 1, 3), (10, 1, 4, 4), (12, 4, 2, 8), (0, 1, 1, 1)]
)
def test_a_batch_that_does_not_divide_is_refused(
    batch_size: int, world_size: int, accumulate: int, multiple: int
) -> None:
    with pytest.raises(InputError, match=f"got {batch_size}: use a multiple of {multiple}") as caught:
        Shard(batch_size, 0, world_size, accumulate)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("world_size", [1, 2, 3, 7])
@pytest.mark.parametrize(("num", "batch_size"), [(40, 10), (41, 10), (5, 10), (10, 1)])
def test_evaluation_sees_every_puzzle_once(world_size: int, num: int, batch_size: int) -> None:
    puzzles, rules = torch.from_numpy(numbered(num).copy()), torch.arange(num)
    seen: list[Batch] = []
    for rank in range(world_size):
        loader = EvaluationLoader(puzzles, rules, batch_size, rank=rank, world_size=world_size)
        mine = list(loader)
        assert len(mine) == len(loader) == -(-num // (batch_size * world_size))  # as many on every rank
        seen += [batch for batch in mine if len(batch.puzzles)]
    assert sorted(number for batch in seen for number in batch.rules.tolist()) == list(range(num))
    for batch in seen:
        assert batch.puzzles[:, 0, 0, 0].tolist() == batch.rules.tolist()
        assert (batch.start, batch.total) == (batch.step * batch_size, num)
        assert batch.start == batch.rules[0]  # its place, from which draws come
    alone = EvaluationLoader(puzzles, rules, batch_size)
    assert sorted((b.step, b.rules.tolist()) for b in seen) == [(b.step, b.rules.tolist()) for b in alone]


# The stream -----------------------------------------------------------------------------------------------------------


def stream(seed: int = 0, corruption: Corruption | None = None) -> GlobalOrder:
    return GlobalOrder(StreamPool((6, 38), seed, corruption or Corruption()), seed)


def test_a_stream_does_not_repeat_and_is_what_generate_gives() -> None:
    order, size = stream(), 2 * BLOCK
    puzzles, rules = order.at(np.arange(3 * size))
    assert len({puzzle.tobytes() for puzzle in puzzles.numpy()}) == 3 * size
    for epoch in range(3):
        block = slice(epoch * size, (epoch + 1) * size)
        for rule in (6, 38):
            came = puzzles[block][rules[block] == rule].flatten(1)
            made = generate(rule, epoch * BLOCK, BLOCK).flatten(1)
            assert torch.equal(came.unique(dim=0), made.unique(dim=0))
            assert not torch.equal(came, made)  # in an order of its own


def test_a_stream_begun_at_a_step_equals_one_gone_through() -> None:
    shard, size = Shard(BLOCK // 2), 2 * BLOCK
    through = list(TrainLoader(stream(), shard, 10, lambda: 0))
    assert shard.global_batch_size * 10 > 2 * size  # into the third block
    for first in (3, 6, 9):
        begun = list(TrainLoader(stream(), shard, 10, lambda first=first: first))
        assert [batch.step for batch in begun] == list(range(first, 10))
        for batch in begun:
            assert torch.equal(batch.puzzles, through[batch.step].puzzles)
            assert torch.equal(batch.rules, through[batch.step].rules)


def test_streams_of_different_seeds_share_nothing() -> None:
    a, b = ({puzzle.tobytes() for puzzle in stream(seed).at(np.arange(200))[0].numpy()} for seed in (0, 1))
    assert not a & b


def test_a_corrupted_stream_is_the_corrupted_block() -> None:
    corruption = Corruption(cells=0.1, exceptions=0.2)
    puzzles, rules = stream(corruption=corruption).at(np.arange(2 * BLOCK, 4 * BLOCK))
    made = corrupt(generate(6, BLOCK, BLOCK), corruption, seed=0, key=(6, BLOCK))
    assert torch.equal(puzzles[rules == 6].flatten(1).unique(dim=0), made.flatten(1).unique(dim=0))
    assert not torch.equal(made, generate(6, BLOCK, BLOCK))


@pytest.mark.parametrize(
    ("global_batch_size", "world_size", "limit", "accumulate"),
    [(256, 1, 256, 1), (256, 1, 255, 2), (256, 8, 32, 1), (256, 8, 10, 4), (96, 4, 10, 3), (14, 2, 6, 7), (8, 2, 1, 4)],
)
def test_the_fewest_batches_that_fit_on_a_device_and_divide(
    global_batch_size: int, world_size: int, limit: int, accumulate: int
) -> None:
    assert Shard(global_batch_size, world_size=world_size).accumulation(limit) == accumulate


@pytest.mark.parametrize(("size", "nearest"), [(7, "6 or 8"), (1, "such as 2"), (9, "8 or 10")])
def test_the_nearest_sizes_that_divide_are_named(size: int, nearest: str) -> None:
    with pytest.raises(InputError, match=f"got {size}: use a multiple of 2.*{nearest}"):
        Shard(size, world_size=2)


def test_rows_are_put_in_an_order_of_their_own_in_each_pass() -> None:
    puzzles = [generate(rule, 0, 20).numpy() for rule in (3, 8)]
    pool = FinitePool((3, 8), puzzles)
    plain, augmented = GlobalOrder(pool, 0), GlobalOrder(pool, 0, "rows")
    seen = []
    for epoch in (0, 1):
        positions = np.arange(40 * epoch, 40 * epoch + 40)
        (before, rules), (after, same) = plain.at(positions), augmented.at(positions)
        assert torch.equal(rules, same)
        rows = [layout.puzzles_to_rows(some).flatten(2).tolist() for some in (before, after)]
        assert all(sorted(a) == sorted(b) for a, b in zip(*rows, strict=True))
        orders = [tuple(a.index(row) for row in b) for a, b in zip(*rows, strict=True)]
        assert len(set(orders)) == 6
        seen.append(orders)
    assert seen[0] != seen[1]
    some = augmented.at(np.arange(7, 12))[0]
    assert torch.equal(some, augmented.at(np.arange(40))[0][7:12])  # whoever asks, and for how much


def test_processes_of_a_machine_divide_a_stream_and_see_the_same(tmp_path: Path) -> None:
    rules, made = (3, 8, 30, 38), list[tuple[int, int]]()

    class Counted(StreamPool):
        def _make(self, rule: int, epoch: int) -> NDArray[np.int8]:
            made.append((rule, epoch))
            return super()._make(rule, epoch)

    alone = StreamPool(rules, 0, Corruption())
    pools = [Counted(rules, 0, Corruption(), shared=SharedBlocks(tmp_path, rank, 2)) for rank in range(2)]
    indices = np.arange(0, alone.size, 997)
    for epoch in range(5):
        for pool in pools:
            puzzles, of_rules = pool.take(epoch, indices)
            wanted, wanted_rules = alone.take(epoch, indices)
            assert np.array_equal(puzzles, wanted)
            assert np.array_equal(of_rules, wanted_rules)
    for pool in pools:
        pool._workers.shutdown()
    assert sorted(made) == sorted((rule, epoch) for rule in rules for epoch in range(6))  # once each
    assert len(list(tmp_path.glob("*.npy"))) <= 4 * len(rules)  # of a few passes only
    assert pools[1]._own_first() == (30, 38, 3, 8)
    shared = [pool.shared for pool in pools]
    del pools, pool, shared
    gc.collect()
    assert list(tmp_path.glob("*.npy")) == []


def test_a_stream_whose_maker_was_killed_goes_on(tmp_path: Path) -> None:
    SharedBlocks(tmp_path, 0, 2)
    (tmp_path / "rule03.lock").touch()  # left behind, and held by nobody
    pool = StreamPool((3,), 0, Corruption(), shared=SharedBlocks(tmp_path, 1, 2))
    puzzles, _ = pool.take(0, np.arange(5))
    assert np.array_equal(puzzles, generate(3, 0, 5).numpy())
