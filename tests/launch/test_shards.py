"""A checkpoint that is a folder of shards: refused in one line, which says what to do, and never taken for a run."""

import shlex
from argparse import Namespace
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import torch.distributed.checkpoint as dcp
from lightning.fabric.utilities.load import _load_distributed_checkpoint
from lightning.pytorch.strategies import DDPStrategy, FSDPStrategy, ModelParallelStrategy, Strategy
from lightning.pytorch.utilities.consolidate_checkpoint import _format_checkpoint

from genraven.errors import InputError
from launch.cli import main
from launch.runs.folder import RunFolder, find_checkpoint, given_checkpoint, read_checkpoint
from launch.runs.shards import CONVERTER, is_sharded
from launch.runs.status import named_runs
from launch.trained.evaluate import _find_runs
from launch.training.options import check_strategy
from lightning_modules.lightning_internals import writes_folders

WEIGHT = torch.arange(6.0)


def torchs(folder: Path) -> Path:
    """As FSDP with ``state_dict_type: sharded`` and ModelParallelStrategy write it."""
    dcp.save({"model": {"network.weight": WEIGHT}}, checkpoint_id=folder, no_dist=True)
    torch.save({"genraven_config": {"model": {}}, "global_step": 5}, folder / "meta.pt")
    return folder


def deepspeeds(folder: Path) -> Path:
    (folder / "checkpoint").mkdir(parents=True)
    (folder / "checkpoint" / "mp_rank_00_model_states.pt").touch()
    (folder / "latest").write_text("checkpoint")
    return folder


def somebodys(folder: Path) -> Path:
    folder.mkdir(parents=True)
    return folder


Make = Callable[[Path], Path]


@pytest.mark.parametrize("make", [torchs, deepspeeds, somebodys])
@pytest.mark.parametrize(
    "use",
    [
        find_checkpoint,
        given_checkpoint,
        lambda path: given_checkpoint(path, exported=True),  # --init-from
        lambda path: [find_checkpoint(run) for run in _find_runs(path, None).values()],  # evaluate
    ],
)
def test_it_is_refused(make: Make, use: Callable[[Path], object], tmp_path: Path) -> None:
    folder = make(tmp_path / "step-00000005.ckpt")
    with pytest.raises(InputError, match=r"expected a checkpoint that is one file, got .*\.ckpt, of shards"):
        use(folder)


@pytest.mark.parametrize("name", ["meta.pt", ".metadata", "__0_0.distcp"])
def test_so_is_a_file_of_it(name: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="of shards"):
        find_checkpoint(torchs(tmp_path / "weights") / name)


@pytest.mark.parametrize("make", [torchs, deepspeeds, somebodys])
def test_it_is_no_run_folder(make: Make, tmp_path: Path) -> None:
    folder = make(tmp_path / "x.ckpt")
    with pytest.raises(InputError, match=r"expected a run folder, or a new one, got .*x\.ckpt, a checkpoint"):
        RunFolder(folder).check_owner({"model": {}})
    with pytest.raises(InputError, match="expected runs in"):
        named_runs(folder)


def test_of_a_run_it_is_refused_too(tmp_path: Path) -> None:
    torchs(tmp_path / "checkpoints" / "step-00000005.ckpt")
    assert not is_sharded(tmp_path)
    with pytest.raises(InputError, match=r"step-00000005\.ckpt, of shards"):
        find_checkpoint(tmp_path)


def test_a_run_may_be_called_like_a_checkpoint(tmp_path: Path) -> None:
    (tmp_path / "x.ckpt" / "checkpoints").mkdir(parents=True)
    (tmp_path / "all.ckpt" / "run" / "checkpoints").mkdir(parents=True)
    assert [*_find_runs(tmp_path / "all.ckpt", None)] == ["run"]
    RunFolder(tmp_path / "x.ckpt").check_owner({"model": {}})
    with pytest.raises(InputError, match="train it first"):
        find_checkpoint(tmp_path / "x.ckpt")


def test_what_the_line_says_to_do_helps(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The converter is run in this process: in its own it takes seconds to import."""
    folder = torchs(tmp_path / "a run" / "step-00000005.ckpt")
    assert main(["sample", str(folder)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    words = shlex.split(line.split("`")[1])
    assert words[:-1] == shlex.split(CONVERTER) and words[-1] == str(folder)
    whole = tmp_path / "whole.ckpt"
    torch.save(_format_checkpoint(_load_distributed_checkpoint(folder)), whole)
    assert torch.equal(read_checkpoint(find_checkpoint(whole))["state_dict"]["network.weight"], WEIGHT)


@pytest.mark.parametrize(
    ("strategy", "writes"),
    [
        (lambda: DDPStrategy(), False),
        (lambda: FSDPStrategy(), False),
        (lambda: FSDPStrategy(state_dict_type="sharded"), True),
        (lambda: ModelParallelStrategy(), True),
        (lambda: ModelParallelStrategy(save_distributed_checkpoint=False), False),
    ],
)
def test_no_training_writes_one(strategy: Callable[[], Strategy], writes: bool) -> None:
    made = strategy()
    assert writes_folders(made) is writes
    if writes:
        with pytest.raises(InputError, match="which writes folders of shards"):
            check_strategy(Namespace(strategy=made, world_size=1))  # type: ignore[arg-type]
    else:
        check_strategy(Namespace(strategy=made, world_size=1))  # type: ignore[arg-type]
