"""A Python that starts at once: its processes are forked from one on the same node that has imported everything.

``warm.py serve FOLDER`` waits on each node for ``warm.py start FOLDER ... genraven ARGUMENTS``, in whose place, with
whose output and environment, the forked process then runs ``genraven ARGUMENTS``. Signals are handed on to it; it dies
with the one it stands for, and the other way round, of the same signal.
"""

import os
import platform
import select
import signal
import socket
import struct
import sys
import time
from contextlib import suppress
from pathlib import Path

HANDED_ON = (signal.SIGUSR1, signal.SIGUSR2, signal.SIGTERM, signal.SIGHUP)
START_S = 60.0
ENVIRONMENT_BYTES = 1 << 20


def address(folder: str) -> str:
    return f"{folder}/warm-{platform.node()}"


def start(folder: str, arguments: list[str]) -> int:
    """The status of the process that the server forks."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as server:
        deadline = time.monotonic() + START_S
        while True:
            try:
                server.connect(address(folder))
                break
            except OSError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.1)
        for number in HANDED_ON:
            signal.signal(number, lambda number, frame: server.send(bytes([number])))
        words = "\n".join(arguments), "\0".join(f"{key}={value}" for key, value in os.environ.items()), str(Path.cwd())
        socket.send_fds(server, ["\1".join(words).encode()], [1, 2])
        (status,) = struct.unpack("i", server.recv(4))
    if status < 0:
        if -status in HANDED_ON:
            signal.signal(-status, signal.SIG_DFL)
        os.kill(os.getpid(), -status)
    return status


def serve(folder: str) -> None:
    import torch

    torch.set_num_threads(1)
    import launch.training.command  # noqa: F401

    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for them
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listener:
        with suppress(FileNotFoundError):
            Path(address(folder)).unlink()
        listener.bind(address(folder))
        listener.listen(64)
        while True:
            client, _ = listener.accept()
            if not os.fork():
                listener.close()
                mind(client)
                os._exit(0)
            client.close()


def mind(client: socket.socket) -> None:
    """Forks the process that ``client`` wants, and minds it until one of them ends."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    words, outputs, *_ = socket.recv_fds(client, ENVIRONMENT_BYTES, 2)
    child = os.fork()
    if not child:
        client.close()
        become(*words.decode().split("\1"), outputs)
    ended = os.pidfd_open(child)
    while ended not in select.select([client, ended], [], [])[0]:
        message = client.recv(1)
        os.kill(child, message[0] if message else signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    with suppress(OSError):
        client.send(struct.pack("i", os.waitstatus_to_exitcode(status)))


def become(arguments: str, environment: str, directory: str, outputs: list[int]) -> None:
    """Runs the command, and ends."""
    for number, output in zip((1, 2), outputs, strict=True):
        os.dup2(output, number)
    os.chdir(directory)
    os.environ.clear()
    os.environ |= dict(item.split("=", 1) for item in environment.split("\0"))
    import torch

    torch.set_num_threads(1)  # makes the forked pool anew: several threads that did so at once would fail
    from launch.cli import main

    sys.exit(main(arguments.split("\n")))


if __name__ == "__main__":
    if sys.argv[1] == "serve":
        serve(sys.argv[2])
    else:
        sys.exit(start(sys.argv[2], sys.argv[sys.argv.index("genraven") + 1 :]))
