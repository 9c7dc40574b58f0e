"""Commands that write puzzles with a trained model: sample, complete."""

import argparse
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm

from datamodules import GenRAVENDataModule
from genraven.errors import InputError
from genraven.files import appears_whole, check_outputs
from genraven.formats.read import read_mask, read_puzzles
from genraven.formats.write import save_array
from genraven.puzzles.masks import last_panel_mask
from genraven.puzzles.render import render_sheet
from genraven.puzzles.rules import row_rules, rule_names, shared_rules
from genraven.puzzles.spec import resolve_rules
from launch.runs import load_run
from lightning_modules import DiffusionModule, PuzzleModule

PICTURED = 64
COLUMNS = 8
OPTIONS: dict[str, dict[str, tuple[str, ...]]] = {  # of a family, and what each sets in the model
    "diffusion": {
        "steps": ("num_sampling_steps",),
        "sampler": ("sampler",),
        "guidance_scale": ("guidance_scale",),
        "completion": ("completion",),
        "particles": ("num_particles",),
        "resamples": ("num_resamples",),
        "guidance_strength": ("guidance_strength",),
    },
    "autoregressive": {
        "temperature": ("temperature", "completion_temperature"),
        "top_k": ("top_k",),
        "particles": ("num_particles",),
    },
}
COMPLETIONS_OF = {  # the kinds of completion that an option is for
    "particles": ("tds",),
    "resamples": ("replacement", "guidance"),
    "guidance_strength": ("guidance",),
}


def _load(options: argparse.Namespace) -> tuple[PuzzleModule, GenRAVENDataModule, dict[str, Any]]:
    """The run's model with the sampling options applied."""
    if options.batch_size < 1:
        raise InputError(f"expected --batch-size to be 1 or more, got {options.batch_size}.")
    model, data, checkpoint = load_run(options.run, options.device)
    model.seed = options.seed
    apply_sampling(model, vars(options))
    return model, data, checkpoint


def _flag(name: str) -> str:
    return "--" + name.replace("_", "-")


def apply_sampling(model: PuzzleModule, options: Mapping[str, Any]) -> None:
    """Sets in the model what ``options`` give; None, or nothing, leaves the model's own.

    Raises:
        InputError: an option of the other family, out of its range, or without effect on this model.
    """
    known = OPTIONS[model.family]
    for name in (name for family in OPTIONS.values() for name in family):
        if name not in known and options.get(name) is not None:
            raise InputError(f"expected {', '.join(map(_flag, known))} for a model of the {model.family} family, got "
                             f"{_flag(name)}: leave it out.")  # fmt: skip
    given = {name: options[name] for name in known if options.get(name) is not None}
    for name, value in given.items():
        for attribute in known[name]:
            setattr(model, attribute, value)
        try:
            model.check_sampling()
        except InputError as error:
            raise InputError(f"{_flag(name)} {value}: {error}") from None
    if isinstance(model, DiffusionModule):
        for name, completions in COMPLETIONS_OF.items():
            if name in given and model.completion not in completions:
                raise InputError(f"expected {_flag(name)} with completion by {' or '.join(completions)}, got "
                                 f"{model.completion}: add --completion {completions[0]}.")  # fmt: skip
    if "guidance_scale" in given and not getattr(model.network, "num_labels", 0):
        raise InputError("expected --guidance-scale for a network with labels, got one without: leave it out.")


def _slices(total: int, size: int, what: str) -> Iterator[slice]:
    with tqdm(total=total, unit="puzzle", desc=what) as bar:
        for start in range(0, total, size):
            yield slice(start, min(start + size, total))
            bar.update(min(size, total - start))


def _save(puzzles: Tensor, options: argparse.Namespace, titles: list[str], mask: Tensor | None = None) -> None:
    picture = options.picture
    save_array(options.out, puzzles.numpy())
    shown = slice(0, PICTURED)
    marked = mask[shown] if mask is not None else None
    with appears_whole(picture) as temporary:
        render_sheet(puzzles[shown], COLUMNS, titles=titles[shown], marked=marked).save(temporary)
    print(f"{options.out}: {tuple(puzzles.shape)} int8\n{picture}: the first {min(PICTURED, len(puzzles))}")


def _name_picture(options: argparse.Namespace) -> None:
    """Settles where the picture goes, and that both outputs can be written."""
    options.picture = options.picture or options.out.with_suffix(".png")
    check_outputs(options.out, options.picture)


def sample(options: argparse.Namespace) -> None:
    """Writes generated puzzles and a picture of them."""
    if options.num < 1:
        raise InputError(f"expected --num to be 1 or more, got {options.num}.")
    rules = None
    if options.rules is not None:
        ids = resolve_rules(options.rules[0] if len(options.rules) == 1 else options.rules)
        if not ids:
            raise InputError("expected rules to ask for, got an empty selection: name some, or leave out --rules.")
        rules = torch.tensor(ids).repeat(-(-options.num // len(ids)))[: options.num]
    _name_picture(options)
    model, _, _ = _load(options)
    parts = []
    for part in _slices(options.num, options.batch_size, "sample"):
        labels = rules[part].to(model.device) if rules is not None else None
        parts.append(model.generate(part.stop - part.start, labels, model.generator("generate", part.start)))
    puzzles = torch.cat(parts).cpu()
    shared = shared_rules(row_rules(puzzles))
    _save(puzzles, options, rule_names(shared))
    print(f"rows share a rule in {int((shared != 0).sum())} of {len(puzzles)} puzzles (C3)")


def complete(options: argparse.Namespace) -> None:
    """Writes completed puzzles and a picture of them."""
    puzzles = read_puzzles(options.puzzles)
    mask = read_mask(options.mask, len(puzzles)) if options.mask else last_panel_mask(len(puzzles))
    PuzzleModule.check_mask(puzzles, mask)
    _name_picture(options)
    model, _, _ = _load(options)
    parts = [
        model.complete(
            puzzles[part].to(model.device),
            mask[part].to(model.device),
            model.generator("complete", part.start),
        ).cpu()
        for part in _slices(len(puzzles), options.batch_size, "complete")
    ]
    completed = torch.cat(parts)
    shared = shared_rules(row_rules(completed))
    _save(completed, options, rule_names(shared), mask)
    print(f"rows share a rule in {int((shared != 0).sum())} of {len(completed)} completed puzzles")
