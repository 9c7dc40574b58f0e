from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from lightning.fabric.plugins.environments.lightning import LightningEnvironment
from lightning.fabric.plugins.environments.slurm import SLURMEnvironment

from datamodules import GenRAVENDataModule
from datamodules.batches import GlobalOrder, Shard, StreamPool, TrainLoader
from genraven.errors import InputError
from genraven.metrics.memorization import Memorization, fingerprints
from genraven.puzzles import layout
from genraven.puzzles.corrupt import Corruption
from genraven.puzzles.generate import generate
from genraven.puzzles.rules import row_rules

torch.set_num_threads(1)


def make(tmp_path: Path, **settings: Any) -> GenRAVENDataModule:
    chosen = {"samples_per_rule": 20, "global_batch_size": 8, "eval_puzzles_per_rule": 10, **settings}
    return GenRAVENDataModule(cache_dir=str(tmp_path / "cache"), **chosen)


def one_pass(data: GenRAVENDataModule) -> tuple[torch.Tensor, torch.Tensor]:
    data.prepare_data()
    data.setup("fit")
    batches = list(data.train_dataloader())
    return torch.cat([batch.puzzles for batch in batches]), torch.cat([batch.rules for batch in batches])


def as_set(puzzles: torch.Tensor) -> set[bytes]:
    return {puzzle.tobytes() for puzzle in puzzles.numpy()}


def test_training_puzzles_are_the_first_of_each_trained_rule(tmp_path: Path) -> None:
    data = make(tmp_path, rules=[3, "position.xor"], held_out=[12], seed=5)
    puzzles, rules = one_pass(data)
    assert (data.trained, data.held_out) == ((3, 37), (12,))
    assert len(puzzles) == 40
    for rule in (3, 37):
        assert as_set(puzzles[rules == rule]) == as_set(generate(rule, 0, 20, seed=5))


def test_all_means_all_that_are_not_held_out(tmp_path: Path) -> None:
    data = make(tmp_path)
    assert data.held_out == (1, 16, 20, 34, 37)
    assert sorted(data.trained + data.held_out) == list(range(40))


def test_validation_and_test_are_of_all_rules_and_never_trained_on(tmp_path: Path) -> None:
    data = make(tmp_path, samples_per_rule=200)
    trained = as_set(one_pass(data)[0])
    splits = {}
    for name, loader in (("val", data.val_dataloader()), ("test", data.test_dataloader())):
        batches = list(loader)
        puzzles, rules = torch.cat([b.puzzles for b in batches]), torch.cat([b.rules for b in batches])
        assert rules.bincount().tolist() == [10] * 40
        assert (row_rules(puzzles) >> rules.unsqueeze(1) & 1).all()
        splits[name] = as_set(puzzles)
        assert len(splits[name]) == 400
        assert not splits[name] & trained
    assert not splits["val"] & splits["test"]


def test_evaluation_puzzles_of_chosen_rules(tmp_path: Path) -> None:
    data = make(tmp_path, eval_rules=["number"], eval_puzzles_per_rule=3, seed=7, eval_seed=2)
    puzzles, rules = data.evaluation_puzzles("val")
    assert rules.tolist() == list(range(30, 37)) * 3
    assert torch.equal(puzzles[rules == 32], generate(32, 0, 3, seed=2, split="val"))


@pytest.mark.parametrize("samples_per_rule", [64, None])
def test_corruption_is_in_training_alone(tmp_path: Path, samples_per_rule: int | None) -> None:
    settings = {"samples_per_rule": samples_per_rule, "rules": [0, 8], "seed": 3}
    clean = make(tmp_path, **settings)
    corrupted = make(tmp_path, **settings, corruption=Corruption(cells=0.1, exceptions=0.5))
    for split in ("val", "test"):
        assert torch.equal(corrupted.evaluation_puzzles(split)[0], clean.evaluation_puzzles(split)[0])
    made = as_set(torch.cat([generate(rule, 0, 64, seed=3) for rule in (0, 8)]))
    if samples_per_rule:
        assert as_set(one_pass(clean)[0]) == made
        assert len(as_set(one_pass(corrupted)[0]) & made) <= 2  # 81 cells of a tenth each: hardly one is left clean
    assert corrupted.is_stream == (samples_per_rule is None)


def test_exceptions_are_as_many_as_asked_for_and_follow_no_rule(tmp_path: Path) -> None:
    puzzles, _ = one_pass(make(tmp_path, samples_per_rule=400, rules=[0], corruption=Corruption(exceptions=0.25)))
    broken = (row_rules(puzzles) == 0).all(1)
    assert 70 <= broken.sum() <= 130
    assert (row_rules(puzzles[~broken]) & 1).all()


@pytest.mark.parametrize("samples_per_rule", [64, None])
def test_missing_cells_change_neither_the_puzzles_nor_their_order(tmp_path: Path, samples_per_rule: int | None) -> None:
    settings = {"samples_per_rule": samples_per_rule, "rules": [0, 8], "seed": 3, "augment": "rows"}
    batches = []
    for missing in (0.0, 0.3):
        data = make(tmp_path, **settings, corruption=Corruption(exceptions=0.5, missing=missing))
        assert data.has_missing == bool(missing)
        order = GlobalOrder(data._open_pool(), data.seed, data.augment)
        batches.append(list(TrainLoader(order, Shard(8), 8, lambda: 0)))
        assert torch.equal(data.evaluation_puzzles("val")[0], make(tmp_path, **settings).evaluation_puzzles("val")[0])
    fractions = []
    for whole, with_some_missing in zip(*batches, strict=True):
        assert whole.unknown is None
        assert with_some_missing.unknown is not None
        assert with_some_missing.unknown.dtype == torch.bool
        assert torch.equal(with_some_missing.rules, whole.rules)
        hidden = with_some_missing.unknown.unsqueeze(1)
        assert torch.equal(with_some_missing.puzzles, whole.puzzles.masked_fill(hidden, 0)), (
            "rows move with their missing cells"
        )
        fractions.append(hidden.double().mean().item())
    assert 0.2 < sum(fractions) / 8 < 0.4


def test_all_processes_and_accumulated_batches_see_the_missing_cells_of_one(tmp_path: Path) -> None:
    data = make(tmp_path, rules=[0, 8], corruption=Corruption(missing=0.3), global_batch_size=8)
    data.prepare_data()
    data.setup("fit")
    order = data.train_dataloader().order
    one = list(TrainLoader(order, Shard(8), 3, lambda: 0))
    loaders = [TrainLoader(order, Shard(8, rank, 2, 2), 3, lambda: 0) for rank in range(2)]
    for loader in loaders:
        for batch in loader:
            place = slice(batch.start, batch.start + 2)
            assert torch.equal(batch.puzzles, one[batch.step].puzzles[place])
            assert torch.equal(batch.unknown, one[batch.step].unknown[place])  # type: ignore[arg-type, index]


def test_what_has_missing_cells_is_not_indexed_nor_counted_as_a_copy(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    data = make(tmp_path, rules=[3, 30], samples_per_rule=300, corruption=Corruption(missing=0.02))
    with caplog.at_level("INFO"):
        data.prepare_data()
    assert "copies" not in caplog.text
    index = data.training_index()
    data.setup("fit")
    batches = list(data.train_dataloader())
    puzzles = torch.cat([batch.puzzles for batch in batches])
    unknown = torch.cat([batch.unknown for batch in batches if batch.unknown is not None])
    panels = layout.mask_to_tokens(unknown).view(-1, 3, 3, 9).any(-1)
    has_gap = {"puzzles": panels.flatten(1).any(1), "rows": panels.any(-1), "panels": panels}
    assert index is not None
    for level, missing in has_gap.items():
        hashes = fingerprints(puzzles)[level]
        assert 0 < missing.sum() < missing.numel()
        assert torch.equal(getattr(index, level), hashes[~missing].unique())
    assert len(index.unordered) == len(index.puzzles)


def test_an_index_of_nothing_whole_contains_nothing(tmp_path: Path) -> None:
    data = make(tmp_path, rules=[3], samples_per_rule=4, corruption=Corruption(missing_panels=0.5, missing=0.5))
    data.prepare_data()
    index = data.training_index()
    assert index is not None
    assert len(index.puzzles) == 0
    metric = Memorization(index)
    metric.update(generate(3, 0, 4))
    rates = metric.compute()["rates"]
    assert (int(rates["memorized_puzzles"].hits), int(rates["memorized_puzzles"].total)) == (0, 4)


def test_the_index_knows_the_training_set_and_a_stream_has_none(tmp_path: Path) -> None:
    data = make(tmp_path, rules=[3, 30])
    data.prepare_data()
    index = data.training_index()
    assert index is not None
    assert len(index.puzzles) == 40
    assert (index.rows.diff() > 0).all()
    assert make(tmp_path, samples_per_rule=None).training_index() is None


def test_a_source_is_trained_on_rule_by_rule(tmp_path: Path) -> None:
    put_in = torch.stack([generate(rule, 100, 4, seed=9) for rule in range(40)])
    rows = layout.puzzles_to_rows(put_in.flatten(0, 1)).view(40, 12, 3, 9, 3)
    np.save(tmp_path / "own.npy", rows.numpy())
    data = make(tmp_path, source=str(tmp_path / "own.npy"), samples_per_rule=None, rules=[7, 36], global_batch_size=4)
    assert not data.is_stream
    puzzles, rules = one_pass(data)
    assert len(puzzles) == 8
    for rule in (7, 36):
        assert as_set(puzzles[rules == rule]) == as_set(put_in[rule])


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"rules": ["shape.xnor"]}, "'shape.xor'"),
        ({"rules": [40]}, "got 40"),
        ({"held_out": "split10"}, "got 'split10'"),
        ({"eval_rules": ["nothing"]}, "got 'nothing'"),
        ({"rules": [1, 2]}, "shape.progression-2"),
        ({"rules": ["shape.xor", "size"], "held_out": ["shape"]}, "shape.xor"),
        ({"rules": []}, "at least one rule to train on"),
        ({"rules": "none"}, "at least one rule to train on"),
        ({"held_out": "all"}, "at least one rule to train on"),
        ({"eval_rules": []}, "data.eval_rules"),
        ({"samples_per_rule": 0}, "data.samples_per_rule to be 1 or more, got 0"),
        ({"global_batch_size": 0}, "data.global_batch_size to be 1 or more, got 0"),
        ({"eval_puzzles_per_rule": -1}, "data.eval_puzzles_per_rule to be 1 or more, got -1"),
        ({"eval_batch_size": 0}, "data.eval_batch_size to be 1 or more, got 0"),
        ({"seed": -1}, "data.seed to be 0 or more, got -1"),
        ({"eval_seed": -1}, "data.eval_seed to be 0 or more, got -1"),
    ],
)
def test_bad_settings_are_refused_in_one_line(tmp_path: Path, settings: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError) as caught:
        make(tmp_path, **settings)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_stream_without_an_end_asks_for_max_steps(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="trainer.max_steps"):
        make(tmp_path, samples_per_rule=None).train_dataloader()


@pytest.mark.parametrize(
    ("num_devices", "by_srun", "threads"), [(1, False, 12), (4, False, 3), (16, False, 1), (4, True, 12)]
)
def test_processes_of_a_machine_divide_its_cpus_unless_srun_has_done_so(
    num_devices: int, by_srun: bool, threads: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("os.sched_getaffinity", lambda pid: set(range(12)))
    environment = SLURMEnvironment(auto_requeue=False) if by_srun else LightningEnvironment()
    stream = GenRAVENDataModule(samples_per_rule=None, cache_dir=str(tmp_path))
    strategy = SimpleNamespace(cluster_environment=environment)
    stream.trainer = SimpleNamespace(num_devices=num_devices, local_rank=0, strategy=strategy)  # type: ignore[assignment]
    stream.setup("fit")
    assert isinstance(stream._pool, StreamPool)
    assert stream._pool._workers._max_workers == threads
    assert (stream._pool.shared is None) == (num_devices == 1)


# Files ----------------------------------------------------------------------------------------------------------------


def test_a_leak_is_named_before_training(tmp_path: Path, recwarn: pytest.WarningsRecorder) -> None:
    puzzles = torch.cat([generate(rule, 0, 4, split=split) for rule in (3, 8) for split in ("train", "val")])
    np.savez(tmp_path / "own.npz", puzzles=puzzles.numpy(), rules=np.repeat([3, 8], 8))
    settings = {"samples_per_rule": None, "rules": [3, 8], "eval_puzzles_per_rule": 5}
    make(tmp_path, source=str(tmp_path / "own.npz"), **settings).prepare_data()
    (leak,) = [str(warning.message) for warning in recwarn if "leak" in str(warning.message)]
    assert "of the val puzzles, 8 of 200 puzzles, 8 of 200 puzzles up to the order of rows, 24 of 600 rows" in leak


def test_copies_within_the_training_set_are_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    puzzles = generate(3, 0, 4).repeat(2, 1, 1, 1)
    np.savez(tmp_path / "own.npz", puzzles=puzzles.numpy(), rules=[3] * 8)
    make(tmp_path, source=str(tmp_path / "own.npz"), samples_per_rule=None, rules=[3]).prepare_data()
    assert "4 of 8 puzzles, 4 of 8 puzzles up to the order of rows, 12 of 24 rows are copies of others" in caplog.text


def test_generated_puzzles_have_no_leak(tmp_path: Path, recwarn: pytest.WarningsRecorder) -> None:
    make(tmp_path).prepare_data()
    assert not [warning for warning in recwarn if "leak" in str(warning.message)]


def test_examples_per_rule_are_those_of_the_training_set(tmp_path: Path) -> None:
    assert make(tmp_path, samples_per_rule=6, rules=[3, 8]).examples_per_rule == 6
    assert make(tmp_path, samples_per_rule=None).examples_per_rule is None
    puzzles = torch.cat([generate(3, 0, 2), generate(8, 0, 5), generate(3, 0, 4)])
    puzzles[-4:] = -1  # empty, of no rule
    np.savez(tmp_path / "own.npz", puzzles=puzzles.numpy(), rules=[3] * 2 + [8] * 5 + [-1] * 4)
    of_file = make(tmp_path, source=str(tmp_path / "own.npz"), samples_per_rule=None, rules=[3, 8], held_out="none")
    assert of_file.examples_per_rule == 3.5
    np.save(tmp_path / "none.npy", puzzles[-4:].numpy())
    unknown = make(tmp_path, source=str(tmp_path / "none.npy"), samples_per_rule=None, rules=[3, 8], held_out="none")
    assert unknown.examples_per_rule == 2


def test_a_split_file_is_trained_on_without_its_rules(tmp_path: Path) -> None:
    kept = [rule for rule in range(40) if rule not in (3, 10, 29, 31, 37)]
    put_in = torch.stack([generate(rule, 0, 2) for rule in kept])
    torch.save(layout.puzzles_to_rows(put_in.flatten(0, 1)).view(35, 6, 3, 9, 3), tmp_path / "own.pt")
    settings = {"source": str(tmp_path / "own.pt"), "samples_per_rule": None, "global_batch_size": 5}
    puzzles, rules = one_pass(make(tmp_path, held_out="split3", source_split="split3", **settings))
    assert rules.unique().tolist() == kept
    for place, rule in enumerate(kept):
        assert as_set(puzzles[rules == rule]) == as_set(put_in[place])
    with pytest.raises(InputError, match=r"got none of shape\.progression\+1"):
        make(tmp_path, held_out="none", **settings).prepare_data()


def test_a_file_to_evaluate_on(tmp_path: Path) -> None:
    puzzles = generate(3, 0, 4)
    np.save(tmp_path / "own.npy", puzzles.numpy())
    data = make(tmp_path, eval_source=str(tmp_path / "own.npy"))
    val, rules = data.evaluation_puzzles("val")
    assert torch.equal(val, puzzles[[0, 2]])
    assert rules.tolist() == [-1, -1]
    assert torch.equal(data.evaluation_puzzles("test")[0], puzzles[[1, 3]])


@pytest.mark.parametrize("cells", [0.0, 0.1])
@pytest.mark.parametrize("kind", ["finite", "stream", "file"])
def test_all_that_a_run_was_trained_on_is_told_again(tmp_path: Path, kind: str, cells: float) -> None:
    """In blocks of each rule; corrupted puzzles as they were before, too; of a stream what so many steps take."""
    clean = torch.cat([generate(rule, 0, 50) for rule in (0, 20)])
    np.savez(tmp_path / "own.npz", puzzles=clean.numpy(), rules=np.repeat([0, 20], 50))
    source = str(tmp_path / "own.npz") if kind == "file" else None
    num, batch, steps = (3000 if kind == "finite" else None), 64, 70
    data = make(tmp_path, source=source, samples_per_rule=num, rules=[0, 20], held_out="none",
                global_batch_size=batch, corruption=Corruption(cells=cells))  # fmt: skip
    parts = list(data.training_puzzles(steps))
    told = as_set(torch.cat(parts))
    data.prepare_data()
    data.setup("fit")
    taken = GlobalOrder(data._pool, data.seed).at(np.arange(steps * batch))[0]  # type: ignore[arg-type]
    assert as_set(taken) <= told and as_set(clean) <= told
    assert max(map(len, parts)) <= 2048
    each = {"finite": 6000, "stream": 2 * 2 * 2048, "file": 100}[kind]
    assert each <= len(told) <= each * (1 + bool(cells))
