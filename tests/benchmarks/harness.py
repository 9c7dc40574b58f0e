"""Two ways of doing the same, measured in turn in one process, and the table of what came out."""

import os
import platform
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import lightning as L
import torch

STEPS, WARM_UP = 120, 20  # of a training that is timed
DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
Work = Callable[[], float]
"""Does some work; returns how many units of it."""


@dataclass(frozen=True)
class Row:
    """One line of the table.

    Args:
        what: is measured.
        unit: in which ``ours`` and ``peer`` count.
        ours, peer: work, of one kind but perhaps of different amounts.
        against: what the peer is.
        goal: the least ratio aimed for; None where there is none.
        rounds: of ours and peer in turn, after one of each that does not count.
        is_rate: the works return units a second that they have measured themselves.
    """

    what: str
    unit: str
    ours: Work
    peer: Work | None = None
    against: str = ""
    goal: float | None = None
    rounds: int = 7
    is_rate: bool = False

    def measure(self) -> str:
        """The line, in Markdown."""
        rates: list[list[float]] = [[], []]
        works = [self.ours] + ([self.peer] if self.peer else [])
        for counts in [False] + self.rounds * [True]:
            for work, found in zip(works, rates, strict=False):
                start = time.perf_counter()
                units = work()
                if DEVICE.type == "cuda":
                    torch.cuda.synchronize()
                if counts:
                    found.append(units if self.is_rate else units / (time.perf_counter() - start))
        ours, peer = rates
        cells = [self.what, self.unit, shown(statistics.median(ours))]
        if peer:
            ratios = [a / b for a, b in zip(ours, peer, strict=True)]
            low, _, high = statistics.quantiles(ratios, n=4) if len(ratios) > 1 else 3 * ratios
            cells += [self.against, shown(statistics.median(peer)), f"{shown(statistics.median(ratios))}x "
                      f"({shown(low)} to {shown(high)})", f"{self.goal:g}x" if self.goal else ""]  # fmt: skip
        else:
            cells += ["", "", "", ""]
        return f"| {' | '.join(cells)} |"


HEADER = """| what | unit | ours | peer | peer's | ratio (quartiles) | goal |
|---|---|---|---|---|---|---|"""


def shown(number: float) -> str:
    """Three digits, or more where they stand before the point."""
    return f"{number:,.0f}" if number >= 100 else f"{number:.3g}"


def machine() -> str:
    """What ran: processor, cores, GPU, torch."""
    model = platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        names = [line.partition(":")[2].strip() for line in cpuinfo.read_text().splitlines() if "model name" in line]
        model = names[0] if names else model
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else "no GPU"
    cores = len(os.sched_getaffinity(0))
    return f"{model}, {cores} cores, {gpu}, torch {torch.__version__}, {torch.get_num_threads()} threads"


class Clock(L.Callback):
    """Times a training's steps after the first ones."""

    seconds = 0.0

    def on_train_batch_end(self, trainer: L.Trainer, *_: object) -> None:
        """Starts and stops."""
        if trainer.global_step == WARM_UP:
            Clock.seconds = -time.perf_counter()
        elif trainer.global_step == STEPS:
            Clock.seconds += time.perf_counter()
