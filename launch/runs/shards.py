"""Checkpoints that are folders of shards, as strategies that divide weights among devices write them.

They are recognised and refused: to read how shards fit together is to unpickle a file (``.metadata``) of the folder,
and nothing of a checkpoint is executed here. Lightning's own converter makes a file of one.
"""

import os
import shlex
from pathlib import Path

from genraven.errors import InputError
from genraven.run_folder import CHECKPOINT, is_run

METADATA, META = ".metadata", "meta.pt"  # of torch.distributed.checkpoint; of Lightning, what is no weight
SHARD = ".distcp"
DEEPSPEED = ("zero_to_fp32.py", "latest")
CONVERTER = "python -m lightning.pytorch.utilities.consolidate_checkpoint"
DEEPSPEED_CONVERTER = "lightning.pytorch.utilities.deepspeed.convert_zero_checkpoint_to_fp32_state_dict"


def is_sharded(path: Path) -> bool:
    """Is ``path`` a checkpoint that is a folder? One by another program counts by its name, unless runs stand in it."""
    if not path.is_dir():
        return False
    by_name = path.suffix == CHECKPOINT and not any(is_run(path / name) for name in _names(path))
    return by_name or _is_of_torch(path) or _is_of_deepspeed(path)


def refuse_shards(path: Path) -> None:
    """Raises InputError, which says what to do, where ``path`` is a checkpoint that is a folder, or a file of one."""
    is_part = path.name in (METADATA, META) or path.suffix == SHARD
    folder = path.parent if is_part else path
    if not (is_sharded(folder) or (is_part and _is_of_torch(folder))):
        return
    if _is_of_torch(folder):
        todo = f"`{CONVERTER} {shlex.quote(str(folder))}` makes one file of it, to give instead"
    elif _is_of_deepspeed(folder):
        todo = f"`{DEEPSPEED_CONVERTER}` makes one file of it, to give instead"
    else:
        todo = "make one file of it with what wrote it"
    raise InputError(f"expected a checkpoint that is one file, got {path}, of shards, as a strategy that divides "
                     f"weights among devices writes it: {todo}.")  # fmt: skip


def _is_of_torch(folder: Path) -> bool:
    names = _names(folder)
    return bool({METADATA, META} & names) or any(name.endswith(SHARD) for name in names)


def _is_of_deepspeed(folder: Path) -> bool:
    return bool({*DEEPSPEED} & _names(folder)) and (folder / "checkpoint").is_dir()


def _names(folder: Path) -> set[str]:
    try:
        return {*os.listdir(folder)}  # noqa: PTH208
    except OSError:
        return set()
