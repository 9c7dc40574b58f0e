"""``make demo``: the product's question, answered by the studies that ship with genraven and checked on this CPU.

It is a sweep, an evaluation and the answer, as anybody would run them. ``make families`` trains every method instead.
"""

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from genraven.console import say
from genraven.errors import InputError
from genraven.files import appears_whole, writable_folder
from genraven.metrics.table import label, names_of
from genraven.process import num_cpus
from genraven.report.evaluation import Evaluation
from genraven.run_folder import RunFiles
from launch.trained.printed import in_words

AT_ONCE = 2
COLUMNS = 8
PUZZLES_PER_RULE = {"demo": 15, "families": 100}
"""Test puzzles of each rule."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Trains, scores, answers, draws, prints the table, and says where to look."""
    parser = argparse.ArgumentParser(prog="python -m launch.demo", description=main.__doc__)
    parser.add_argument("--families", action="store_true", help="every method, for as many puzzles each")
    parser.add_argument("--grid", default="", help="another grid than the shipped one")
    options = parser.parse_args(arguments)
    name = "families" if options.families else "demo"
    folder, start = Path(name), time.monotonic()
    writable_folder(folder, "another working directory")
    at_once, page = str(min(AT_ONCE, num_cpus())), ["--out", str(folder / "report.html")]
    tested = ["--puzzles-per-rule", str(PUZZLES_PER_RULE[name]), "--device", "cpu"]
    commands = [
        ["sweep", options.grid or f"sweep/{name}.yaml", "--local", at_once, "--out", str(folder)],
        ["launch", "--devices", at_once, "--", "evaluate", str(folder), *tested],
    ]
    for command in commands:
        if status := run(command):
            return status
    is_answered = not options.families and run(["advise", "--check", str(folder), *page]) == 0
    if not is_answered and (status := run(["report", str(folder), *page])):  # no study has learned the task of the grid
        return status
    runs = sorted(run for run in folder.iterdir() if RunFiles(run).evaluation.exists())
    for path in runs:
        draw(path)
    say(f"\n{comparison(runs)}\n\n{where_to_look(folder, runs)}")
    say(f"\n{(time.monotonic() - start) / 60:.1f} minutes in all")
    return 0


def run(command: list[str]) -> int:
    """A command of genraven as a user would give it; its exit status."""
    from launch.cli import main as genraven

    say(f"\n$ genraven {' '.join(command)}")
    return genraven(command)


def draw(path: Path) -> None:
    """Sheets of generated and of completed puzzles with the rules that their rows share, in the run's folder."""
    from genraven.puzzles.masks import last_panel_mask
    from genraven.puzzles.render import render_sheet
    from genraven.puzzles.rules import row_rules, rule_names, shared_rules
    from launch.trained.model import load

    model = load(path, device="cpu", progress=True)
    puzzles = model.data.evaluation_puzzles("test")[0][: 2 * COLUMNS]
    mask = last_panel_mask(len(puzzles))
    sheets = {
        "samples.png": (model.generate(len(puzzles)), None),
        "completed.png": (model.complete(puzzles, mask), mask),
    }
    for name, (sheet, marked) in sheets.items():
        titles = rule_names(shared_rules(row_rules(sheet)))
        with appears_whole(path / name) as temporary:
            render_sheet(sheet, COLUMNS, titles=titles, marked=marked).save(temporary)


def comparison(runs: Sequence[Path]) -> str:
    """One table, in Markdown: each run's scores on test puzzles with their hits, counts and 95% intervals."""
    shown = names_of(lambda score: score.in_demo)
    rows = [["run", *map(label, shown)]]
    for path in runs:
        metrics = Evaluation(RunFiles(path).evaluation).results()[-1]["metrics"]
        rows.append([path.name, *(in_words(metrics.get(name), with_hits=True) for name in shown)])
    wide = [max(map(len, column)) for column in zip(*rows, strict=True)]
    head, *lines = ["| " + " | ".join(f"{cell:{width}}" for cell, width in zip(row, wide, strict=True)) + " |"
                    for row in rows]  # fmt: skip
    rule = "|" + "|".join("-" * (width + 2) for width in wide) + "|"
    return "\n".join(
        [head, rule, *lines, "hits of count, fraction, 95% Wilson interval; all puzzles new to the models"]
    )


def where_to_look(folder: Path, runs: Sequence[Path]) -> str:
    """The files that the demo wrote."""
    lines = [f"the answer           {folder / 'report.html'}, {folder / 'report.md'}"]
    lines += [f"generated puzzles    {path / 'samples.png'}" for path in runs]
    lines += [f"completed puzzles    {path / 'completed.png'}" for path in runs]
    lines += [f"curves               .venv/bin/tensorboard --logdir {folder}"]
    lines += [f"more of a model      .venv/bin/genraven sample {runs[0]} --num 64"] if runs else []
    return "\n".join(lines)


if __name__ == "__main__":
    try:
        sys.exit(main())
    except InputError as error:
        sys.exit(f"genraven: error: {error}")
