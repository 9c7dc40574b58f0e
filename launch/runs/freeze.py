"""Code and config of a job, kept beside it, so that later edits do not reach what waits in a queue."""

import itertools
import shutil
import signal
import stat
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from genraven.errors import InputError, reason_of
from genraven.escaping import plain
from genraven.files import UNFINISHED
from genraven.installation import CODE as ROOT
from genraven.installation import PACKAGES
from genraven.run_folder import JobFiles

NO_CODE = shutil.ignore_patterns("__pycache__", "studies")


def git_state() -> tuple[str, str] | None:
    """Commit of this code and what was changed since; None where it is not the checkout of a repository."""
    git = ["git", "-C", str(ROOT)]
    try:
        # An installed copy may lie inside somebody else's repository, which does not track it.
        subprocess.run([*git, "ls-files", "--error-unmatch", "launch/cli.py"], check=True, capture_output=True)
        commit, diff = (
            subprocess.run([*git, *command], check=True, capture_output=True, text=True).stdout
            for command in (["rev-parse", "HEAD"], ["diff", "HEAD", "--", *PACKAGES])
        )
    except (OSError, subprocess.CalledProcessError):
        return None
    return commit.strip(), diff


def freeze_code(folder: Path) -> None:
    """Copies the packages to ``folder/code`` and notes their commit and changes."""
    files = JobFiles(folder)
    for package in PACKAGES:
        shutil.copytree(ROOT / package, files.code / package, ignore=NO_CODE)
    for path in (files.code, *files.code.rglob("*")):
        path.chmod(
            path.stat().st_mode | stat.S_IRUSR | stat.S_IWUSR
        )  # an installation may be read-only, its copy is not
    state = git_state()
    if state is not None:
        files.commit.write_text(state[0] + "\n")
        files.diff.write_text(state[1])


@contextmanager
def replaced(folder: Path) -> Iterator[Path]:
    """An empty ``folder`` to fill, in the place of what it held; only its logs stay.

    When the block fails, everything is as it was before, parents that were made included.

    Raises:
        InputError: it cannot be written.
    """
    try:
        others = _others(folder) if folder.exists() else []
    except OSError as error:  # such as of a name that is too long
        raise _not_writable(folder, error) from None
    if others:
        raise InputError(f"expected a folder with files of a job only, got {plain(others[0])} in {folder}: move it "
                         "away, or choose another run folder.")  # fmt: skip
    made, is_new = [parent for parent in folder.parents if not parent.exists()], not folder.exists()
    before = folder.with_name(f".{folder.name}.before")
    try:
        if before.exists() and folder.exists():  # of a submission that was killed
            _move_logs(before, folder)
            shutil.rmtree(before)
        if folder.exists():
            folder.rename(before)
        folder.mkdir(parents=True)
        yield folder
    except BaseException as error:
        with suppress(OSError):  # what ended the block is raised, not that it could not be taken back
            if is_new or before.exists():
                _take_back(folder, made)
            if before.exists():
                before.rename(folder)
        if isinstance(error, OSError):
            raise _not_writable(folder, error) from None
        raise
    with suppress(OSError):  # what the block did stands: it may have submitted a job
        if before.exists():
            _move_logs(before, folder)
            shutil.rmtree(before)


def _not_writable(folder: Path, error: OSError) -> InputError:
    return InputError(f"expected a folder that can be written, got {folder} ({reason_of(error)}): choose another.")


def _move_logs(before: Path, folder: Path) -> None:
    for log in JobFiles(before).logs():
        log.rename(folder / log.name)


def _others(folder: Path) -> list[str]:
    """What stands in the folder of a job and is none of ours."""
    names = sorted(path.name for path in folder.iterdir())
    return [name for name in names if not JobFiles(folder).owns(name) and UNFINISHED not in name]


@contextmanager
def exclusive(wanted: Path) -> Iterator[Path]:
    """A new folder ``wanted``, or ``wanted-2`` and so on where there is one; removed when the block fails.

    Raises:
        InputError: it cannot be made or written.
    """
    made = [parent for parent in wanted.parents if not parent.exists()]
    folder = new_folder(wanted)
    try:
        yield folder
    except BaseException as error:
        _take_back(folder, made)
        if isinstance(error, OSError):
            raise _not_writable(folder, error) from None
        raise


def new_folder(wanted: Path) -> Path:
    """Makes ``wanted``, or ``wanted-2`` and so on where there is one.

    Raises:
        InputError: it cannot be made.
    """
    for number in itertools.count(1):
        folder = wanted if number == 1 else wanted.with_name(f"{wanted.name}-{number}")
        try:
            folder.mkdir(parents=True)
            break
        except FileExistsError:
            continue
        except OSError as error:
            raise InputError(f"expected a folder that can be written, got {folder} ({error.strerror}): choose "
                             "another.") from None  # fmt: skip
    return folder


def _take_back(folder: Path, made: list[Path]) -> None:
    """Removes ``folder``, and of the parents made for it, the nearest first, those that nobody else uses by now."""
    shutil.rmtree(folder, ignore_errors=True)
    for parent in made:
        with suppress(OSError):
            parent.rmdir()


@contextmanager
def no_interrupt() -> Iterator[None]:
    """Ctrl-C within the block comes after it, also to the commands it starts. Outside the main thread none comes."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    came: list[int] = []
    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])  # of this thread, and inherited by commands
    before = signal.signal(signal.SIGINT, lambda number, _: came.append(number))  # from any other thread
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
        signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
        if came:
            signal.raise_signal(signal.SIGINT)
