"""``genraven launch``: the processes of one run on this machine, for a node without a scheduler."""

import argparse
import os
import signal
import socket
import subprocess
import tempfile
import time
from contextlib import ExitStack
from types import FrameType
from typing import IO

from genraven.console import say
from genraven.errors import InputError
from genraven.installation import command
from genraven.paths import user_path
from genraven.process import num_cpus
from genraven.run_folder import RunFiles, step_checkpoints
from genraven.signals import REQUEUE, SIGNALS, handled_signals
from launch.arguments import first_option
from launch.configs.plugins import plugin_options
from launch.processes.started_by import tasks
from launch.schedulers.scheduler import BY_HAND, RANKS

FINISHED, BAD_INPUT, INTERRUPTED = 0, 2, 130
CRASH_GRACE_S = 5.0
"""Time for the others to end by themselves after one has failed: they cannot go on without it."""
LEAVE_GRACE_S = 60.0
"""The same after one has ended well, or has saved and left."""
POLL_S = 0.1
TAIL_LINES = 20
HERE = {
    "trainer.devices": "--devices of genraven launch to say how many processes there are",
    "trainer.num_nodes": "one machine, which genraven launch is for",
}
"""What decides options of the trainer."""


def launch(options: argparse.Namespace) -> int:
    """Runs ``fit`` or ``evaluate`` on devices, again as often as allowed while it makes progress; the exit status."""
    arguments, run_dir = options.arguments, option_value(options.arguments, "--run_dir")
    if arguments[0] not in ("fit", "evaluate"):
        raise InputError(f"expected fit or evaluate after --, got {arguments[0]}: genraven launch --devices 8 "
                         "-- fit ...")  # fmt: skip
    if options.devices < 1 or options.max_restarts < 0:
        raise InputError(f"expected --devices of 1 or more and --max-restarts of 0 or more, got {options.devices} and "
                         f"{options.max_restarts}.")  # fmt: skip
    if option := first_option(arguments, HERE):
        raise InputError(f"expected {HERE[option.removeprefix('--')]}, got {option}: leave it out.")
    if options.max_restarts and arguments[0] != "fit":
        raise InputError(f"expected --max-restarts with fit, got it with {arguments[0]}, which goes on from no "
                         "checkpoint: leave it out.")  # fmt: skip
    if options.max_restarts and run_dir is None:
        raise InputError("expected --run_dir with --max-restarts, got none: name the folder that a restart goes on in.")
    for restarts in range(options.max_restarts + 1):
        before = newest_checkpoint(run_dir)
        ranks = Ranks(arguments, options.devices)
        status = ranks.wait()
        if status in (FINISHED, BAD_INPUT, INTERRUPTED) or ranks.asked_to_stop or restarts == options.max_restarts:
            break
        if restarts and newest_checkpoint(run_dir) == before:  # as a job script decides
            _announce(f"status {status}, no new checkpoint since the last restart: not started again")
            break
        _announce(f"status {status}, starting again: {restarts + 1} of at most {options.max_restarts}")
    return status


def option_value(arguments: list[str], option: str) -> str | None:
    """What the last ``option`` in ``arguments`` says."""
    value = None
    for i, argument in enumerate(arguments):
        if argument == option and i + 1 < len(arguments):
            value = arguments[i + 1]
        elif argument.startswith(f"{option}="):
            value = argument.partition("=")[2]
    return value


def newest_checkpoint(run_dir: str | None) -> str | None:
    """The name of the newest checkpoint of a run."""
    if run_dir is None:
        return None
    return next((path.name for path in step_checkpoints(RunFiles(user_path(run_dir)).checkpoints).values()), None)


def shared_environment(num: int) -> dict[str, str]:
    """The environment of each of ``num`` processes that share the cores that this one may use."""
    others = {*BY_HAND, *RANKS, *tasks()}  # what says with whom this process was started
    environment = {key: value for key, value in os.environ.items() if key not in others}
    environment.setdefault("OMP_NUM_THREADS", str(num_cpus(num)))
    return environment


def _announce(text: str) -> None:
    """Prints a decision of the launcher."""
    say(f"genraven launch: {text}", error=True)


class Ranks:
    """The processes of one run. The first writes to this one's output; another's is shown when it fails first.

    SIGUSR1, SIGUSR2, SIGTERM, SIGHUP and Ctrl-C are handed on to all; a second Ctrl-C kills them.

    Args:
        arguments: of ``genraven``.
        num: processes.
    """

    def __init__(self, arguments: list[str], num: int) -> None:
        self.asked_to_stop = self._interrupted = False
        self._processes: list[subprocess.Popen[bytes]] = []
        self._outputs: list[IO[bytes] | None] = []
        self._handling = ExitStack()
        self._handling.enter_context(handled_signals(self._hand_on, signal.SIGINT))
        trains = arguments[0] == "fit"
        # Held back in the new processes until they can note them, as a training does; see noted_signals.
        blocked = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS if trains else ())
        try:
            trainer = [f"--trainer.devices={num}", "--trainer.num_nodes=1"] if trains else []
            self._start([*arguments, *trainer], num)
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, blocked)

    def _start(self, arguments: list[str], num: int) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        common = shared_environment(num)
        common.setdefault("GENRAVEN_STARTED", time.strftime("%Y%m%d-%H%M%S"))
        common |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "NODE_RANK": "0"}
        for rank in range(num):
            output = tempfile.TemporaryFile() if rank else None  # noqa: SIM115
            self._outputs.append(output)
            self._processes.append(
                subprocess.Popen(
                    [*command(), *arguments, *plugin_options()],
                    env=common | {"LOCAL_RANK": str(rank), "RANK": str(rank), "WORLD_SIZE": str(num)},
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=subprocess.STDOUT if output else None,
                    start_new_session=True,  # Ctrl-C reaches them from here only
                )
            )

    def _hand_on(self, number: int, frame: FrameType | None) -> None:
        self.asked_to_stop = True
        for process in self._processes:
            process.send_signal(signal.SIGKILL if self._interrupted else number)
        self._interrupted |= number == signal.SIGINT

    def wait(self) -> int:
        """Waits for all; once one has ended the others have little time left. The status of them together."""
        try:
            while all(process.poll() is None for process in self._processes):
                time.sleep(POLL_S)
            first = next(i for i, process in enumerate(self._processes) if process.poll() is not None)
            well = self._processes[first].returncode in (FINISHED, REQUEUE)
            deadline = time.monotonic() + (LEAVE_GRACE_S if well else CRASH_GRACE_S)
            while any(process.poll() is None for process in self._processes) and time.monotonic() < deadline:
                time.sleep(POLL_S)
            failed = cause([process.poll() for process in self._processes], first)
        finally:
            for process in self._processes:
                if process.poll() is None:
                    process.kill()
                    process.wait()
            self._handling.close()
        codes = [process.returncode for process in self._processes]
        if not well and codes[0] not in (BAD_INPUT, INTERRUPTED):  # then the first has said all there is to say
            self._tell(failed)
        return joint_status(codes, failed)

    def _tell(self, rank: int) -> None:
        """Says which process failed first, with the end of its output where that was not shown."""
        code, output = self._processes[rank].returncode, self._outputs[rank]
        how = f"was ended by {signal.Signals(-code).name}" if code < 0 else f"ended with status {code}"
        _announce(f"process {rank} of {len(self._processes)} {how}")
        if output is not None:
            output.seek(0)
            lines = output.read().decode(errors="replace").splitlines()
            say("\n".join(f"[{rank}] {line}" for line in lines[-TAIL_LINES:]), error=True)


def cause(codes: list[int | None], first: int) -> int:
    """Which process the others failed of: ``first``, seen to end before all others, unless a signal ended another.

    The others fail within moments, so what is seen first is not always what came first. No process is killed because
    others have failed, but by this launcher, whose ``codes`` here are None; a library may abort of it.
    """
    killed = [i for i, code in enumerate(codes) if code is not None and code < 0 and code != -signal.SIGABRT]
    return first if first in killed else next(iter(killed), first)


def joint_status(codes: list[int], failed: int) -> int:
    """One exit status of processes that ended with ``codes``, of which number ``failed`` was the cause."""
    for status in (BAD_INPUT, INTERRUPTED):  # the others fail of it in one way or another
        if status in codes:
            return status
    if set(codes) <= {FINISHED, REQUEUE}:
        return max(codes)
    code = next(codes[i] for i in (failed, *range(len(codes))) if codes[i] not in (FINISHED, REQUEUE))
    return code if code > 0 else 128 - code
