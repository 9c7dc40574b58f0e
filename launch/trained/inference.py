"""Commands that write puzzles with a trained model: sample, complete."""

import argparse
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor
from tqdm import tqdm

from genraven.errors import InputError
from genraven.files import appears_whole, check_outputs
from genraven.formats.read import read_mask, read_puzzles
from genraven.formats.write import save_array
from genraven.methods.method import num_labels
from genraven.puzzles.masks import last_panel_mask
from genraven.puzzles.render import render_sheet
from genraven.puzzles.rules import row_rules, rule_names, shared_rules
from genraven.puzzles.spec import RULES, resolve_rules
from launch.trained.load import load_run
from launch.trained.numerics import Numerics
from launch.trained.sampling import given_sampling, sample_by
from launch.trained.trusting import asked_for, complete_trusted
from lightning_modules import PuzzleModule

PICTURED = 64
COLUMNS = 8


def _load(options: argparse.Namespace) -> tuple[PuzzleModule, Numerics]:
    """The run's model with the sampling options applied, and what it computes in."""
    if options.batch_size < 1:
        raise InputError(f"expected --batch-size to be 1 or more, got {options.batch_size}.")
    model, _, checkpoint = load_run(options.run, options.device)
    model.seed = options.seed
    sample_by(model, given_sampling(options))
    numerics = Numerics.of(checkpoint, model.device, options.precision)
    numerics.prepare(model)
    return model, numerics


def _rule_ids(named: Sequence[str] | None) -> tuple[int, ...] | None:
    """What ``--rules`` names; None where it is not given."""
    if named is None:
        return None
    ids = resolve_rules(named[0] if len(named) == 1 else [*named])
    if not ids:
        raise InputError("expected rules to ask for, got an empty selection: name some, or leave out --rules.")
    return ids


def _check_trained(model: PuzzleModule, ids: Sequence[int] | None) -> None:
    """Raises InputError on a rule whose label the model has never read."""
    if ids is None or not num_labels(model.network):
        return  # what is told to a network without labels is refused by the model
    if unknown := [RULES[rule].name for rule in ids if rule not in model.trained]:
        raise InputError(f"expected rules that the model was trained on, got {', '.join(unknown)}, whose labels it "
                         "has never read: leave them out.")  # fmt: skip


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
    ids = _rule_ids(options.rules)
    rules = None if ids is None else torch.tensor(ids).repeat(-(-options.num // len(ids)))[: options.num]
    _name_picture(options)
    model, numerics = _load(options)
    _check_trained(model, ids)
    parts = []
    with numerics.at_work(model.device):
        for part in _slices(options.num, options.batch_size, "sample"):
            labels = rules[part].to(model.device) if rules is not None else None
            num = part.stop - part.start
            parts.append(model.generate(num, labels, model.generator_at("generate", "sample", part.start, num)))
    puzzles = torch.cat(parts).cpu()
    shared = shared_rules(row_rules(puzzles))
    _save(puzzles, options, rule_names(shared))
    print(f"rows share a rule in {int((shared != 0).sum())} of {len(puzzles)} puzzles (C3)")


def complete(options: argparse.Namespace) -> None:
    """Writes completed puzzles and a picture of them."""
    puzzles = read_puzzles(options.puzzles)
    mask = read_mask(options.mask, len(puzzles)) if options.mask else last_panel_mask(len(puzzles))
    PuzzleModule.check_mask(puzzles, mask)
    rule = _rule_ids(None if options.rule is None else [options.rule])
    if rule is not None and len(rule) > 1:
        raise InputError(f"expected one --rule of all the puzzles, got {options.rule}, which names {len(rule)}.")
    _name_picture(options)
    if asked_for(options):
        if rule is not None:
            raise InputError("expected no --rule with --max-error, --candidates or --review, which are of completions "
                             f"that do not know it, got {options.rule}: leave it out.")  # fmt: skip
        completed, _ = complete_trusted(options, puzzles, mask)
        _save(completed, options, rule_names(shared_rules(row_rules(completed))), mask)
        return
    model, numerics = _load(options)
    _check_trained(model, rule)
    rules = None if rule is None else torch.tensor(rule, device=model.device).expand(len(puzzles))
    with numerics.at_work(model.device):
        parts = [
            model.complete(
                puzzles[part].to(model.device),
                mask[part].to(model.device),
                model.generator_at("complete", "complete", part.start, part.stop - part.start),
                None if rules is None else rules[part],
            ).cpu()
            for part in _slices(len(puzzles), options.batch_size, "complete")
        ]
    completed = torch.cat(parts)
    shared = shared_rules(row_rules(completed))
    _save(completed, options, rule_names(shared), mask)
    print(f"rows share a rule in {int((shared != 0).sum())} of {len(completed)} completed puzzles")
