"""What stands in a run folder."""

import errno
import os
import pickle
import subprocess
import time
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import yaml
from lightning.pytorch.utilities import rank_zero_warn

from genraven.bounded import open_regular, read_text, read_yaml
from genraven.errors import InputError
from genraven.files import appears_whole, remove_unfinished, writable_folder
from genraven.formats.containers import unlike_torch
from genraven.installation import CODE
from genraven.run_folder import (
    STEP_NAMES,
    RunFiles,
    event_files,
    is_run,
    step_checkpoints,
    step_of,
    torn_name,
)
from launch.configs.identity import refuse_other
from launch.configs.registry import is_plain
from launch.runs.exported import WEIGHTS, is_export, read_export
from launch.runs.shards import is_sharded, refuse_shards

STARTED = "GENRAVEN_STARTED"  # names a new run's folder, the same one in all of its processes


@dataclass(frozen=True)
class RunFolder:
    """One run: resolved config, checkpoints, TensorBoard events, summary."""

    path: Path

    @property
    def files(self) -> RunFiles:
        """What stands where."""
        return RunFiles(self.path)

    @property
    def checkpoints(self) -> Path:
        """The folder of checkpoints."""
        return self.files.checkpoints

    def newest_whole(self) -> Path | None:
        """The checkpoint to go on from: of the newest step, at worst the best; None where there is none.

        What is broken is named and passed over.

        Raises:
            InputError: it is a folder of shards, or cannot be read.
        """
        for path in [*step_checkpoints(self.checkpoints).values(), *filter(os.path.lexists, [self.files.best])]:
            refuse_shards(path)
            if is_whole(path):
                return path
            rank_zero_warn(f"{path} is incomplete or corrupt, and is ignored.")
        return None

    @property
    def has_curves(self) -> bool:
        """Has a start of this run written for TensorBoard?"""
        return bool(event_files(self.files.tensorboard))

    def git_commit(self) -> str | None:
        """Of the code that trains: as `genraven submit` noted it, else of the repository that the code stands in."""
        note = self.files.job.commit
        if note.exists():
            return read_text(note).strip() or None
        command = ["git", "-C", str(CODE), "rev-parse", "--show-toplevel", "HEAD"]
        try:
            top, commit = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
        except (OSError, subprocess.CalledProcessError):
            return None
        # Else it is installed within somebody's other repository.
        return commit if Path(top) == CODE.resolve() else None

    def config(self) -> dict[str, Any]:
        """As it was resolved when the run was last started; empty where it never was, or where it is torn.

        Raises:
            InputError: it cannot be read.
        """
        note = self.files.config
        try:
            found = read_yaml(note)
        except (FileNotFoundError, NotADirectoryError):
            return {}
        except OSError as error:
            raise InputError(f"expected a config that can be read, got {note} ({error.strerror}): check its file "
                             "system.") from None  # fmt: skip
        except ValueError:
            found = None
        if isinstance(found, dict) and isinstance(found.get("trainer"), dict):
            return found
        rank_zero_warn(f"{note} is incomplete and is ignored: the run's checkpoints hold its config.")
        return {}

    def check_owner(self, config: dict[str, Any]) -> None:
        """Raises InputError when the folder belongs to another model or data config, or to something else."""
        if not is_run(self.path) and is_sharded(self.path):
            raise InputError(f"expected a run folder, or a new one, got {self.path}, a checkpoint: give another "
                             "--run_dir.")  # fmt: skip
        if owner := self.config():
            refuse_other(owner, config, self.path)
        elif not (self.checkpoints.is_dir() or self.files.job.config.exists()):
            for file in (self.files.config, self.files.summary, self.files.curve):
                if os.path.lexists(file):
                    raise InputError(f"expected a run folder, or a new one, got {self.path}, whose {file.name} belongs "
                                     "to no run: give another --run_dir.")  # fmt: skip

    def owns(self, path: Path | str) -> bool:
        """Is ``path`` one of this run's checkpoints?"""
        return Path(path).resolve().parent == self.checkpoints.resolve()

    def claim(self, config: dict[str, Any], resume_from: Path | str | None = None) -> None:
        """Makes the folder, writes the resolved config into it and puts aside what a killed save left.

        Nor does the reason stay for which an earlier start was refused.

        Checkpoints newer than the one that the run goes on from were passed over as broken: their names end in
        ``.torn`` from now on, so that the newest name is again that of the newest state.

        Raises:
            InputError: it cannot be written.
        """
        for folder in (self.path, self.checkpoints, self.files.tensorboard):
            writable_folder(folder, "--run_dir")
        for folder in (self.path, self.checkpoints):
            remove_unfinished(folder)
        newest = step_of(Path(resume_from)) if resume_from and self.owns(resume_from) else None
        for step, path in step_checkpoints(self.checkpoints).items():
            if newest is None or step > newest:
                path.rename(torn_name(path))
        with appears_whole(self.files.config) as temporary:
            temporary.write_text(yaml.safe_dump(config, sort_keys=False))
        self.files.job.refusal.unlink(missing_ok=True)


def default_run_folder(config: dict[str, Any]) -> Path:
    """``runs/<network>-<time>``: a new folder."""
    if not os.environ.get(STARTED):
        os.environ[STARTED] = time.strftime("%Y%m%d-%H%M%S")
    network = config["model"]["init_args"]["network"]["class_path"].rsplit(".", 1)[-1].lower()
    return Path("runs") / f"{network}-{os.environ[STARTED]}"


def is_whole(path: Path) -> bool:
    """Is ``path`` a checkpoint of genraven without a byte missing or changed?"""
    try:
        with open_regular(path) as file, zipfile.ZipFile(file) as archive:
            if unlike_torch(archive.infolist()) or archive.testzip() is not None:
                return False
        read_checkpoint(path)
    except OSError as error:
        if error.errno not in (None, errno.EINVAL):  # not its contents: going on without it would lose a good one
            raise InputError(
                f"expected a checkpoint that can be read, got {path} ({error.strerror}): check its file system."
            ) from None
        return False
    except (zipfile.BadZipFile, EOFError, RuntimeError, ValueError):
        return False
    return True


def read_checkpoint(path: Path) -> dict[str, Any]:
    """The contents of a checkpoint, or of an exported model by the path of its weights; nothing in it is executed.

    Raises:
        InputError: no such file, or none that genraven wrote.
    """
    if path.name == WEIGHTS:
        return read_export(path.parent)
    try:
        with open_regular(path) as file, zipfile.ZipFile(file) as archive:
            if reason := unlike_torch(archive.infolist()):
                raise ValueError(reason)
        checkpoint = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except (OSError, pickle.UnpicklingError, RuntimeError, EOFError, ValueError, zipfile.BadZipFile) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is torn, or no checkpoint"
        raise InputError(f"expected a run folder or a checkpoint of one, got {path} ({reason}): give a folder that "
                         "`genraven fit` wrote.") from None  # fmt: skip
    config = checkpoint.get("genraven_config") if isinstance(checkpoint, dict) else None
    if not isinstance(config, dict) or not is_plain(config):
        raise InputError(
            f"expected a checkpoint that `genraven fit` wrote, got {path}, without a config: train it anew."
        )
    return checkpoint


def find_checkpoint(run: Path | str) -> Path:
    """The checkpoint meant by a path: itself, the newest of a run folder, or the weights of an exported model.

    Raises:
        InputError: there is none, or it is a folder of shards.
    """
    run = Path(run)
    if not is_run(run):
        refuse_shards(run)
    if not run.is_dir():
        return run
    if is_export(run):
        return run / WEIGHTS
    newest = RunFolder(run).newest_whole()
    if newest is None:
        where = RunFiles(run).checkpoints.name
        if RunFiles(run.parent).checkpoints == run and step_checkpoints(run):
            raise InputError(f"expected a run folder, got its {where}: give {run.parent}, or a checkpoint in {run}.")
        inner = [] if is_run(run) else sorted(path for path in run.iterdir() if path.is_dir() and is_run(path))
        trained = next((path for path in inner if step_checkpoints(RunFiles(path).checkpoints)), None)
        instead = f"name a run in it, such as {trained}" if trained else "train it first"
        raise InputError(f"expected a run folder with {where}/{STEP_NAMES}, got {run} without a complete checkpoint: "
                         f"{instead}.")  # fmt: skip
    return newest


def given_checkpoint(path: Path | str | None, *, exported: bool = False) -> str | None:
    """The checkpoint that an option names, if any.

    Args:
        path: value of the option.
        exported: may it be an exported model?

    Raises:
        InputError: there is none, or it is an exported model.
    """
    if not path:
        return None
    found = find_checkpoint(path)
    if found.name == WEIGHTS and not exported:
        raise InputError(f"expected a run folder or a checkpoint for --ckpt_path, got the exported {found}: "
                         "give it to --init-from, or to `genraven evaluate`.")  # fmt: skip
    return str(found.absolute())
