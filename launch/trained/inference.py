"""Commands that write puzzles with a trained model: sample, complete."""

import argparse
from collections.abc import Sequence
from functools import partial

from torch import Tensor

from genraven.console import say
from genraven.errors import InputError, at_least
from genraven.formats.read import read_mask, read_open_puzzles
from genraven.formats.write import ARRAYS, add_puzzles, save_array
from genraven.outputs import PICTURES, Outputs, save_picture, with_suffix
from genraven.puzzles.masks import last_panel_mask
from genraven.puzzles.render import render_sheet
from genraven.puzzles.rules import row_rules, rule_names, shared_rules
from genraven.puzzles.spec import resolve_rules
from genraven.trust.audit import SUFFIX, holds_records, write_records
from genraven.trust.review import to_html
from launch.runs.folder import find_checkpoint
from launch.trained.sampling import opened
from launch.trained.selective import asked_for, complete_selectively, decisions_summary
from lightning_modules import PuzzleModule

PICTURED = 64
COLUMNS = 8


def _rule_ids(named: Sequence[str] | None) -> tuple[int, ...] | None:
    """What ``--rules`` names; None where it is not given."""
    if named is None:
        return None
    ids = resolve_rules(named[0] if len(named) == 1 else [*named])
    if not ids:
        raise InputError("expected rules to ask for, got an empty selection: name some, or leave out --rules.")
    return ids


def _outputs(options: argparse.Namespace) -> Outputs:
    """Array and picture, whose name is settled."""
    outputs = Outputs(overwrite=options.overwrite)
    add_puzzles(outputs, options.out, "--out", suffixes=ARRAYS)
    options.picture = options.picture or with_suffix(options.out, ".png", "--out")
    outputs.add(options.picture, "--picture", suffixes=PICTURES)
    return outputs


def _save(puzzles: Tensor, outputs: Outputs, options: argparse.Namespace, mask: Tensor | None = None) -> None:
    """Writes them, and a picture of the first with the rules that their rows share."""
    save_array(outputs[options.out], puzzles.numpy())
    shown = puzzles[:PICTURED]
    titles = rule_names(shared_rules(row_rules(shown)))
    marked = None if mask is None else mask[:PICTURED]
    save_picture(render_sheet(shown, COLUMNS, titles=titles, marked=marked), outputs[options.picture])


def _files_summary(puzzles: Tensor, options: argparse.Namespace) -> str:
    return (f"{options.out}: {tuple(puzzles.shape)} int8\n"
            f"{options.picture}: the first {min(PICTURED, len(puzzles))}")  # fmt: skip


def sample(options: argparse.Namespace) -> None:
    """Writes generated puzzles and a picture of them."""
    at_least(1, num=options.num)
    ids, path = _rule_ids(options.rules), find_checkpoint(options.run)
    outputs = _outputs(options)
    puzzles = opened(options, path).generate(options.num, ids)
    with outputs:
        _save(puzzles, outputs, options)
    num_sharing, num_distinct = int((shared_rules(row_rules(puzzles)) != 0).sum()), len(puzzles.unique(dim=0))
    say(_files_summary(puzzles, options))
    say(f"rows share a rule in {num_sharing} of {len(puzzles)} puzzles (C3); distinct puzzles: {num_distinct}")


def complete(options: argparse.Namespace) -> None:
    """Writes completed puzzles and a picture of them."""
    mask_of = partial(read_mask, options.mask) if options.mask else last_panel_mask
    puzzles, mask = read_open_puzzles(options.puzzles, mask_of)
    PuzzleModule.check_mask(puzzles, mask)
    rule = _rule_ids(None if options.rule is None else [options.rule])
    if rule is not None and len(rule) > 1:
        raise InputError(f"expected one --rule of all the puzzles, got {options.rule}, which names {len(rule)}.")
    outputs = _outputs(options)
    audit = with_suffix(options.out, SUFFIX, "--out")
    if asked_for(options):
        outputs.add(audit, "the audit beside --out", is_ours=holds_records)
        if options.review is not None:
            outputs.add(options.review, "--review", suffixes=[".html"])
        completed, records = complete_selectively(options, puzzles, mask)
        with outputs:
            _save(completed, outputs, options, mask)
            write_records(outputs[audit], records)
            if options.review is not None:
                page = to_html(records, source=options.puzzles.name)
                outputs[options.review].write_text(page, encoding="utf-8")
        say("\n".join([*decisions_summary(records, audit, options.review), _files_summary(completed, options)]))
        return
    outputs.add_stale(audit, "the audit beside --out", is_ours=holds_records)  # of completions that were there before
    completed = opened(options).complete(puzzles, mask, rule)
    with outputs:
        _save(completed, outputs, options, mask)
    shared = shared_rules(row_rules(completed))
    say(_files_summary(completed, options))
    say(f"rows share a rule in {int((shared != 0).sum())} of {len(completed)} completed puzzles")
