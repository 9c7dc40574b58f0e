"""The start of a training: its run folder, taken by one process, and what it begins or goes on with."""

import platform
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lightning.pytorch.utilities import rank_zero_info, rank_zero_warn

from genraven.errors import InputError
from genraven.files import writable_folder
from genraven.locks import Held, holder, locked, who
from genraven.run_folder import RunFiles
from launch.configs.identity import refuse_other
from launch.runs.folder import RunFolder, default_run_folder, given_checkpoint, read_checkpoint
from launch.runs.freeze import new_folder
from launch.schedulers.known import own_job, own_start

PATIENCE_S, LOST_MACHINE_S = 2.0, 150.0
"""To wait for the run's last process to end; and where that was on another machine, which may be lost: a file server
gives back its locks after some 90 s."""


@dataclass(frozen=True)
class Start:
    """What the first process has decided."""

    folder: Path
    checkpoint: str | None
    """The checkpoint to resume from."""
    step: int
    """The step of that checkpoint."""
    initial: str | None
    """Checkpoint whose weights to begin with at step 0."""


def open_run(options: Mapping[str, Any], config: dict[str, Any], stack: ExitStack) -> Start:
    """Takes the run folder until ``stack`` ends, and looks for the checkpoint to go on from.

    Args:
        options: of ``fit``.
        config: resolved, plain values.
        stack: gives the folder back, and removes it where it was made here and nothing has come into it.

    Raises:
        InputError: the folder cannot be written, another process trains it, or it or a checkpoint is another run's.
    """
    wanted = options["run_dir"]
    run = stack.enter_context(occupied(Path(wanted or default_run_folder(config)), is_new=not wanted))
    run.check_owner(config)
    newest, given = run.newest_whole(), given_checkpoint(options["ckpt_path"])
    if given and run.owns(given):
        raise InputError(f"expected --ckpt_path of another run, got {given}, of this run folder itself: leave it "
                         "out to go on from the newest, or give another --run_dir.")  # fmt: skip
    path = newest or given  # once the run has its own, a restart goes on from these
    if path is None:
        return Start(run.path, None, 0, given_checkpoint(options["init_from"], exported=True))
    checkpoint = read_checkpoint(Path(path))
    refuse_other(checkpoint["genraven_config"], config, Path(path))
    check_length(checkpoint["global_step"], Path(path), config)
    return Start(run.path, str(path), checkpoint["global_step"], None)


def check_length(step: int, path: Path, config: dict[str, Any]) -> None:
    """Raises InputError where a training of ``config`` would end before the ``step`` of the checkpoint ``path``."""
    most = config["trainer"]["max_steps"]
    if 0 <= most < step:
        raise InputError(f"expected --trainer.max_steps of at least {step}, the step of {path}, got {most}: raise it, "
                         "or train in another --run_dir.")  # fmt: skip


def given_start(options: Mapping[str, Any]) -> Start:
    """As ``open_run``, for a trial that has no run folder."""
    checkpoint = given_checkpoint(options["ckpt_path"])
    return Start(Path(), checkpoint, 0, None if checkpoint else given_checkpoint(options["init_from"], exported=True))


@contextmanager
def occupied(path: Path, *, is_new: bool) -> Iterator[RunFolder]:
    """The run folder, in which only this process trains within the block.

    Args:
        path: made where it is missing.
        is_new: it must be a new one: ``path``, or that with a number behind it.

    Raises:
        InputError: it cannot be written, or another process trains there.
    """
    made = [folder for folder in (path, *path.absolute().parents) if not folder.exists()]
    path = new_folder(path) if is_new else writable_folder(path, "--run_dir")
    made = [path, *made[1:]] if made or is_new else []
    lock = RunFiles(path).lock
    try:
        with _lock(lock):
            try:
                yield RunFolder(path)
            finally:  # what ended the block is raised, not that the folder is gone
                with suppress(OSError):
                    if made and [*path.iterdir()] == [lock]:
                        lock.unlink()  # while it is held, so that it is nobody else's
    finally:
        with suppress(OSError):  # somebody else uses it by now
            for folder in made:
                folder.rmdir()


@contextmanager
def _lock(path: Path) -> Iterator[None]:
    """The lock on a run within the block.

    A requeued job replaces a lock that another machine holds for an earlier start of it: that machine was lost with
    its process, and a file server may keep the lock for ever. Two steps of one start are two trainings.
    """
    job, start = own_job(), own_start()
    notes = [f"job {job}", *(f"job {job}, start {number}" for number in range(2, start + 2))] if job else ["a process"]
    *earlier, note = notes

    def is_lost(held: str) -> bool:
        return _is_elsewhere(held) and held.partition(" ")[2] in earlier

    with ExitStack() as stack:
        if before := holder(path):
            rank_zero_info(f"{path.parent} is trained by {who(before)}: waiting for {_patience_s(before):g} s at most")
        try:
            if not stack.enter_context(locked(path, _patience_s, note, is_lost=is_lost)):
                rank_zero_warn(f"{path.parent} is on a file system without locks: make sure that only one training "
                               "runs there.")  # fmt: skip
        except Held as held:
            raise InputError(f"expected a run that nobody trains, got {path.parent}, which {who(str(held))} is "
                             "training: wait for it, or give another --run_dir.") from None  # fmt: skip
        except OSError as error:
            raise InputError(f"expected a run folder that can be written, got {path} ({error.strerror}): change its "
                             "permissions, or give another --run_dir.") from None  # fmt: skip
        yield


def _patience_s(note: str) -> float:
    return LOST_MACHINE_S if _is_elsewhere(note) else PATIENCE_S


def _is_elsewhere(note: str) -> bool:
    """Is the lock of this ``note`` held on another machine? On this one, who holds a lock is alive."""
    return note.split(" ")[0] not in ("", platform.node())
