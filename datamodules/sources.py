"""Training sets from users' files: which of their puzzles belong to which rule."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import torch
from lightning.pytorch.utilities import rank_zero_info, rank_zero_warn
from numpy.typing import NDArray
from torch import Tensor

from datamodules.store import PuzzleSource, data_progress
from genraven.errors import InputError, shown
from genraven.formats.puzzles import UNKNOWN_RULE, Chunk, PuzzleFile
from genraven.formats.read import source_digest, source_files
from genraven.metrics.memorization import whole
from genraven.paths import user_path
from genraven.puzzles.corrupt import Corruption, corrupted
from genraven.puzzles.rules import row_rules, rule_bits, shared_rules
from genraven.puzzles.spec import NUM_RULES, RULES

Indices = NDArray[np.int64]
_LEFT_OUT = NUM_RULES  # the group of puzzles that are not wanted
_LOOKED_AT = 256  # puzzles of each rule that tell whether it is theirs


@dataclass(frozen=True)
class Selection:
    """Which rules are wanted of a file."""

    trained: tuple[int, ...]
    held_out: tuple[int, ...]


def indices_by_rule(file: PuzzleFile, selection: Selection) -> dict[int, Indices]:
    """For each wanted rule the indices of its puzzles in ``file``, ascending; ``UNKNOWN_RULE`` for those without any.

    A puzzle whose rule the file does not state belongs to the first wanted one that its whole rows share. It is left
    out when they share one that is held out, or others only; without a whole row it may be of any, so it is when rules
    are held out.
    """
    stated = file.rules
    unknown = np.flatnonzero(stated == UNKNOWN_RULE)
    groups = stated if not len(unknown) else stated.copy()
    if len(unknown):
        groups[unknown] = _found(file, unknown, selection)
    order = np.argsort(groups.astype(np.int8), kind="stable")  # the type that numpy sorts fastest
    wanted = np.array([*selection.trained, UNKNOWN_RULE])
    ordered = groups[order]
    ends = [np.searchsorted(ordered, wanted, side=side) for side in ("left", "right")]
    indices = {int(rule): order[first:last] for rule, first, last in zip(wanted, *ends, strict=True)}
    return {rule: of_rule for rule, of_rule in indices.items() if len(of_rule)}


def _found(file: PuzzleFile, indices: Indices, selection: Selection) -> Indices:
    """The group of each puzzle at ``indices``, whose rules are not stated."""
    wanted, held = (sum(1 << rule for rule in rules) for rules in (selection.trained, selection.held_out))
    parts = []
    with data_progress("find rules", len(indices)) as bar:
        for some in bar.over(np.array_split(indices, -(-len(indices) // (1 << 14))), len):
            chunk = file.read(some)
            known_rows = whole(_unknown(chunk))["rows"]
            shared = shared_rules(row_rules(chunk.puzzles).masked_fill(~known_rows, -1))
            group = rule_bits(shared & wanted).int().argmax(1)
            group[(shared & held != 0) | (shared & wanted == 0)] = _LEFT_OUT
            group[shared == 0] = UNKNOWN_RULE
            group[~known_rows.any(1)] = _LEFT_OUT if held else UNKNOWN_RULE
            parts.append(group.numpy())
    return np.concatenate(parts)


def _unknown(chunk: Chunk) -> Tensor:
    """(b, 9, 9) bool: the cells that are unknown."""
    return torch.zeros_like(chunk.puzzles[:, 0], dtype=torch.bool) if chunk.known is None else ~chunk.known


def can_have_missing(source: str | None, corruption: Corruption, file: Callable[[], PuzzleFile]) -> bool:
    """Can cells of training puzzles be unknown? Those of a source that is not there cannot.

    Args:
        source: path of the puzzles; None where they are made.
        corruption: of the puzzles.
        file: gives the source, opened; asked only where the answer is in it.
    """
    return corruption.hides_cells or (source is not None and user_path(source).exists() and file().has_missing)


def content_digest(path: Path, split: str | None = None) -> str:
    """SHA-256 of what a source holds, read once for as long as its files do not change.

    Raises:
        InputError: it cannot be read.
    """
    states = [(file, file.stat()) for file in source_files(path, split=split)]
    facts = tuple((str(file), s.st_dev, s.st_ino, s.st_size, s.st_mtime_ns, s.st_ctime_ns) for file, s in states)
    return _digest_of(path, split, facts)


@cache
def _digest_of(path: Path, split: str | None, state: tuple[object, ...]) -> str:
    return source_digest(path, split=split)


def file_source(
    file: PuzzleFile,
    selection: Selection,
    samples_per_rule: int | None,
    seed: int,
    corruption: Corruption,
    *,
    split: str | None = None,
    sha256: str | None = None,
) -> PuzzleSource:
    """The first ``samples_per_rule`` puzzles of each wanted rule of ``file``.

    Args:
        file: opened.
        selection: which rules are wanted.
        samples_per_rule: puzzles to take of each; None for all.
        seed: of the corruption.
        corruption: of the puzzles.
        split: that it was opened with.
        sha256: what the digest of its contents must be; None for any.

    Raises:
        InputError: other contents, fewer puzzles than that of a rule, none of one, or one of them is bad.
    """
    found = content_digest(file.path, split)
    if sha256 not in (None, found):
        raise InputError(f"expected data.source as it was when the run began, with SHA-256 {shown(sha256)}, got "
                         f"{found[:12]}... of {file.path}: put the former file back, or begin another "
                         "run.")  # fmt: skip
    groups = indices_by_rule(file, selection)
    are_stated = bool((file.rules != UNKNOWN_RULE).all())
    _check(file, groups, selection, samples_per_rule, are_stated=are_stated)
    _warn_of_other_rules(file, groups)

    def make(rule: int, start: int, count: int) -> Tensor:
        chunk = file.read(groups[rule][start : start + count])
        unknown = _unknown(chunk) if file.has_missing else None
        return corrupted(chunk.puzzles, corruption, seed=seed, rule=rule, start=start, unknown=unknown)

    counts = {rule: min(len(indices), samples_per_rule or len(indices)) for rule, indices in groups.items()}
    depends = {
        "contents": found,
        "rules": [part.rules if isinstance(part.rules, int) else None for part in file.parts],
        "selection": None if are_stated else selection,
        "gaps": file.has_missing,  # the name that it has in the names of cached sets
        "corruption": corruption,
        "seed": seed if corruption else None,  # of the corruption alone
    }
    return PuzzleSource("file", depends, make, max(counts.values()), counts, file.has_missing or corruption.hides_cells)


def _check(
    file: PuzzleFile, groups: dict[int, Indices], selection: Selection, wanted: int | None, *, are_stated: bool
) -> None:
    of_rules = {rule: indices for rule, indices in groups.items() if rule != UNKNOWN_RULE}
    missing = [RULES[rule].name for rule in selection.trained if rule not in groups]
    if not groups or (missing and (are_stated or wanted is not None)):
        held = sorted({*file.rules.tolist()} - {UNKNOWN_RULE}) if are_stated else of_rules
        names = _some([RULES[rule].name for rule in held]) or "none"
        unless = "" if are_stated else ", or data.samples_per_rule to null to take what is found"
        raise InputError(f"expected puzzles of all {len(selection.trained)} rules to train on, got none of "
                         f"{_some(missing)} in {file.path}: set data.rules to rules that it holds ({names}){unless}, "
                         "or name the others in data.held_out.")  # fmt: skip
    if not are_stated:
        num, without = sum(map(len, groups.values())), len(groups.get(UNKNOWN_RULE, ()))
        rank_zero_info(f"{file.path} does not state all rules: {num:,} of its {len(file):,} puzzles are trained on by "
                       f"the rules found, {without:,} of them without a rule")  # fmt: skip
    fewest = min(of_rules, key=lambda rule: len(of_rules[rule]), default=None)
    if wanted is not None and fewest is not None and wanted > len(of_rules[fewest]):
        raise InputError(f"expected at most the {len(of_rules[fewest])} puzzles of {RULES[fewest].name} in "
                         f"{file.path}, got samples_per_rule {wanted}: lower it, or set it to null to take "
                         "all.")  # fmt: skip


def _warn_of_other_rules(file: PuzzleFile, groups: dict[int, Indices]) -> None:
    """Names the rules that hardly any puzzle follows although it is said to: the order of rules may be another one."""
    wrong = []
    for rule, indices in groups.items():
        chunk = file.look(indices[:_LOOKED_AT])
        shared = shared_rules(row_rules(chunk.puzzles[whole(_unknown(chunk))["puzzles"]]))
        if rule != UNKNOWN_RULE and (shared >> rule & 1).double().mean() < 0.5:
            wrong.append(RULES[rule].name)
    if wrong:
        rank_zero_warn(f"fewer than half of the first puzzles of {_some(wrong)} in {file.path} follow their rule: "
                       "`genraven describe` counts which rules hold.")  # fmt: skip


def _some(names: list[str], most: int = 6) -> str:
    return ", ".join(names[:most]) + ", ..." * (len(names) > most)
