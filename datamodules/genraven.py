"""GenRAVENDataModule: files or stream, splits, order."""

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property

import lightning as L
import numpy as np
import torch
from lightning.fabric.plugins.environments.lightning import LightningEnvironment
from lightning.fabric.plugins.environments.torchelastic import TorchElasticEnvironment
from lightning.pytorch.utilities import rank_zero_info, rank_zero_warn
from numpy.typing import NDArray
from torch import Tensor

from datamodules.batches import (
    Augment,
    EvaluationLoader,
    FinitePool,
    GlobalOrder,
    Pool,
    Shard,
    SharedBlocks,
    StreamPool,
    TrainLoader,
    is_listed,
)
from datamodules.evaluation_file import EvaluationFile
from datamodules.sources import Selection, can_have_missing, content_digest, file_source
from datamodules.store import PuzzleSource, digest_of, generated_source, num_whole, open_index, open_set
from genraven.errors import InputError
from genraven.formats.puzzles import UNKNOWN_RULE, PuzzleFile
from genraven.formats.read import open_puzzles
from genraven.metrics.census import leaked, repeated
from genraven.metrics.memorization import TrainingIndex
from genraven.paths import default_cache_dir, user_path
from genraven.process import num_cpus
from genraven.puzzles import layout
from genraven.puzzles.corrupt import Corruption
from genraven.puzzles.generate import BLOCK, generate
from genraven.puzzles.spec import resolve_rules, split_rules


class GenRAVENDataModule(L.LightningDataModule):
    """Training batches of GenRAVEN puzzles, and validation puzzles that no model has seen.

    Args:
        samples_per_rule: size of the training set (the study: 400, 4,000, 40,000, 400,000); null for an endless stream,
            or for all that ``source`` holds.
        source: a file, or a folder of one for each rule, to train on instead of generated puzzles: .npy, .npz or .pt
            of puzzles (B, 3, 9, 9), or rows in the published layouts; `genraven describe` says what it holds.
        source_split: split whose rules a source of 35 rules leaves out; default: the one in its name, or that its
            puzzles tell.
        source_sha256: digest of what ``source`` holds, noted when a run begins, which it must have ever after.
        rules: rules to train on: "all" (that are not held out), ids, names such as position.xor, or attributes.
        held_out: rules kept from training: a split, "split0" to "split9", "none", or a list.
        global_batch_size: puzzles that one optimizer step sees, over all devices and accumulated batches.
        eval_rules: rules of the validation and test puzzles; those that are not trained count as held out.
        eval_source: a file to evaluate on instead of generated puzzles: every second one of a rule for validation, the
            others for the test, copies once. Those whose rule is not stated are scored by the rules that their rows
            share.
        eval_puzzles_per_rule: validation (and test) puzzles of each rule.
        eval_batch_size: puzzles of a validation batch.
        corruption: wrong cells, exceptions and missing cells in the training puzzles.
        seed: of the training data: puzzles, their order and their corruption.
        eval_seed: of the validation and test puzzles, apart, so that runs on different data are scored on the same.
        augment: ``rows`` shows the rows of a training puzzle in a new order each time; null as they are.
        cache_dir: where finite sets are kept; default GENRAVEN_CACHE, or ~/.cache/genraven.

    Raises:
        InputError: an unknown rule, one both trained and held out, nothing to train on or no size that is positive.
    """

    def __init__(
        self,
        samples_per_rule: int | None = 4000,
        source: str | None = None,
        source_sha256: str | None = None,
        rules: str | list[int | str] = "all",
        held_out: str | list[int | str] = "split0",
        global_batch_size: int = 256,
        eval_rules: str | list[int | str] = "all",
        eval_puzzles_per_rule: int = 100,
        eval_batch_size: int = 250,
        corruption: Corruption | None = None,
        seed: int = 0,
        cache_dir: str | None = None,
        source_split: str | None = None,
        eval_source: str | None = None,
        eval_seed: int = 0,
        augment: Augment | None = None,
    ) -> None:
        super().__init__()
        sizes = {
            "samples_per_rule": samples_per_rule,
            "global_batch_size": global_batch_size,
            "eval_puzzles_per_rule": eval_puzzles_per_rule,
            "eval_batch_size": eval_batch_size,
        }
        for name, size in sizes.items():
            if size is not None and size < 1:
                raise InputError(f"expected data.{name} to be 1 or more, got {size}.")
        for name, value in {"seed": seed, "eval_seed": eval_seed}.items():
            if value < 0:
                raise InputError(f"expected data.{name} to be 0 or more, got {value}.")
        self.trained, self.held_out = split_rules(rules, held_out)
        self.eval_rules = resolve_rules(eval_rules)
        if not self.eval_rules:
            raise InputError("expected rules to evaluate on, got an empty selection: name some in data.eval_rules.")
        self.samples_per_rule, self.source, self.seed = samples_per_rule, source, seed
        self.eval_seed, self.augment = eval_seed, augment
        self._noted_digest = source_sha256
        self.source_split, self.eval_source = source_split, eval_source
        self.global_batch_size = global_batch_size
        self.eval_puzzles_per_rule, self.eval_batch_size = eval_puzzles_per_rule, eval_batch_size
        self.corruption = Corruption() if corruption is None else corruption
        self.corruption.check()
        self.cache_dir = user_path(cache_dir) if cache_dir else default_cache_dir()
        self.most_made_bytes: int | None = None
        """Of files that are made in ``cache_dir``; None for any number."""
        self._pool: Pool | None = None
        self._prepared = False

    @property
    def is_stream(self) -> bool:
        """True when puzzles never repeat, so that there is no training set to compare with."""
        return self.samples_per_rule is None and self.source is None

    @property
    def source_sha256(self) -> str | None:
        """Digest of what ``source`` holds, of which nothing is read where it was noted; None without a source."""
        if self.source is None:
            return None
        return self._noted_digest or content_digest(user_path(self.source), self.source_split)

    @property
    def eval_source_sha256(self) -> str | None:
        """Digest of what ``eval_source`` holds now; None without, or where it is not there."""
        if self.eval_source is None or not user_path(self.eval_source).exists():
            return None
        return content_digest(user_path(self.eval_source))

    @cached_property
    def _file(self) -> PuzzleFile:
        """What ``source`` names."""
        assert self.source is not None
        return open_puzzles(user_path(self.source), split=self.source_split)

    @cached_property
    def _evaluation_file(self) -> EvaluationFile:
        """What ``eval_source`` names."""
        assert self.eval_source is not None
        return EvaluationFile(open_puzzles(user_path(self.eval_source)))

    @cached_property
    def _source(self) -> PuzzleSource:
        assert not self.is_stream
        return self._source_of(self.corruption)

    def _source_of(self, corruption: Corruption, num_steps: int = 0) -> PuzzleSource:
        """The training set with this corruption; of a stream what ``num_steps`` steps take."""
        if self.source is None:
            epochs = -(-num_steps * self.global_batch_size // (len(self.trained) * BLOCK))
            return generated_source(self.samples_per_rule or epochs * BLOCK, self.seed, corruption)
        return file_source(
            self._file,
            Selection(self.trained, self.held_out),
            self.samples_per_rule,
            self.seed,
            corruption,
            split=self.source_split,
            sha256=self._noted_digest,
        )

    @cached_property
    def has_missing(self) -> bool:
        """Can cells of training puzzles be unknown? Those of a source that is not there cannot."""
        return can_have_missing(self.source, self.corruption, lambda: self._file)

    @property
    def examples_per_rule(self) -> float | None:
        """Puzzles of the training set by rule, the mean; None for a stream. Those without a rule are of none."""
        if self.is_stream:
            return None
        of_rules = [self._source.num(rule) for rule in self._groups if rule != UNKNOWN_RULE]
        return sum(of_rules) / len(of_rules) if of_rules else self._source.num(UNKNOWN_RULE) / len(self.trained)

    @property
    def _groups(self) -> tuple[int, ...]:
        """The rules that the training set holds, -1 last where puzzles without one are among them."""
        return tuple(self._source.counts) or self.trained

    def _set(self, *, verify: bool) -> list[NDArray[np.int8]]:
        return open_set(self._source, self._groups, self.cache_dir, verify=verify, most_bytes=self.most_made_bytes)

    def _index(self, *, verify: bool) -> TrainingIndex:
        return open_index(self._source, self._groups, self.cache_dir, verify=verify, most_bytes=self.most_made_bytes)

    def prepare_data(self) -> None:
        """Makes the files of a finite set and of its index, where they are missing or broken."""
        if not self.is_stream and not self._prepared:
            self._set(verify=True)
            index = self._index(verify=True)
            self._count_copies(index)
            self._prepared = True

    def wait_for_data(self) -> None:
        """Waits at their lock until the files are there; at a barrier of processes it would be a limited time.

        They are opened in ``setup``, when ``prepare_data`` has verified them in another process and, where they were
        broken, put others in their place.
        """
        if not self.is_stream:
            self._set(verify=False)
            self._index(verify=False)

    def _count_copies(self, index: TrainingIndex) -> None:
        """Says what comes more than once in the training set, and warns of what evaluation shares with it."""
        num, num_rows = sum(map(self._source.num, self._groups)), None
        if self.has_missing:
            num, num_rows = num_whole(self._set(verify=False))
        twice = repeated(index, num, num_rows)
        if num == 0:
            rank_zero_warn("no training puzzle is whole: a panel that is always missing is not learned.")
        if twice:
            rank_zero_info(f"training set: {twice} are copies of others")
        if self.source is None and self.eval_source is None:
            return  # training, validation and test puzzles of one seed never share a stream
        for split in ("val", "test"):
            shared = leaked(index, self.evaluation_puzzles(split)[0])
            if shared:
                rank_zero_warn(f"leak: of the {split} puzzles, {shared} are in the training set: scores are too good.")

    def setup(self, stage: str) -> None:
        """Opens the training set."""
        if stage == "fit" and self._pool is None:
            self._pool = self._open_pool()

    def _open_pool(self) -> Pool:
        if self.is_stream:
            return StreamPool(self.trained, self.seed, self.corruption, self._num_workers, self._shared_blocks())
        return FinitePool(self._groups, self._set(verify=False))

    @property
    def is_order_listed(self) -> bool:
        """Is the training set, once it is open, small enough that the order of an epoch is a list?"""
        return self._pool is None or is_listed(self._pool.size)

    def _shared_blocks(self) -> SharedBlocks | None:
        """How the processes of this machine divide the making of a stream; None for a process alone."""
        if self.trainer is None or self.trainer.num_devices == 1:
            return None
        depends = (self.trained, self.seed, self.corruption, os.environ.get("MASTER_PORT"))  # the port: of this run
        folder = self.cache_dir / f"stream-{digest_of(depends)}"
        return SharedBlocks(folder, self.trainer.local_rank, self.trainer.num_devices)

    @property
    def _num_workers(self) -> int:
        """Threads of this process: those of a machine divide its CPUs, which a cluster's scheduler has done already."""
        if self.trainer is None:
            return num_cpus()
        environment = getattr(self.trainer.strategy, "cluster_environment", None)
        are_shared = isinstance(environment, LightningEnvironment | TorchElasticEnvironment | None)
        return num_cpus(self.trainer.num_devices if are_shared else 1)

    def training_index(self) -> TrainingIndex | None:
        """Hashes of the training set for ``Memorization``; None for a stream."""
        if self.is_stream:
            return None
        return self._index(verify=False)

    def training_puzzles(self, num_steps: int) -> Iterator[Tensor]:
        """Parts (n, 3, 9, 9) int8 of what a run of ``num_steps`` was trained on, some of each rule in turn.

        Corrupted puzzles come as they were made or found, and as they were trained on. Unknown cells hold anything.

        Raises:
            InputError: a source that is not there, or is another one by now.
        """
        for corruption in self._versions:
            nums = self._nums(source := self._trained_source(corruption, num_steps))
            for start in range(0, max(nums.values()), BLOCK):
                for rule, num in nums.items():
                    if start < num:
                        yield layout.split_missing(source.make(rule, start, min(BLOCK, num - start)))[0]

    def num_training_puzzles(self, num_steps: int) -> int:
        """How many ``training_puzzles`` gives; raises InputError as it does."""
        of_one = self._nums(self._trained_source(self.corruption, num_steps))
        return len(self._versions) * sum(of_one.values())

    @property
    def _versions(self) -> list[Corruption]:
        """In which the training puzzles come: as they were made, and as they were trained on where that differs."""
        return [Corruption(), self.corruption] if self.corruption else [self.corruption]

    def _trained_source(self, corruption: Corruption, num_steps: int) -> PuzzleSource:
        is_own = not self.is_stream and corruption == self.corruption
        return self._source if is_own else self._source_of(corruption, num_steps)

    def _nums(self, source: PuzzleSource) -> dict[int, int]:
        """Puzzles of each rule."""
        return {rule: source.num(rule) for rule in tuple(source.counts) or self.trained}

    def evaluation_puzzles(self, split: str, puzzles_per_rule: int | None = None) -> tuple[Tensor, Tensor]:
        """(N, 3, 9, 9) int8 puzzles of ``split`` (``val`` or ``test``) and their rules (N,) int64, which take turns.

        There are ``puzzles_per_rule`` of each; None for ``eval_puzzles_per_rule``.

        A rule is -1 where the file of the puzzles does not state it.
        """
        n = puzzles_per_rule or self.eval_puzzles_per_rule
        if self.eval_source is not None:
            return self._evaluation_file.part(split, self.eval_rules, n)
        with ThreadPoolExecutor(self._num_workers) as pool:
            made = pool.map(lambda rule: generate(rule, 0, n, seed=self.eval_seed, split=split), self.eval_rules)
            puzzles = torch.stack(list(made), 1)
        return puzzles.flatten(0, 1), torch.tensor(self.eval_rules).repeat(n)

    def shard(self) -> Shard:
        """The part of a global batch that this process sees.

        Raises:
            InputError: the devices and the accumulation do not divide ``global_batch_size``.
        """
        if self.trainer is None:
            return Shard(self.global_batch_size)
        return Shard(
            self.global_batch_size,
            self.trainer.global_rank,
            self.trainer.world_size,
            self.trainer.accumulate_grad_batches,
        )

    def check_end(self) -> None:
        """Raises InputError when training would never end."""
        if self.is_stream and (self.trainer is None or self.trainer.max_steps < 0):
            raise InputError("expected trainer.max_steps with an endless stream, got none: set it, or "
                             "data.samples_per_rule.")  # fmt: skip

    def train_dataloader(self) -> TrainLoader:
        """Batches from the trainer's current step on: those of the whole run, or the data once where epochs count."""
        self.check_end()
        order, trainer = GlobalOrder(self._opened_pool, self.seed, self.augment), self.trainer
        if trainer is None:
            return TrainLoader(order, self.shard(), self._steps_of_a_pass(), lambda: 0)
        return TrainLoader(order, self.shard(), self._num_steps(trainer), lambda: trainer.global_step,
                           trainer.strategy.root_device, is_limited=_is_limited(trainer))  # fmt: skip

    def steps_of_an_epoch(self) -> int | None:
        """Optimizer steps of what Lightning calls an epoch: a pass through the data where ``trainer.max_epochs`` is
        given, else the whole run. None where the trainer takes fewer.
        """
        return None if self.trainer is None or _is_limited(self.trainer) else self._num_steps(self.trainer)

    def _num_steps(self, trainer: L.Trainer) -> int:
        by_epochs = not self.is_stream and (trainer.max_steps <= 0 or (trainer.max_epochs or 0) > 0)
        return self._steps_of_a_pass() if by_epochs else trainer.max_steps

    @property
    def _opened_pool(self) -> Pool:
        if self._pool is None:
            self._pool = self._open_pool()
        return self._pool

    def _steps_of_a_pass(self) -> int:
        return -(-self._opened_pool.size // self.global_batch_size)

    def _evaluation_loader(self, split: str) -> EvaluationLoader:
        puzzles, rules = self.evaluation_puzzles(split)
        shard = self.shard()
        return EvaluationLoader(puzzles, rules, self.eval_batch_size, rank=shard.rank, world_size=shard.world_size)

    def val_dataloader(self) -> EvaluationLoader:
        """Validation puzzles of all ``eval_rules``, each once over all devices."""
        return self._evaluation_loader("val")

    def test_dataloader(self) -> EvaluationLoader:
        """Test puzzles of all ``eval_rules``, each once over all devices."""
        return self._evaluation_loader("test")

    def predict_dataloader(self) -> EvaluationLoader:
        """The test puzzles, to complete."""
        return self._evaluation_loader("test")


def _is_limited(trainer: L.Trainer) -> bool:
    """Does ``trainer`` take fewer batches of an epoch? 1 is one batch, and 1.0 is all."""
    return isinstance(trainer.limit_train_batches, int) or trainer.limit_train_batches < 1
