"""Processes of runs, forked from one that has imported and made what all need: a start takes a moment, not seconds.

Run as a script with the beginning of the names of log files; each line of stdin is JSON of [number of processes,
arguments of genraven, and the name of one of CHANGED, if any], and answered by the list of their exit codes.
"""

import gc
import json
import multiprocessing.connection
import os
import socket
import sys
import time
from collections.abc import Callable
from pathlib import Path

TIMEOUT_S = 90.0
GRACE_S = 3.0  # for the others when one has ended


def look_late(number: int) -> None:
    """Processes but the first look at a checkpoint only when the first has renamed the torn one."""
    look = launch.runs.folder.is_whole

    def late(path: Path) -> bool:
        deadline = time.monotonic() + 20
        while number and not list(path.parent.glob("*.torn")) and time.monotonic() < deadline:
            time.sleep(0.02)
        return look(path)

    launch.runs.folder.is_whole = late


def verify_late(number: int) -> None:
    """The first process verifies the data when the other has opened them."""
    prepare = GenRAVENDataModule.prepare_data

    def late(data: GenRAVENDataModule) -> None:
        time.sleep(2)
        prepare(data)

    GenRAVENDataModule.prepare_data = late


def choose_unlike(number: int) -> None:
    """The processes' devices suit unlike precisions."""
    launch.training.resolve.default_precision = lambda accelerator: ("bf16-mixed", "32-true")[number]


def fail_alone(method: str) -> Callable[[int], None]:
    """The second process alone fails in this method of the data module, or function of the training."""

    def change(number: int) -> None:
        def fail(self: object, *arguments: object) -> None:
            raise InputError(f"expected a good disk, got one that fails in {method}")

        owner = next(each for each in (GenRAVENDataModule, launch.training.train) if hasattr(each, method))
        if number:
            setattr(owner, method, fail)

    return change


CHANGED = {
    "look": look_late,
    "verify": verify_late,
    "precision": choose_unlike,
    "data": fail_alone("wait_for_data"),
    "checkpoint": fail_alone("check_checkpoint"),
}


def rank(number: int, port: int, arguments: list[str], log: str, change: str | None) -> None:
    """One process of a run."""
    if change:
        CHANGED[change](number)
    output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(output, 1)
    os.dup2(output, 2)
    os.environ |= {"LOCAL_RANK": str(number), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    sys.exit(main(arguments))


def start(num: int, arguments: list[str], change: str | None = None) -> list[int]:
    """Exit codes of all processes of one start, killed when they take too long."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [*arguments, f"--trainer.devices={num}"]
    context = multiprocessing.get_context("fork")
    processes = [context.Process(target=rank, args=(n, port, command, f"{LOG}-{n}.txt", change)) for n in range(num)]
    for process in processes:
        process.start()
    multiprocessing.connection.wait([process.sentinel for process in processes], TIMEOUT_S)
    deadline = time.monotonic() + GRACE_S
    for process in processes:
        process.join(max(0.0, deadline - time.monotonic()))
        if process.exitcode is None:
            process.kill()
            process.join()
    return [process.exitcode for process in processes]


if __name__ == "__main__":
    LOG = sys.argv[1]
    import torch

    torch.set_num_threads(1)
    import blocks

    import genraven.puzzles.generate
    import launch.runs.folder
    import launch.training.resolve
    import launch.training.train
    from datamodules import GenRAVENDataModule
    from genraven.errors import InputError
    from genraven.puzzles.generate import generate
    from genraven.puzzles.render import render_sheet
    from genraven.puzzles.spec import NUM_RULES, RULE_ID
    from launch.cli import main

    genraven.puzzles.generate._block = blocks.block
    render_sheet(torch.cat([generate(rule, 0, 8) for rule in range(NUM_RULES)]), 8)  # else each would make its tables
    for name in ("shape.constant", "size.constant", "color.constant"):  # those of data/demo.yaml
        for split in ("val", "test"):
            generate(RULE_ID[name], 0, 1, split=split)

    gc.collect()
    gc.freeze()  # a collection in a forked process would copy all that it looks at
    for line in sys.stdin:
        print(json.dumps(start(*json.loads(line))), flush=True)
