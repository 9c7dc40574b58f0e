"""A Python that starts at once: its processes are forked from one that has imported the heavy libraries already.

``warm.py FOLDER`` waits on each node for what stands in FOLDER for Python (``stand_in``) and is called with
words: those of a script, a module or code. The forked process runs it with the output, environment, folder and
blocked signals of the one it stands for; our own packages it imports by itself, from where its path finds them.
Signals are handed on to it; it dies with the one it stands for, and the other way round, of the same signal.

It differs from a Python of its own in its number, its session and in that hashes of words are alike in all.
"""

import gc
import importlib
import json
import os
import runpy
import select
import signal
import socket
import struct
import sys
import time
from contextlib import suppress
from pathlib import Path

HEAVY = ("lightning.pytorch.cli", "lightning.pytorch.loggers", "torch.utils.tensorboard", "torchmetrics")
KNOWN = {"PYTHONPATH", "PYTHONUNBUFFERED", "PYTHONDONTWRITEBYTECODE", "PYTHON_EXEC"}
"""Heeded, or as in the tests' own process."""
HANDED_ON = (signal.SIGINT, signal.SIGUSR1, signal.SIGUSR2, signal.SIGTERM, signal.SIGHUP)
START_S = 60.0
LOOK_S = 5.0
MESSAGE_BYTES = 1 << 20


STAND_IN = """#!{python} -S
import sys
sys.path.insert(0, {here!r})
import warm
sys.exit(warm.start(__file__, {folder!r}, sys.argv[1:]))
"""


def stand_in(folder: Path) -> str:
    """Makes the file that stands for Python where ``folder`` is served."""
    python = folder / "python"
    python.write_text(STAND_IN.format(python=sys.executable, here=str(Path(__file__).parent), folder=str(folder)))
    python.chmod(0o755)
    return str(python)


def address(folder: str) -> str:
    return f"{folder}/warm-{socket.gethostname()}"


def is_ours(words: list[str]) -> bool:
    """Not where Python itself is told something as it starts: by an option but -P and -u, or by the environment."""
    told = {name for name in os.environ if name.startswith("PYTHON")} - KNOWN
    return not told and bool(words) and (words[0] in ("-P", "-u", "-m", "-c") or not words[0].startswith("-"))


def start(python: str, folder: str, words: list[str]) -> int:
    """The status of the process that the server forks."""
    if not is_ours(words):
        os.execv(sys.executable, [sys.executable, *words])
    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, HANDED_ON)
    ignored = [number for number in HANDED_ON if signal.getsignal(number) == signal.SIG_IGN]
    message = [python, words, dict(os.environ), str(Path.cwd()), [*blocked], ignored]
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as server:

        def hand_on(number: int, frame: object) -> None:
            with suppress(OSError):  # it has ended
                server.send(bytes([number]))

        deadline = time.monotonic() + START_S
        while server.connect_ex(address(folder)):
            assert time.monotonic() < deadline, f"nobody serves {address(folder)}"
            time.sleep(0.1)
        socket.send_fds(server, [json.dumps(message).encode()], [0, 1, 2])
        for number in {*HANDED_ON} - {*ignored}:
            signal.signal(number, hand_on)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, HANDED_ON)
        (status,) = struct.unpack("i", server.recv(4))
    if status < 0:
        with suppress(OSError):  # SIGKILL has no handler
            signal.signal(-status, signal.SIG_DFL)
        os.kill(os.getpid(), -status)
    return status


def serve(folder: str) -> None:
    """Until the process that started this one has ended."""
    for name in HEAVY:
        importlib.import_module(name)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for them
    gc.collect()
    gc.freeze()  # a collection in a forked process would copy all that it looks at
    parent = os.getppid()
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listener:
        with suppress(FileNotFoundError):
            Path(address(folder)).unlink()
        listener.bind(address(folder))
        listener.listen(64)
        listener.settimeout(LOOK_S)
        while os.getppid() == parent:
            try:
                client, _ = listener.accept()
            except TimeoutError:
                continue
            if not os.fork():
                listener.close()
                mind(client)
                os._exit(0)
            client.close()


def mind(client: socket.socket) -> None:
    """Forks the process that ``client`` wants, and minds it until one of them ends."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    text, streams, *_ = socket.recv_fds(client, MESSAGE_BYTES, 3)
    python, words, environment, folder, blocked, ignored = json.loads(text)
    signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
    child = os.fork()
    if not child:
        client.close()
        for number, stream in enumerate(streams):
            os.dup2(stream, number)
            os.close(stream)
        for number in ignored:
            signal.signal(number, signal.SIG_IGN)
        os.setsid()
        os.chdir(folder)
        os.environ.clear()
        os.environ |= environment
        sys.executable = python  # so that what it starts itself starts at once, too
        run(words)
        sys.exit()
    for stream in streams:
        os.close(stream)
    ended = os.pidfd_open(child)
    while ended not in select.select([client, ended], [], [])[0]:
        message = client.recv(1)
        os.kill(child, message[0] if message else signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    with suppress(OSError):
        client.send(struct.pack("i", os.waitstatus_to_exitcode(status)))


def run(words: list[str]) -> None:
    """Does what ``python WORDS...`` does."""
    import torch

    # Also makes the forked pool of threads anew: several threads that did so at once would fail.
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
    if words[0] in ("-P", "-u"):  # -P: genraven removes the first of the path itself where this is not given
        words = words[1:]
    kind = words.pop(0) if words[0] in ("-c", "-m") else "file"
    what, sys.argv = words[0], [kind, *words[1:]]
    first = {"file": str(Path(what).resolve().parent), "-m": str(Path.cwd()), "-c": ""}[kind]
    theirs = [str(Path(path).absolute()) for path in os.environ.get("PYTHONPATH", "").split(os.pathsep) if path]
    sys.path[:] = [first, *theirs, *sys.path[1:]]  # the first was this file's
    if kind == "-c":
        exec(compile(what, "<string>", "exec"), {"__name__": "__main__"})
    elif kind == "-m":
        runpy.run_module(what, run_name="__main__", alter_sys=True)
    else:
        runpy.run_path(what, run_name="__main__")


if __name__ == "__main__":
    serve(sys.argv[1])
