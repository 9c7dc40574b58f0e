"""``genraven fit`` against a bare loop over the same network, data and optimizer."""

import contextlib
import io
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import torch
from harness import STEPS, WARM_UP, Clock, Row
from torch.utils.data import DataLoader, TensorDataset

from genraven.methods.gaussian import GaussianDiffusion
from genraven.methods.gaussian.flow import Flow
from genraven.networks.dit import DiT
from genraven.networks.transformer import Transformer
from genraven.puzzles.generate import generate
from genraven.puzzles.spec import RULES
from launch.cli import main
from lightning_modules import AutoregressiveModule, DiffusionModule, PuzzleModule

BATCH, SAMPLES = 64, 1000
SIZE = {"width": 96, "depth": 4, "num_heads": 4}
TRAINED = ("shape.constant", "size.constant", "color.constant")


def fit(*options: str) -> float:
    """Puzzles a second, with all that watches a run."""
    size = [option for name, value in SIZE.items() for option in (f"--model.network.{name}", str(value))]
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):
        status = main(["fit", *options, "-c", "data/demo.yaml", "-c", "trainer/cpu.yaml", *size,
                       "--data.samples_per_rule", str(SAMPLES), "--data.global_batch_size", str(BATCH),
                       "--trainer.max_steps", str(STEPS), "--trainer.val_check_interval", str(10 * STEPS),
                       "--trainer.callbacks+=harness.Clock", "--run_dir", str(Path(folder) / "run")])  # fmt: skip
    assert status == 0
    return (STEPS - WARM_UP) * BATCH / Clock.seconds


def bare(module: PuzzleModule) -> float:
    """Puzzles a second of a plain loop."""
    ids = [rule for rule, known in enumerate(RULES) if known.name in TRAINED]
    puzzles = torch.cat([generate(rule, 0, SAMPLES) for rule in ids])
    optimizer = torch.optim.AdamW(module.parameters(), lr=1e-4)
    loader = DataLoader(TensorDataset(puzzles), batch_size=BATCH, shuffle=True, drop_last=True)
    done, start = 0, 0.0
    while True:
        for (batch,) in loader:
            loss = module.losses(batch, None, lambda distribution, *shape: distribution((BATCH, *shape))).mean()
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(module.parameters(), 1.0)
            optimizer.step()
            done += 1
            if done == WARM_UP:
                start = time.perf_counter()
            if done == STEPS:
                return (STEPS - WARM_UP) * BATCH / (time.perf_counter() - start)


def rows(rounds: int) -> Iterator[Row]:
    """A small network of each family, so that what surrounds the step counts."""
    clip = ("--trainer.gradient_clip_val", "1.0")
    yield Row(
        "genraven fit, a GPT-2 of 0.5 M", "puzzles/s", lambda: fit("-c", "model/gpt2_tiny.yaml", *clip),
        lambda: bare(AutoregressiveModule(Transformer(**SIZE, head="joint"))),  # type: ignore[arg-type]
        "a bare PyTorch loop", 0.95, rounds, is_rate=True,
    )  # fmt: skip
    plain = ("--model.ema_decay", "null", "--model.network.patch", "1")
    yield Row(
        "genraven fit, a SiT of 0.7 M", "puzzles/s", lambda: fit("-c", "model/sit_tiny.yaml", *clip, *plain),
        lambda: bare(DiffusionModule(DiT(**SIZE), GaussianDiffusion(Flow()))),  # type: ignore[arg-type]
        "a bare PyTorch loop", 0.95, rounds, is_rate=True,
    )  # fmt: skip
