"""Commands about data: rules, configs, generate."""

import argparse
import itertools
from pathlib import Path
from typing import TYPE_CHECKING

from genraven.console import say
from genraven.errors import InputError
from genraven.files import check_new_folder
from genraven.outputs import PICTURES, Outputs, save_picture
from genraven.progress import Progress
from genraven.puzzles.spec import HELD_OUT_SPLITS, NUM_STUDY_RULES, RULES, resolve_rules
from launch.configs.shipped import CONFIGS, config_names

if TYPE_CHECKING:
    import torch

PICTURED_PER_RULE = 2
MADE_AT_ONCE = 16  # blocks


def rules(options: argparse.Namespace) -> None:
    """Prints ids, names and splits."""
    for rule in RULES:
        splits = [name for name, held in HELD_OUT_SPLITS.items() if rule.id in held]
        say(f"{rule.id:2}  {rule.name:20} held out by {', '.join(splits) or 'no split'}")


def configs(options: argparse.Namespace) -> None:
    """Prints the shipped configs with their first comment."""
    for name in config_names():
        first = (CONFIGS / name).read_text().splitlines()[0]
        say(f"{name:30} {first.removeprefix('#').strip()}")


def generate(options: argparse.Namespace) -> None:
    """Writes puzzles of rules."""
    import torch

    from genraven.formats.write import FILES, WRITERS, add_puzzles
    from genraven.puzzles import layout
    from genraven.puzzles.render import render_sheet
    from genraven.report.english import counted

    writer = WRITERS[options.layout]
    out = options.out or Path("puzzles").with_suffix(writer.suffixes[0])
    ids = _rules_to_write(options, writer.rules(out))
    if (suffix := out.suffix.lower()) not in writer.suffixes and (suffix in FILES or not writer.makes_folder):
        endings = " or ".join(filter(None, writer.suffixes)) or "no suffix"
        raise InputError(f"expected --out of the {options.layout} layout to end in {endings}, got {out}: rename it.")
    if options.missing and not writer.holds_missing:
        raise InputError(f"expected --layout npz with --missing, got {options.layout}, which holds whole puzzles: "
                         "choose it, or leave --missing out.")  # fmt: skip
    outputs = Outputs(overwrite=options.overwrite)
    if writer.makes_folder:
        check_new_folder(out, "--out")
    else:
        add_puzzles(outputs, out, "--out")
    if options.picture:
        outputs.add(options.picture, "--picture", suffixes=PICTURES)
    with Progress("generate", len(ids) * options.num, "puzzle") as bar:
        puzzles = torch.stack([_make(rule, options, bar) for rule in ids])
    shown, unknown = layout.split_missing(puzzles[:, :PICTURED_PER_RULE].flatten(0, 1))
    of_each = len(shown) // len(ids)
    with outputs:
        if options.picture:
            titles = [RULES[r].name for r in ids for _ in range(of_each)]
            save_picture(render_sheet(shown, 8, titles=titles, unknown=unknown), outputs[options.picture])
        written = writer.write(out if writer.makes_folder else outputs[out], puzzles, ids)
    each = f" of each of {len(ids)} rules" if len(ids) > 1 else f" of {RULES[ids[0]].name}"
    say(f"{out}: {counted(options.num, 'puzzle')}{each}, {written}")
    if options.picture:
        say(f"{options.picture}: the first {of_each} of each")


def _make(rule: int, options: argparse.Namespace, bar: Progress) -> "torch.Tensor":
    """The puzzles of a rule, (n, 3, 9, 9), or with missing cells (n, 4, 9, 9), part by part."""
    import torch

    from genraven.puzzles import layout
    from genraven.puzzles.corrupt import Corruption, missing_cells
    from genraven.puzzles.generate import BLOCK
    from genraven.puzzles.generate import generate as make

    corruption, seed, end = Corruption(missing=options.missing), options.seed, options.start + options.num
    corruption.check("--")
    first_whole = -(-options.start // BLOCK) * BLOCK
    starts = sorted({options.start, *range(first_whole, end, MADE_AT_ONCE * BLOCK)})
    made = []
    for start, stop in bar.over(itertools.pairwise([*starts, end]), lambda ends: ends[1] - ends[0]):
        puzzles = make(rule, start, stop - start, seed=seed, split=options.split)
        if corruption:
            puzzles = layout.with_missing(puzzles, missing_cells(start, stop - start, corruption, seed=seed, rule=rule))
        made.append(puzzles)
    return torch.cat(made)


def _rules_to_write(options: argparse.Namespace, of_layout: list[int] | None) -> tuple[int, ...]:
    """Ids of the rules asked for; those of the layout where it has its own."""
    ids = resolve_rules(options.rules[0] if len(options.rules) == 1 else options.rules)
    if of_layout is not None:
        if ids not in (resolve_rules("all"), resolve_rules("study")):
            raise InputError(f"expected all {NUM_STUDY_RULES} rules for the {options.layout} layout, got {len(ids)}: "
                             "leave out --rules.")  # fmt: skip
        ids = tuple(of_layout)
    if not ids or options.num < 1:
        raise InputError(f"expected at least one rule and one puzzle, got {len(ids)} rules and --num {options.num}.")
    return ids
