"""The puzzles that a calibration counts: different ones, that the model was not trained on."""

import argparse
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from datamodules import GenRAVENDataModule
from datamodules.evaluation_file import check_stated_rules
from genraven.errors import InputError
from genraven.formats.puzzles import Chunk
from genraven.formats.read import open_puzzles
from genraven.metrics.completion import asked_and_held
from genraven.progress import Progress
from genraven.puzzles.generate import Draws
from genraven.puzzles.spec import resolve_rules
from genraven.trust.independence import first_of_copies, given_cells, were_trained
from launch.trained.completions import SPLIT, drawn_puzzles

MOST_COMPARED = 1 << 22  # training puzzles, at about 80 us each


@dataclass(frozen=True)
class CalibrationSet:
    """Puzzles to choose on, then those to test on."""

    puzzles: Tensor
    """(N, 3, 9, 9) int8."""
    rules: Tensor
    """(N,) ids, -1 where unknown."""
    source: dict[str, Any]
    """Where they are from, as the calibration keeps it."""
    notes: Sequence[str] = ()
    """What was left out, and what is not known, in words."""


@dataclass(frozen=True)
class _Supply:
    """Puzzles to take from, in a fixed order."""

    read: Callable[[int], tuple[Tensor, Tensor]]
    """The first so many of them (b, 3, 9, 9), and their rules (b,)."""
    num: int
    name: str
    source: dict[str, Any]


def calibration_set(
    options: argparse.Namespace, data: GenRAVENDataModule, checkpoint: Mapping[str, Any], mask: Tensor
) -> CalibrationSet:
    """Puzzles of ``--source``, or generated ones. Those without a stated rule whose rows share none are left out: no
    completion of them is right by our rules.

    Args:
        options: of the command.
        data: that the model was trained with.
        checkpoint: of the model.
        mask: (9, 9) bool, true where the model writes.

    Raises:
        InputError: too few puzzles, or too few that are different and were not trained on.
    """
    total, ours = options.puzzles_to_choose + options.puzzles, options.rules_from is None
    if options.source is not None:
        supply = _of_file(options.source, total, options.seed, by_our_rules=ours)
        return _independent(supply, total, mask, data, checkpoint, by_our_rules=ours)
    rules = resolve_rules(options.rules) if options.rules else data.trained
    if not rules:
        raise InputError("expected rules to draw puzzles of, got an empty selection: name some, or leave out --rules.")
    supply = _generated(rules, total, options.seed)
    if data.source is None:  # puzzles of another split are none of the training set, and no copies
        return CalibrationSet(*supply.read(total), supply.source)
    return _independent(supply, total, mask, data, checkpoint, by_our_rules=ours)


def _generated(rules: tuple[int, ...], total: int, seed: int) -> _Supply:
    return _Supply(lambda num: drawn_puzzles(rules, num, seed), 4 * total, "the calibration split",
                   {"split": SPLIT, "seed": seed})  # fmt: skip


def _of_file(path: Path, total: int, seed: int, *, by_our_rules: bool) -> _Supply:
    file = open_puzzles(path)
    if len(file) < total:
        raise InputError(f"expected {total} puzzles to choose on and to test on, got {len(file)} in {path}: lower "
                         "--puzzles and --puzzles-to-choose.")  # fmt: skip
    order = Draws(seed, "calibrat").permutation(len(file))

    def whole(num: int) -> Chunk:
        chunk = file.read(order[:num])
        if chunk.known is not None and not chunk.known.all():
            raise InputError(f"expected whole puzzles, got missing cells in {path}: remove those puzzles.")
        return chunk

    def read(num: int) -> tuple[Tensor, Tensor]:
        chunk = whole(num)
        return chunk.puzzles, chunk.rules

    if by_our_rules:
        check_stated_rules(whole(total), path, "calibration puzzles")

    return _Supply(read, len(file), str(path), {"file": path.name, "seed": seed})


def _independent(
    supply: _Supply,
    total: int,
    mask: Tensor,
    data: GenRAVENDataModule,
    checkpoint: Mapping[str, Any],
    *,
    by_our_rules: bool,
) -> CalibrationSet:
    """The first ``total`` puzzles that are copies of none before them and were not trained on; ``by_our_rules``, of
    which completions can be right.
    """
    num, training = min(2 * total, supply.num), _Training(data, checkpoint)
    while True:
        puzzles, rules = supply.read(num)
        trained = training.holds(puzzles, mask)
        copies = ~first_of_copies(puzzles, given_cells(puzzles, mask.expand(len(puzzles), -1, -1))) & ~trained
        taken = ~trained & ~copies
        without = taken & ~asked_and_held(puzzles, rules, mask)[0] if by_our_rules else torch.zeros_like(taken)
        indices = (taken & ~without).nonzero().squeeze(1)
        if len(indices) >= total or num == supply.num:
            break
        num = min(2 * num, supply.num)
    if len(indices) < total:
        why = [f"{int(trained.sum())} of {num} were trained on", f"{int(copies.sum())} are copies"]
        why += [f"{int(without.sum())} have no rule to ask for"] if by_our_rules else []
        raise InputError(f"expected {total} different puzzles that the model was not trained on, got {len(indices)} in "
                         f"{supply.name} ({', '.join(why)}): lower --puzzles and --puzzles-to-choose, or give other "
                         "puzzles.")  # fmt: skip
    indices = indices[:total]
    looked_at = slice(0, int(indices[-1]) + 1)
    left_out = {"trained on": int(trained[looked_at].sum()), "copies": int(copies[looked_at].sum())}
    if by_our_rules:
        left_out["without a rule to ask for"] = int(without[looked_at].sum())
    notes = [f"left out of {supply.name}: " + ", ".join(f"{n} {name}" for name, n in left_out.items() if n)]
    source = supply.source | {"left_out": left_out, "not_known": training.not_known}
    return CalibrationSet(
        puzzles[indices], rules[indices], source, [*(notes if any(left_out.values()) else []), *training.not_known]
    )


class _Training:
    """What a model was trained on, as far as it can be looked at.

    Args:
        data: that the model was trained with.
        checkpoint: of the model.
    """

    def __init__(self, data: GenRAVENDataModule, checkpoint: Mapping[str, Any]) -> None:
        self._data, self._num_steps = data, checkpoint["global_step"]
        self.not_known: list[str] = []
        """What is not known of the training set, in words."""
        if origin := checkpoint["genraven_config"].get("init_from"):
            self.not_known.append(f"whether the weights that the run began with ({origin}) were trained on some of "
                                  "these puzzles is not known")  # fmt: skip

    def holds(self, puzzles: Tensor, mask: Tensor) -> Tensor:
        """(B,) bool: which of ``puzzles`` (B, 3, 9, 9), to be written under ``mask`` (9, 9), stand in it."""
        try:
            return were_trained(puzzles, mask, self._parts())
        except InputError as error:
            self._note(f"whether the model was trained on some of these puzzles is not known: {error}")
            return torch.zeros(len(puzzles), dtype=torch.bool)

    def _parts(self) -> Iterator[Tensor]:
        total = min(self._data.num_training_puzzles(self._num_steps), MOST_COMPARED)
        with Progress("compare", total, "puzzle") as bar:
            for part in bar.over(self._data.training_puzzles(self._num_steps), len):
                if bar.done >= MOST_COMPARED:
                    self._note(f"they were compared with the first {bar.done:,} training puzzles, not with all")
                    break
                yield part

    def _note(self, text: str) -> None:
        if text not in self.not_known:
            self.not_known.append(text)
