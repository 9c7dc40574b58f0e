"""``make demo``: both families trained on this machine's CPU and scored side by side, in about ten minutes.

``make families`` does the same with all five networks of the study, for as many puzzles each.
"""

import argparse
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from genraven.errors import InputError
from genraven.files import appears_whole, writable_folder
from genraven.metrics.scores import ScoreCard
from genraven.puzzles.masks import last_panel_mask
from genraven.puzzles.render import render_sheet
from genraven.puzzles.rules import row_rules, rule_names, shared_rules
from launch.evaluate import score_model
from launch.identity import build
from launch.inference import COLUMNS
from launch.runs import load_run
from launch.training import run
from lightning_modules import PuzzleModule

FOLDER = Path("demo")
METRICS = ("c3", "novel_c3", "completion")
TIME_LIMIT = ("--trainer.max_time", "00:00:04:20")  # for machines slower than the one that the steps were chosen on


@dataclass(frozen=True)
class Entry:
    """One model of the demo."""

    name: str
    config: str
    max_steps: int
    options: tuple[str, ...] = TIME_LIMIT


ENTRIES = (
    Entry("autoregressive (GPT-2)", "model/gpt2_tiny.yaml", 1500),
    Entry("diffusion (SiT)", "model/sit_tiny.yaml", 2700),
)
FAMILIES = tuple(
    Entry(name, f"model/{stem}_tiny.yaml", 1000, ("--data.global_batch_size", "64"))
    for name, stem in (
        ("autoregressive (GPT-2)", "gpt2"),
        ("autoregressive (Mamba)", "mamba"),
        ("diffusion (SiT)", "sit"),
        ("diffusion (DiT)", "dit"),
        ("diffusion (EDM)", "edm"),
    )
)


def faster_precision() -> str:
    """``bf16-mixed`` where this CPU multiplies bf16 matrices faster than float32 ones, else ``32-true``."""
    seconds = {}
    for dtype in (torch.float32, torch.bfloat16):
        x, weight = torch.randn(2048, 192, dtype=dtype), torch.randn(192, 192, dtype=dtype)
        torch.nn.functional.linear(x, weight)
        start = time.perf_counter()
        for _ in range(3):
            torch.nn.functional.linear(x, weight)
        seconds[dtype] = time.perf_counter() - start
    return "bf16-mixed" if seconds[torch.bfloat16] < seconds[torch.float32] else "32-true"


def main(arguments: list[str] | None = None) -> None:
    """Trains, scores, prints the table, writes the pictures and says where to look."""
    parser = argparse.ArgumentParser(prog="python -m launch.demo", description=main.__doc__)
    parser.add_argument("--families", action="store_true", help="all five networks, for as many puzzles each")
    options = parser.parse_args(arguments)
    entries, folder = (FAMILIES, FOLDER / "families") if options.families else (ENTRIES, FOLDER)
    start = time.monotonic()
    writable_folder(folder, "another working directory")
    precision = faster_precision()
    columns: list[tuple[str, ScoreCard, ScoreCard]] = []
    runs = {entry: folder / Path(entry.config).stem for entry in entries}
    for entry, run_folder in runs.items():
        print(f"\n=== {entry.name}: {entry.max_steps} steps on the CPU, {precision} ===", flush=True)
        run(
            [
                *(
                    "fit",
                    "-c",
                    entry.config,
                    "-c",
                    "data/demo.yaml",
                    "-c",
                    "trainer/cpu.yaml",
                    "--run_dir",
                    str(run_folder),
                ),
                *("--trainer.max_steps", str(entry.max_steps)),
                *("--trainer.precision", precision, "--trainer.val_check_interval", str(entry.max_steps // 2)),
                *entry.options,
            ]
        )
        trained, data, checkpoint = load_run(run_folder, "cpu")
        torch.manual_seed(0)
        untrained, _ = build(checkpoint["genraven_config"])
        cards = [score_model(model.eval(), data, "test", data.eval_batch_size) for model in (untrained, trained)]
        columns.append((entry.name, cards[0], cards[1]))
        draw(trained, data.evaluation_puzzles("test")[0], run_folder)
    print(f"\n{comparison(columns)}\n\n{where_to_look(list(runs.values()))}")
    print(f"\n{(time.monotonic() - start) / 60:.1f} minutes in all")


def draw(model: PuzzleModule, puzzles: Tensor, folder: Path) -> None:
    """Sheets of generated and of completed puzzles with the rules that their rows share."""
    puzzles = puzzles[: 2 * COLUMNS]
    mask = last_panel_mask(len(puzzles))
    sheets = {
        "samples.png": (model.generate(len(puzzles), None, model.generator("generate", 0)), None),
        "completed.png": (model.complete(puzzles, mask, model.generator("complete", 0)), mask),
    }
    for name, (sheet, marked) in sheets.items():
        titles = rule_names(shared_rules(row_rules(sheet)))
        with appears_whole(folder / name) as temporary:
            render_sheet(sheet, COLUMNS, titles=titles, marked=marked).save(temporary)


def comparison(columns: list[tuple[str, ScoreCard, ScoreCard]]) -> str:
    """One table: each score before and after training, with its 95% interval and count."""
    lines = [f"{'test puzzles':24}{'before':>8}{'after':>9}   95% interval        of"]
    for name, before, after in columns:
        lines.append(name)
        for metric in METRICS:
            rate = after.rates[metric]
            low, high = (x.item() for x in rate.interval())
            lines.append(
                f"  {metric:22}{before.rates[metric].value.item():8.3f}{rate.value.item():9.3f}"
                f"   [{low:.3f}, {high:.3f}]{int(rate.total):10d}"
            )
    return "\n".join(lines)


def where_to_look(folders: list[Path]) -> str:
    """The files that the demo wrote."""
    lines = [f"generated puzzles    {folder / 'samples.png'}" for folder in folders]
    lines += [f"completed puzzles    {folder / 'completed.png'}" for folder in folders]
    lines += [f"curves               .venv/bin/tensorboard --logdir {FOLDER}"]
    lines += [f"more of a model      .venv/bin/genraven sample {folders[0]} --num 64"]
    return "\n".join(lines)


if __name__ == "__main__":
    try:
        main()
    except InputError as error:
        sys.exit(f"genraven: error: {error}")
