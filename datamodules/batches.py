"""Which puzzles form which batch: a pure function of (seed, step), whatever the number of ranks.

The training sequence runs through the pool in a new order each epoch. Batches follow one another in it without a break,
also across epochs. Each rank cuts its own shard of the global batch out of tensors.
"""

import itertools
import math
import threading
import weakref
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Literal, NamedTuple, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from genraven.errors import InputError
from genraven.files import appears_whole
from genraven.locks import locked
from genraven.ownership import private_folder
from genraven.puzzles import layout
from genraven.puzzles.corrupt import Corruption, corrupted
from genraven.puzzles.generate import BLOCK, Draws, generate
from genraven.puzzles.permutation import KeyedChoices, KeyedPermutation
from genraven.puzzles.spec import NUM_ROWS

Augment = Literal["rows"]
LISTED = 1 << 22
"""Puzzles of a pool whose order is a list at most. For more a list would take gigabytes, and seconds of each epoch."""
ORDER_VERSION = 2
"""Of the order of a pool larger than that; before it was 1, a list like that of a smaller pool."""
ROW_ORDERS = np.array(list(itertools.permutations(range(NUM_ROWS))))
PUZZLES_AHEAD = 8_192
"""Gathered at once, since a look-up in the file of each rule costs more than a puzzle: 2 MB."""
IN_MEMORY = 512 << 20
"""Bytes of a set that is copied into one tensor, where a single look-up finds the puzzles of all rules."""


class Batch(NamedTuple):
    """A shard of a global batch, or of a whole set in evaluation. Its noise is drawn for its place in that."""

    puzzles: Tensor
    """(b, 3, 9, 9) int8"""
    rules: Tensor
    """(b,) int64 ids, -1 where there is none"""
    step: int
    """Number of the global batch."""
    start: int
    """Place of the first puzzle in the global batch, or set."""
    total: int
    """Puzzles in the global batch, or set."""
    unknown: Tensor | None = None
    """(b, 9, 9) bool, true where a cell is unknown; None where the data cannot have missing cells."""


class Pool(Protocol):
    """The puzzles of a training, epoch by epoch."""

    size: int

    def take(self, epoch: int, indices: NDArray[np.int64]) -> tuple[NDArray[np.int8], NDArray[np.int64]]:
        """Puzzles (b, 3 or, with missing cells, 4, 9, 9) and rules (b,) at ``indices`` (< size) of ``epoch``."""
        ...


class FinitePool:
    """A finite set: every epoch has the same puzzles.

    Args:
        rules: ids; -1 stands for puzzles without a rule.
        puzzles: for each rule, (n, 3, 9, 9), or with missing cells (n, 4, 9, 9); memory maps will do.
    """

    def __init__(self, rules: tuple[int, ...], puzzles: list[NDArray[np.int8]]) -> None:
        self.rules, self.shape = np.array(rules), puzzles[0].shape[1:]
        counts = [len(of_rule) for of_rule in puzzles]
        self._starts = np.cumsum([0, *counts[:-1]])
        self._which = np.repeat(np.arange(len(rules), dtype=np.uint8), counts)  # a byte a puzzle, faster than a search
        self.size = len(self._which)
        rows = [np.ascontiguousarray(of_rule).reshape(len(of_rule), -1) for of_rule in puzzles]
        in_memory = sum(of_rule.nbytes for of_rule in rows) <= IN_MEMORY
        self._together = torch.from_numpy(np.concatenate(rows)) if in_memory else None
        # One element a puzzle, copied in one go: several times as fast as indexing four dimensions.
        whole = np.dtype((np.void, math.prod(self.shape)))
        self._by_rule = [] if in_memory else [of_rule.view(whole)[:, 0] for of_rule in rows]

    def take(self, epoch: int, indices: NDArray[np.int64]) -> tuple[NDArray[np.int8], NDArray[np.int64]]:
        which = self._which[indices]
        if self._together is not None:  # torch finds rows several times as fast as numpy
            taken = self._together.index_select(0, torch.from_numpy(indices)).numpy()
        else:
            taken = self._look_up(which, indices).view(np.int8)
        return taken.reshape(len(indices), *self.shape), self.rules[which]

    def _look_up(self, which: NDArray[np.uint8], indices: NDArray[np.int64]) -> NDArray[np.void]:
        """The puzzles at ``indices``, which are of the ``which``-th rules."""
        taken = np.empty(len(which), self._by_rule[0].dtype)
        by_rule = np.argsort(which, kind="stable")
        ends = np.searchsorted(which[by_rule], np.arange(len(self.rules)), side="right")
        for puzzles, start, mine in zip(self._by_rule, self._starts, np.split(by_rule, ends[:-1]), strict=True):
            taken[mine] = puzzles[indices[mine] - start]
        return taken


class StreamPool:
    """An endless stream: each epoch is the next block of every rule. The block after it is made meanwhile.

    Args:
        rules: ids.
        seed: of the data.
        corruption: of the puzzles.
        num_workers: threads.
        shared: how the processes of a machine divide the work; None where each is on its own.
    """

    def __init__(
        self,
        rules: tuple[int, ...],
        seed: int,
        corruption: Corruption,
        num_workers: int = 1,
        shared: "SharedBlocks | None" = None,
    ) -> None:
        self.rules, self.seed, self.corruption, self.shared = rules, seed, corruption, shared
        self.size = len(rules) * BLOCK
        self._workers = ThreadPoolExecutor(num_workers, thread_name_prefix="stream")
        self._made: dict[int, list[Future[NDArray[np.int8]]]] = {}
        self._pool = lru_cache(maxsize=2)(
            lambda epoch: FinitePool(self.rules, [made.result() for made in self._made[epoch]])
        )

    def _block(self, rule: int, epoch: int) -> NDArray[np.int8]:
        if self.shared is None:
            return self._make(rule, epoch)
        return self.shared.block(rule, epoch, self._make)

    def _make(self, rule: int, epoch: int) -> NDArray[np.int8]:
        puzzles = generate(rule, epoch * BLOCK, BLOCK, seed=self.seed)
        return corrupted(puzzles, self.corruption, seed=self.seed, rule=rule, start=epoch * BLOCK).numpy()

    def take(self, epoch: int, indices: NDArray[np.int64]) -> tuple[NDArray[np.int8], NDArray[np.int64]]:
        self._made = {t: made for t, made in self._made.items() if epoch - 1 <= t <= epoch + 1}
        for ahead in (epoch, epoch + 1):
            if ahead not in self._made:
                begun = {rule: self._workers.submit(self._block, rule, ahead) for rule in self._own_first()}
                self._made[ahead] = [begun[rule] for rule in self.rules]
        return self._pool(epoch).take(epoch, indices)

    def _own_first(self) -> tuple[int, ...]:
        """The rules in the order in which this process comes to them: its own part, then those of the others."""
        first = 0 if self.shared is None else len(self.rules) * self.shared.rank // self.shared.size
        return self.rules[first:] + self.rules[:first]


class SharedBlocks:
    """Blocks that one process of a machine makes and the others read.

    The first process that needs a block makes it, under a lock. Each begins elsewhere, so each mostly makes its own
    part of them. A process that ends costs the others nothing but its work.

    Args:
        folder: of this stream on this machine.
        rank: of this process among those of the machine.
        size: how many these are.
    """

    def __init__(self, folder: Path, rank: int, size: int) -> None:
        self.folder, self.rank, self.size = folder, rank, size
        self._own: dict[Path, int] = {}  # what this process has made, and for which epoch
        self._threads = threading.Lock()
        for place in (folder.parent, folder):
            private_folder(place, "data.cache_dir or GENRAVEN_CACHE")
        weakref.finalize(self, _remove, self._own)

    def block(self, rule: int, epoch: int, make: Callable[[int, int], NDArray[np.int8]]) -> NDArray[np.int8]:
        """What ``make`` gives for a rule and an epoch, here or in another process."""
        path = self.folder / f"pass{epoch:08d}-rule{rule:02d}.npy"
        with locked(self.folder / f"rule{rule:02d}.lock", lambda note: math.inf):
            with suppress(FileNotFoundError):  # nobody has made it, or who did has just ended
                return np.load(path)
            made = make(rule, epoch)
            with appears_whole(path, mine=True) as temporary, temporary.open("wb") as file:
                np.save(file, made)
        with self._threads:
            late = [old for old, made_for in self._own.items() if made_for < epoch - 2]  # nobody lags that far behind
            _remove(late)
            for old in late:
                del self._own[old]
            self._own[path] = epoch
        return made


def _remove(paths: Iterable[Path]) -> None:
    for path in paths:
        path.unlink(missing_ok=True)


def is_listed(size: int) -> bool:
    """Is the order of a pool of so many puzzles a list?"""
    return size <= LISTED


def order_of(draws: Draws, size: int) -> NDArray[np.int64] | KeyedPermutation:
    """A uniform order of 0 .. size - 1, to be asked for the numbers at some indices."""
    return draws.permutation(size) if is_listed(size) else KeyedPermutation(draws, size)


def choices_of(draws: Draws, size: int) -> NDArray[np.int64] | KeyedChoices:
    """One of ``ROW_ORDERS`` for each of ``size`` indices, to be asked for those of some."""
    return draws.below(len(ROW_ORDERS), (size,)) if is_listed(size) else KeyedChoices(draws, len(ROW_ORDERS))


class GlobalOrder:
    """The training sequence: position p holds puzzle ``order[p mod size]`` of epoch p // size.

    Args:
        pool: what is gone through.
        seed: of the order.
        augment: ``rows`` puts the rows of each puzzle in an order of their own, another in each epoch.
    """

    def __init__(self, pool: Pool, seed: int, augment: Augment | None = None) -> None:
        self.pool, self.augment = pool, augment
        self._order = lru_cache(maxsize=2)(
            lambda epoch: order_of(Draws(seed, "order", epoch), pool.size)
        )  # the last batch of an epoch may reach into the next
        self._row_orders = lru_cache(maxsize=2)(lambda epoch: choices_of(Draws(seed, "rows", epoch), pool.size))

    def at(self, positions: NDArray[np.int64]) -> tuple[Tensor, Tensor]:
        """Puzzles (n, 3, 9, 9) int8, or with missing cells, and rules (n,) int64 at ascending ``positions`` (n,)."""
        epoch_of, indices = np.divmod(positions, self.pool.size)
        epochs, begins = np.unique(epoch_of, return_index=True)
        parts = [
            self._take(epoch, mine) for epoch, mine in zip(epochs.tolist(), np.split(indices, begins[1:]), strict=True)
        ]
        puzzles, rules = (part[0] if len(part) == 1 else np.concatenate(part) for part in zip(*parts, strict=True))
        return torch.from_numpy(puzzles), torch.from_numpy(rules)

    def _take(self, epoch: int, indices: NDArray[np.int64]) -> tuple[NDArray[np.int8], NDArray[np.int64]]:
        puzzles, rules = self.pool.take(epoch, self._order(epoch)[indices])
        if self.augment == "rows":
            rows = puzzles.reshape(len(puzzles), puzzles.shape[1], NUM_ROWS, -1)
            order = ROW_ORDERS[self._row_orders(epoch)[indices]]
            puzzles = np.take_along_axis(rows, order[:, None, :, None], 2).reshape(puzzles.shape)
        return puzzles, rules


@dataclass(frozen=True)
class Shard:
    """The part of each global batch that one rank sees, as ``accumulate`` batches one after the other."""

    global_batch_size: int
    rank: int = 0
    world_size: int = 1
    accumulate: int = 1

    def __post_init__(self) -> None:
        parts = self.world_size * self.accumulate
        if self.global_batch_size < 1 or self.global_batch_size % parts:
            below, above = self.global_batch_size // parts * parts, (self.global_batch_size // parts + 1) * parts
            nearest = f"{below} or {above}" if below > 0 else max(above, parts)
            raise InputError(
                f"expected a global_batch_size that {self.world_size} device(s) x {self.accumulate} accumulated "
                f"batch(es) divide, got {self.global_batch_size}: use a multiple of {parts}, such as {nearest}."
            )

    @property
    def size(self) -> int:
        """Puzzles of one batch of this rank."""
        return self.global_batch_size // (self.world_size * self.accumulate)

    def accumulation(self, limit: int) -> int:
        """The fewest batches a step that divide this rank's puzzles into equal ones of at most ``limit``."""
        return next(n for n in range(-(-self.size // limit), self.size + 1) if self.size % n == 0)

    def start(self, part: int) -> int:
        """Place in the global batch of the first puzzle of this rank's ``part``-th batch of a step."""
        return (part * self.world_size + self.rank) * self.size


class TrainLoader:
    """Training batches of one rank, from the step that training has reached on.

    Args:
        order: the training sequence.
        shard: the part of each global batch that this rank sees.
        num_steps: optimizer steps of one iteration over this loader; its length is that times ``shard.accumulate``.
        first_step: called when an iteration begins: the step to begin with.
        device: where batches are wanted. Some hundred go to a GPU at once, so that no step waits for its own.
        is_limited: does the trainer take fewer steps of an iteration? Then one may begin anywhere in the data, and
            gives as many as it is asked for.
    """

    def __init__(
        self,
        order: GlobalOrder,
        shard: Shard,
        num_steps: int,
        first_step: Callable[[], int],
        device: torch.device | str = "cpu",
        *,
        is_limited: bool = False,
    ) -> None:
        self.order, self.shard, self.num_steps, self.first_step = order, shard, num_steps, first_step
        self.is_limited = is_limited
        self.device = torch.device(device)

    def _moved(self, tensor: Tensor) -> Tensor:
        return tensor.pin_memory().to(self.device, non_blocking=True) if self.device.type == "cuda" else tensor

    def __len__(self) -> int:
        return self.num_steps * self.shard.accumulate

    def state_dict(self) -> dict[str, int]:
        """Nothing: the step says it all. That it exists tells Lightning that this loader resumes."""
        return {}

    def load_state_dict(self, state_dict: dict[str, int]) -> None:
        """Nothing to do."""

    def __iter__(self) -> Iterator[Batch]:
        shard, first = self.shard, self.first_step()
        last = first + self.num_steps if self.is_limited else (first // self.num_steps + 1) * self.num_steps
        of_parts = [shard.start(part) for part in range(shard.accumulate)]
        starts_of_steps = ((step, start) for step in range(first, last) for start in of_parts)
        ahead = 1
        while now := list(itertools.islice(starts_of_steps, ahead)):
            ahead = min(2 * ahead, max(1, PUZZLES_AHEAD // shard.size))  # so that the first does not wait for many
            starts = np.array([step * shard.global_batch_size + start for step, start in now])
            puzzles, rules = map(self._moved, self.order.at((starts[:, None] + np.arange(shard.size)).ravel()))
            parts = zip(now, puzzles.split(shard.size), rules.split(shard.size), strict=True)
            for (step, start), some, of_rules in parts:
                cells, unknown = layout.split_missing(some)
                yield Batch(cells, of_rules, step, start, shard.global_batch_size, unknown)


class EvaluationLoader:
    """Evaluation batches of one rank: whole batches dealt out in turn, so that every puzzle is seen once.

    Every rank has as many batches as any other, as Lightning wants it; where there is none left to deal, it is empty.

    Args:
        puzzles: (N, 3, 9, 9) int8, rules (N,) int64.
        batch_size: puzzles of a batch.
    """

    def __init__(self, puzzles: Tensor, rules: Tensor, batch_size: int, *, rank: int = 0, world_size: int = 1) -> None:
        self.puzzles, self.rules, self.batch_size = puzzles, rules, batch_size
        self.rank, self.world_size = rank, world_size

    def __len__(self) -> int:
        return -(-len(self.puzzles) // (self.batch_size * self.world_size))

    def __iter__(self) -> Iterator[Batch]:
        for i in range(self.rank, len(self) * self.world_size, self.world_size):
            start = i * self.batch_size
            part = slice(start, start + self.batch_size)
            yield Batch(self.puzzles[part], self.rules[part], i, start, len(self.puzzles))
