"""Ends of a command that are no errors of the program, by the exceptions that tell them apart."""

import errno
import os
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from genraven.errors import InputError
from genraven.run_folder import RunFiles, step_checkpoints
from genraven.signals import Preempted, received_signal

DISK_ERRORS = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO, errno.ESTALE, errno.EACCES, errno.ENOENT}


COMPILER_ERROR = "InductorError"
"""Of torch, by name: to import it takes seconds where nothing is compiled."""


@contextmanager
def explained_exits(folder: Path, *, is_named: bool = True) -> Iterator[None]:
    """Gives ends of a training that are no errors of the program their own exceptions.

    Args:
        folder: of the run.
        is_named: does the command name it? If not, it must do so to go on.

    Raises:
        Preempted: it says which command goes on; also where a signal has ended the compiler, since a scheduler sends it
            to all processes of a job.
        InputError: ``folder`` cannot be written any more, or another file, which is named, cannot be used.
        KeyboardInterrupt: Ctrl-C, which Lightning makes an exit with status 1; it says what is saved.
    """
    again = Preempted.again if is_named else f"{Preempted.again} with --run_dir {folder}"
    try:
        yield
    except Preempted as stop:
        stop.again = again
        raise
    except SystemExit as error:
        raise KeyboardInterrupt(_kept(folder, again)) from error
    except OSError as error:
        if error.errno not in DISK_ERRORS:
            raise
        file = Path(os.fsdecode(error.filename)) if isinstance(error.filename, str | bytes) else folder
        is_within = file.absolute().is_relative_to(folder.absolute())
        what, named = ("a run folder that can be written", folder) if is_within else ("a file that can be used", file)
        raise InputError(f"expected {what}, got {named} ({error.strerror}): make room, or check the file system, and "
                         "start the same command again.") from error  # fmt: skip
    except Exception as error:
        number = received_signal()
        if number is None or type(error).__name__ != COMPILER_ERROR:
            raise
        preempted = Preempted(f"signal {number.name} while it compiled")
        preempted.again, preempted.kept = again, "what was saved before stands"
        raise preempted from error


def _kept(run: Path, again: str) -> str:
    """What the start after an interruption goes on with."""
    if saved := step_checkpoints(RunFiles(run).checkpoints):
        return f"{again} goes on from step {max(saved)}, the newest that is saved in {run}"
    return f"no step is saved in {run}, so the same command begins anew"


@contextmanager
def refused_by_constructors() -> Iterator[None]:
    """Raises InputError, which names the class, for whatever the constructor of a class raises that a config names."""
    try:
        yield
    except (InputError, Preempted):
        raise
    except Exception as wrapped:
        error = next((each for each in _chain(wrapped) if not _is_the_parsers(*_frames(each)[-1:])), wrapped)
        reason = " ".join(f"{type(error).__name__}: {error}".removesuffix(": ").split())
        raise input_error(wrapped) or InputError(
            f"expected options and libraries that {_maker(error)} can be made with, got {reason}: mend them."
        ) from wrapped


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """``error``, and what it stems from."""
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def input_error(error: BaseException) -> InputError | None:
    """The InputError that ``error`` is or stems from."""
    return next((each for each in _chain(error) if isinstance(each, InputError)), None)


def _frames(error: BaseException) -> list[FrameType]:
    """Where ``error`` went through, the place that raised it last."""
    return [frame for frame, _ in traceback.walk_tb(error.__traceback__)]


def _is_the_parsers(*frames: FrameType) -> bool:
    return all(str(frame.f_globals.get("__name__")).startswith("jsonargparse") for frame in frames)


def _maker(error: BaseException) -> str:
    """The class whose constructor raised ``error``: the outermost, since what it calls is its own affair."""
    makers = [frame for frame in _frames(error) if frame.f_code.co_name == "__init__" and not _is_the_parsers(frame)]
    return next((type(frame.f_locals["self"]).__name__ for frame in makers if "self" in frame.f_locals), "a class")


@contextmanager
def unwrapped_errors(*of_settings: type[Exception]) -> Iterator[None]:
    """Raises the InputError that another error stems from: jsonargparse wraps what a model's constructor raises.

    Args:
        of_settings: errors of a library about what it was given, which become an InputError of one line.
    """
    caught: tuple[type[Exception], ...] = (ValueError, *of_settings)
    try:
        yield
    except caught as error:
        inner = input_error(error)
        if inner is None and not isinstance(error, of_settings):
            raise
        raise inner or InputError(" ".join(str(error).split())) from None
