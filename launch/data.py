"""Commands about data: rules, configs, generate."""

import argparse
from pathlib import Path

import numpy as np
from tqdm import tqdm

from genraven.errors import InputError
from genraven.files import appears_whole, check_outputs
from genraven.puzzles import layout
from genraven.puzzles.spec import HELD_OUT_SPLITS, NUM_RULES, RULES, resolve_rules
from launch.shipped import CONFIGS, config_names

PICTURED_PER_RULE = 2


def rules(options: argparse.Namespace) -> None:
    """Prints ids, names and splits."""
    for rule in RULES:
        splits = [name for name, held in HELD_OUT_SPLITS.items() if rule.id in held]
        print(f"{rule.id:2}  {rule.name:20} held out by {', '.join(splits)}")


def configs(options: argparse.Namespace) -> None:
    """Prints the shipped configs with their first comment."""
    for name in config_names():
        first = (CONFIGS / name).read_text().splitlines()[0]
        print(f"{name:30} {first.removeprefix('#').strip()}")


def save_array(path: Path, array: np.ndarray) -> None:  # type: ignore[type-arg]
    """Writes ``array`` whole or not at all."""
    with appears_whole(path) as temporary, temporary.open("wb") as file:
        np.save(file, array)


def generate(options: argparse.Namespace) -> None:
    """Writes puzzles of rules."""
    import torch

    from genraven.puzzles.generate import generate as make
    from genraven.puzzles.render import render_sheet

    ids = resolve_rules(options.rules[0] if len(options.rules) == 1 else options.rules)
    if options.layout == "published" and len(ids) != NUM_RULES:
        raise InputError(f"expected all {NUM_RULES} rules for the published layout, got {len(ids)}: leave out --rules.")
    if not ids or options.num < 1:
        raise InputError(f"expected at least one rule and one puzzle, got {len(ids)} rules and --num {options.num}.")
    check_outputs(options.out, options.picture)
    puzzles = torch.stack(
        [make(r, options.start, options.num, seed=options.seed, split=options.split) for r in tqdm(ids, unit="rule")]
    )
    if options.layout == "published":
        array = layout.puzzles_to_rows(puzzles.flatten(0, 1)).view(NUM_RULES, -1, *layout.ROW_SHAPE).numpy()
    else:
        array = puzzles.flatten(0, 1).numpy()
    save_array(options.out, array)
    print(f"{options.out}: {options.num} puzzles of each of {len(ids)} rules, {array.shape} {array.dtype}")
    if options.picture:
        shown = puzzles[:, :PICTURED_PER_RULE]
        titles = [RULES[r].name for r in ids for _ in range(shown.shape[1])]
        with appears_whole(options.picture) as temporary:
            render_sheet(shown.flatten(0, 1), 8, titles=titles).save(temporary)
        print(f"{options.picture}: the first {shown.shape[1]} of each")
