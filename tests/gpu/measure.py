"""What a GPU gives, in six minutes: `python tests/gpu/measure.py`, or `make measure-gpu`.

Each row is printed as a line of JSON the moment it is known, so that a cut leaves what was measured. A row that fails
says why, and one for which no time is left says so. Rows that matter most come first. What compilers make is kept in
--cache, where another time finds it.

`--small` measures tiny presets on a CPU, a few steps each: that the script runs, no more.
"""

import argparse
import contextlib
import copy
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

sys.path.insert(0, str(Path(__file__).parent))
from attention_clock import attention_ms
from bare_loop import bare_steps_per_s
from steps_clock import SAID, StepsClock, now

from genraven.networks.compiling import COMPILATIONS, compile_blocks
from genraven.networks.transformer import Transformer
from launch.cli import main as genraven
from lightning_modules import AutoregressiveModule

HERE = Path(__file__).parent
LENGTHS = (0, 20, 40, 60, 80)
"""Of what stands before a cell, at which the peer of sampling is measured; the others lie between."""
NEEDS_GPU = "needs a GPU"


@dataclass(frozen=True)
class Size:
    """How much is measured."""

    dit: str
    mdm: str
    gpt2: str
    relational: tuple[str, ...]
    batch: int
    first: int
    last: int
    """Steps between which is measured."""
    samples: int
    width: int
    """Of the network that samples."""


LARGE = Size("dit_s", "mdm_s", "gpt2_base_joint",
             ("relational_ar_s", "relational_mdm_s", "relational_sit_onehot_s"), 256, 20, 120, 4096, 384)  # fmt: skip
SMALL = Size("dit_tiny", "mdm_tiny", "gpt2_tiny", ("relational_mdm_tiny",), 4, 1, 3, 2, 24)


@dataclass(frozen=True)
class Machine:
    """Where it is measured, and what is there."""

    size: Size
    device: torch.device
    cache: Path

    @property
    def is_gpu(self) -> bool:
        """Are there kernels, graphs and a compiler that pays?"""
        return self.device.type == "cuda"

    def fit(self, preset: str, compilation: str, folder: Path, *more: str) -> list[str]:
        """The command of a training that validates nothing."""
        trainer = "gpu" if self.is_gpu else "cpu"
        return ["fit", "-c", f"model/{preset}.yaml", "-c", "data/demo.yaml", "-c", f"trainer/{trainer}.yaml",
                "--compile", compilation, "--data.global_batch_size", str(self.size.batch),
                "--trainer.max_steps", str(self.size.last), "--trainer.limit_val_batches", "0",
                "--trainer.log_every_n_steps", str(self.size.last), "--data.samples_per_rule", "1000",
                "--trainer.enable_model_summary", "false", "--run_dir", str(folder / "run"), *more]  # fmt: skip


Found = dict[str, Any]
Measure = Callable[[Machine], Found]


@dataclass(frozen=True)
class Row:
    """One thing that is measured."""

    name: str
    measure: Measure
    needs_gpu: bool = False
    aim: float | None = None


def training(preset: str, compilation: str) -> Measure:
    """Optimizer steps a second under the trainer, with all that watches a run."""

    def measure(at: Machine) -> Found:
        with tempfile.TemporaryDirectory() as folder:
            clock = ("--trainer.callbacks+=steps_clock.StepsClock", f"--trainer.callbacks.first={at.size.first}",
                     f"--trainer.callbacks.last={at.size.last}")  # fmt: skip
            _run(at.fit(preset, compilation, Path(folder), "--model.ema_decay", "0.9999", *clock))
            summary = json.loads((Path(folder) / "run" / "summary.json").read_text())
        steps = at.size.last - at.size.first
        return {"value": steps / StepsClock.seconds, "unit": "steps/s", "preset": preset, "compile": compilation,
                "batch": at.size.batch, "precision": summary["precision"],
                "compile_seconds": summary.get("compile_seconds")}  # fmt: skip

    return measure


def _run(command: list[str]) -> None:
    with contextlib.redirect_stdout(sys.stderr):
        status = genraven(command)
    if status:
        raise RuntimeError(f"genraven {' '.join(command)} ended with {status}")


def bare_loop(preset: str, compilation: str) -> Measure:
    """``fit`` against a loop of the same step, clipping, optimizer and averages without a trainer."""

    def measure(at: Machine) -> Found:
        under = training(preset, compilation)(at)
        alone = bare_steps_per_s(preset, compilation, at.device, at.size.batch, at.size.first, at.size.last)
        return under | {"value": under["value"] / alone, "unit": "ratio", "fit": under["value"], "bare": alone}

    return measure


def sampling(at: Machine) -> Found:
    """Puzzles a second of GPT-2 small, against reading the whole prefix for each cell, eager, in float32."""
    num, width = at.size.samples, at.size.width
    network = Transformer(width=width, depth=12 if at.is_gpu else 1, num_heads=6, head="joint")
    plain = copy.deepcopy(network).to(at.device).eval()
    module = AutoregressiveModule(network).to(at.device).eval()
    if at.is_gpu:
        compile_blocks(module.network)
    cells = torch.randint(0, 8, (num, 80, 3), device=at.device)
    rates, recorded = [], 0.0
    with torch.no_grad():
        for counts in (False, True, True):
            start = now(at.device)
            with torch.autocast(at.device.type, torch.bfloat16, enabled=at.is_gpu):
                module.generate(num)
            taken = now(at.device) - start
            rates, recorded = ([*rates, num / taken], recorded) if counts else (rates, taken)
        plain(cells[:, :40])
        start = now(at.device)
        for length in LENGTHS:
            plain(cells[:, :length])[:, -1].softmax(-1).multinomial(1)
        peer = num * len(LENGTHS) / 81 / (now(at.device) - start)
    return {"value": max(rates) / peer, "unit": "ratio", "puzzles_per_s": max(rates), "peer_puzzles_per_s": peer,
            "num": num, "first_s": recorded}  # fmt: skip


def attention(at: Machine) -> Found:
    """Milliseconds of the fastest attention at the sizes of DiT-S, there and back, and of each kernel."""
    found = attention_ms((at.size.batch, 6, 81, at.size.width // 6), at.device, at.size.last)
    served = {name: ms for name, ms in found.items() if ms is not None}
    return {"value": min(served.values()), "unit": "ms", "kernels_ms": found}


def first_step(preset: str, compilation: str, *, is_cold: bool) -> Measure:
    """Seconds from the command to the end of its first step, in a process of its own."""

    def measure(at: Machine) -> Found:
        if is_cold and any(at.cache.iterdir()):
            raise RuntimeError("--cache holds what an earlier time made: give an empty folder for this row")
        with tempfile.TemporaryDirectory() as folder:
            command = at.fit(preset, compilation, Path(folder), "--trainer.callbacks+=steps_clock.FirstStep",
                             "--trainer.max_steps", "1")  # fmt: skip
            start, taken = time.perf_counter(), None
            process = subprocess.Popen(
                [sys.executable, "-m", "launch.cli", *command],
                stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                env=os.environ | {"PYTHONPATH": os.pathsep.join([str(HERE), str(HERE.parents[1])])},
            )  # fmt: skip
            assert process.stdout is not None and process.stderr is not None
            for line in process.stdout:
                if SAID in line:
                    taken = time.perf_counter() - start
            said = process.stderr.read()
        if process.wait() or taken is None:
            raise RuntimeError((said.strip().splitlines() or ["it said nothing"])[-1])
        return {"value": taken, "unit": "s", "preset": preset, "compile": compilation}

    return measure


def rows(size: Size, is_gpu: bool) -> Iterator[Row]:
    """All, those that matter most first: with graphs, and then what else a step can be compiled as."""
    best = "graph" if is_gpu else "false"
    yield Row("time to the first step, cold cache", first_step(size.dit, best, is_cold=True), True, 60)
    yield Row("time to the first step, warm cache", first_step(size.dit, best, is_cold=False), True, 15)
    yield Row("DiT-S/1 under the trainer", training(size.dit, best), aim=100)
    yield Row("mdm_s under the trainer", training(size.mdm, best), aim=100)
    yield Row("GPT-2 base joint under the trainer", training(size.gpt2, best), aim=40)
    yield Row("fit against a bare loop of the same step", bare_loop(size.dit, best), aim=0.95)
    yield Row("sampling against the whole prefix", sampling, aim=20)
    yield Row("attention of a block, forward and backward", attention)
    for preset in size.relational:
        yield Row(f"{preset} under the trainer", training(preset, best))
    for compilation in reversed(COMPILATIONS[:-1]):
        for preset in (size.dit, size.mdm, size.gpt2):
            yield Row(f"{preset} under the trainer, {compilation}", training(preset, compilation), needs_gpu=True)


def measured(row: Row, at: Machine, left_s: float) -> Found:
    """What is printed of a row, whatever becomes of it."""
    found: Found = {"row": row.name, "aim": row.aim}
    if row.needs_gpu and not at.is_gpu:
        return found | {"left_out": NEEDS_GPU}
    if left_s <= 0:
        return found | {"left_out": "the time is over"}
    start = time.perf_counter()
    try:
        found |= row.measure(at)
    except Exception as error:  # of whatever kind: the others are to be measured
        found |= {"failed": f"{type(error).__name__}: {str(error).strip().splitlines()[0] if str(error) else ''}"}
    device = torch.cuda.get_device_name() if at.is_gpu else "CPU"
    return found | {"took_s": round(time.perf_counter() - start, 1), "device": device, "torch": torch.__version__}


def main(arguments: list[str] | None = None) -> int:
    """Measures; 1 where a row failed."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--limit_s", type=float, default=360, help="No row begins after so many seconds.")
    parser.add_argument("--cache", type=Path, help="Folder of what compilers make; default: one of this time.")
    parser.add_argument("--small", action="store_true", help="Tiny presets, a few steps, on a CPU.")
    asked = parser.parse_args(arguments)
    is_gpu = torch.cuda.is_available() and not asked.small
    failed, start = 0, time.perf_counter()
    with tempfile.TemporaryDirectory() as own:
        cache = asked.cache or Path(own)
        cache.mkdir(parents=True, exist_ok=True)
        os.environ["TORCHINDUCTOR_CACHE_DIR"] = str(cache)
        at = Machine(SMALL if asked.small else LARGE, torch.device("cuda" if is_gpu else "cpu"), cache)
        for row in rows(at.size, is_gpu):
            found = measured(row, at, asked.limit_s - (time.perf_counter() - start))
            failed += "failed" in found
            print(json.dumps(found), flush=True)
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())
