"""Runs of a sweep on this machine, some at a time."""

import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from genraven.console import say
from genraven.installation import command
from genraven.process import process_note
from genraven.run_folder import RunFiles
from genraven.signals import handled_signals
from launch.configs.plugins import plugin_options
from launch.jobs.at_work import RunsAtWork
from launch.processes.launcher import shared_environment
from launch.runs.status import read_status

GRACE_S, POLL_S = 60, 0.2


@dataclass
class Child:
    """One run at work."""

    folder: Path
    slot: int
    process: subprocess.Popen[bytes]


def visible_gpus() -> list[str]:
    """Those that this process may use, by the names that CUDA_VISIBLE_DEVICES takes."""
    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    if named is not None:
        return [name for name in named.split(",") if name]
    import torch

    return [str(i) for i in range(torch.cuda.device_count())]


def run_queue(folders: list[Path], code: Path, num_at_once: int) -> int:
    """Trains ``folders`` in turn, ``num_at_once`` together, each on a GPU of its own while there are enough.

    How far they are is shown on stderr.

    Ctrl-C, TERM or a closed terminal asks the runs at work to save and ends them; the same sweep goes on from there.

    Returns:
        0 when all finished, 1 when some did not.
    """
    gpus, waiting, tally = visible_gpus(), list(folders), Tally(len(folders))
    free, children, asked = list(range(num_at_once)), list[Child](), list[int]()
    with (
        handled_signals(lambda number, _: asked.append(number), signal.SIGINT),
        _ended(children, asked),
        RunsAtWork(folders) as shown,
    ):
        while waiting or children:
            if asked:
                raise KeyboardInterrupt
            while waiting and free:
                folder, slot = waiting.pop(0), free[0]
                try:
                    if _is_taken(folder):
                        tally.elsewhere(folder)
                        continue
                    children.append(_start(folder, code, slot, surroundings(slot, gpus, num_at_once)))
                    free.remove(slot)
                except OSError as error:  # such as a folder that was removed meanwhile: the others can do without it
                    tally.failed(folder, f"not started: {error.filename or folder} ({error.strerror})")
            shown.renew(child.folder for child in children)
            time.sleep(POLL_S)
            for child in [child for child in children if child.process.poll() is not None]:
                children.remove(child)
                free.append(child.slot)
                tally.ended(child)
    return int(tally.num_failed > 0)


def _is_taken(folder: Path) -> bool:
    """Does somebody else train this run? Not where its folder cannot be read: then to start it tells why."""
    return read_status(folder, {}).is_busy


class Tally:
    """What was said of runs that need no more care.

    Args:
        total: runs of the sweep.
    """

    def __init__(self, total: int) -> None:
        self.total, self.num, self.num_failed = total, 0, 0

    def ended(self, child: Child) -> None:
        """Of a run whose process has ended."""
        code = child.process.returncode
        if code == 0:
            self._say(child.folder, "finished")
        elif _is_taken(child.folder):  # begun by somebody else while this process was starting
            RunFiles(child.folder).job.refusal.unlink(missing_ok=True)
            self.elsewhere(child.folder)
        else:
            self.failed(child.folder, f"ended with exit code {code}: see {RunFiles(child.folder).job.local_log}")

    def elsewhere(self, folder: Path) -> None:
        """Of a run that somebody else has begun."""
        self._say(folder, "at work elsewhere")

    def failed(self, folder: Path, outcome: str) -> None:
        """Of a run that did not finish."""
        self.num_failed += 1
        self._say(folder, outcome)

    def _say(self, folder: Path, outcome: str) -> None:
        self.num += 1
        say(f"{self.num}/{self.total} {folder.name}: {outcome}")


def surroundings(slot: int, gpus: list[str], num_at_once: int) -> dict[str, str]:
    """The environment of the run in ``slot``: its fraction of the cores, and a GPU."""
    return shared_environment(num_at_once) | ({"CUDA_VISIBLE_DEVICES": gpus[slot % len(gpus)]} if gpus else {})


def _start(folder: Path, code: Path, slot: int, environment: dict[str, str]) -> Child:
    files = RunFiles(folder).job
    environment["GENRAVEN_REFUSAL"] = str(files.refusal)
    words = [*command(code), "fit", "-c", str(files.config), "--run_dir", str(folder)]
    with files.local_log.open("ab") as log:
        # In a session of its own, so that Ctrl-C comes to the children through _end only, once.
        process = subprocess.Popen([*words, *plugin_options()], stdin=subprocess.DEVNULL, stdout=log,
                                   stderr=subprocess.STDOUT, env=environment, start_new_session=True)  # fmt: skip
    note = {"job": None, **process_note(process.pid)}
    with suppress(OSError):  # no room: the run says by itself what it is
        files.note.write_text(json.dumps(note, indent=2) + "\n")
    return Child(folder, slot, process)


@contextmanager
def _ended(children: list[Child], asked: list[int]) -> Iterator[None]:
    """Asks what still runs after the block to save and end.

    What has not within ``GRACE_S``, or at a second Ctrl-C, is killed.
    """
    try:
        yield
    finally:
        for child in children:
            _kill(child, signal.SIGTERM)
        deadline, asked[:] = time.monotonic() + GRACE_S, []
        while any(child.process.poll() is None for child in children):
            if time.monotonic() > deadline or signal.SIGINT in asked:
                for child in children:
                    _kill(child, signal.SIGKILL)
            time.sleep(POLL_S)


def _kill(child: Child, number: signal.Signals) -> None:
    if child.process.poll() is None:
        with suppress(ProcessLookupError):  # it has ended meanwhile
            os.killpg(child.process.pid, number)
