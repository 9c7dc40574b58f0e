"""``genraven calibrate``: from which confidence on a model's completions can be accepted, with a promise."""

import argparse
import itertools
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from genraven.console import say
from genraven.errors import InputError, at_least
from genraven.formats.read import read_mask
from genraven.metrics.rates import Rate
from genraven.outputs import Outputs, has_keys
from genraven.puzzles.masks import last_panel_mask
from genraven.puzzles.spec import RULES
from genraven.run_folder import RunFiles, home
from genraven.trust.calibration import MOST_CANDIDATES, Calibration, Promise, check_rate, puzzles_needed
from genraven.trust.confidence import usable
from genraven.trust.decision import how_completed
from genraven.trust.familiarity import knows_familiarity
from genraven.trust.fitting import Labelled, calibrated, with_trust
from genraven.trust.power import ALIKE, NEVER_TRAINED, NOT_CHECKED, NUM_FILES, POOL, Sight, measured_power
from genraven.trust.risk import CalibrationError, risk_coverage
from launch.runs.folder import find_checkpoint
from launch.trained.calibration_set import calibration_set
from launch.trained.checkers import Checker, find_checker
from launch.trained.completions import completions
from launch.trained.other_kinds import familiarities, other_kinds
from launch.trained.sampling import opened
from lightning_modules import PuzzleModule


def calibrate(options: argparse.Namespace) -> None:
    """Writes ``calibration.json`` and says what it promises."""
    _check(options)
    path = find_checkpoint(options.run)
    files = RunFiles(home(path))
    out = options.out or files.calibration
    outputs = Outputs(overwrite=options.overwrite)
    outputs.add(out, "--out", is_ours=has_keys(("digest", "thresholds", "knots")))
    checker = find_checker(options.rules_from)
    trained = opened(options, path)
    model, data, checkpoint = trained.module, trained.data, trained.checkpoint
    names = usable(model.method.confidences, options.candidates, options.without)
    total = options.puzzles_to_choose + options.puzzles
    mask = read_mask(options.mask, total) if options.mask else last_panel_mask(total)
    used = calibration_set(options, data, checkpoint, mask[0])
    for note in used.notes:
        say(f"genraven: {note}", error=True)
    PuzzleModule.check_mask(used.puzzles, mask)
    with trained.at_work():
        completion = how_completed(model, options.candidates, mask)
        labelled = label(model, used.puzzles, used.rules, mask, checker, num=options.candidates, names=names,
                         batch_size=options.batch_size)  # fmt: skip
        others = dict[str, NDArray[np.float64]]()
        if knows_familiarity(model.method):
            kinds = other_kinds(used.puzzles[: options.puzzles_to_choose], {*data.trained, *used.rules.tolist()},
                                options.seed)  # fmt: skip
            others = familiarities(model, kinds, mask[0], options.batch_size)
    chosen, tested = labelled.split(options.puzzles_to_choose)
    found = calibrated(
        chosen, tested, model=trained.digest, completion=completion,
        source=used.source | {"checker": checker.name}, delta=options.delta, per_rule=options.per_rule,
    )  # fmt: skip
    promises = [found.promise(max_error) for max_error in options.max_error]  # or complains, before anything is written
    found = with_trust(found, tested)
    if chosen.familiarity is not None:
        power = measured_power(found.familiarity, {ALIKE: chosen.familiarity[:POOL], **others}, seed=options.seed)
        found = replace(found, power=power)
    with outputs:
        found.write(outputs[out])
    if options.out is None and files.tensorboard.is_dir():
        _show(files.tensorboard, trained.step, found, promises, tested)
    say("\n".join([*summary(found), *(said(promise, found) for promise in promises), *sight(found), str(out)]))


def _show(folder: Path, step: int, found: Calibration, promises: Sequence[Promise], tested: Labelled) -> None:
    """Adds to a run's curves what was found at ``step``, and risk against coverage, whose axis is percent."""
    from torch.utils.tensorboard import SummaryWriter

    coverage, risk = risk_coverage(tested.scores[found.score], tested.correct[found.score])
    with SummaryWriter(str(folder), filename_suffix=".calibration") as writer:
        for name in ("area", "calibration_error"):
            writer.add_scalar(f"trust/{name}", found.trust[name]["value"], step)
        for promise in promises:
            writer.add_scalar(f"trust/accepted_at_{promise.max_error:g}_error", promise.expected_share, step)
        for percent in range(1, 101):
            place = np.searchsorted(coverage, percent / 100 - 1e-9).clip(max=len(risk) - 1)
            writer.add_scalar("trust/risk_at_percent_accepted", risk[place], percent)


def _check(options: argparse.Namespace) -> None:
    at_least(1, puzzles=options.puzzles, puzzles_to_choose=options.puzzles_to_choose)
    if options.candidates > MOST_CANDIDATES:
        raise InputError(f"expected --candidates of at most {MOST_CANDIDATES}, got {options.candidates}.")
    check_rate(options.delta, "--delta")
    for max_error in options.max_error:
        check_rate(max_error, "--max-error")
        if options.puzzles < (needed := puzzles_needed(max_error, options.delta)):
            raise InputError(f"expected --puzzles to be {needed} or more to promise at most {max_error:g} errors with "
                             f"probability {1 - options.delta:g}, got {options.puzzles}.")  # fmt: skip


def label(
    model: PuzzleModule,
    puzzles: Tensor,
    rules: Tensor,
    mask: Tensor,
    checker: Checker,
    *,
    num: int,
    names: tuple[str, ...],
    batch_size: int,
    given: Tensor | None = None,
    familiar: bool = True,
    split: str = "calibration",
) -> Labelled:
    """Completes ``puzzles`` and says, by ``checker``, which of the candidates that each confidence keeps are right.

    ``given`` is what the model sees instead, such as with corrupted cells. What it writes is judged in its place
    in the whole puzzles. ``familiar`` notes how likely what is given is, too. ``split`` is whose draws they are.
    """
    scores: dict[str, list[Tensor]] = {name: [] for name in names}
    correct: dict[str, list[Tensor]] = {name: [] for name in names}
    known: list[Tensor] = []
    seen = puzzles if given is None else given
    for done in completions(
        model, seen, mask, num=num, names=names, batch_size=batch_size, split=split, familiar=familiar  # type: ignore[arg-type]
    ):  # fmt: skip
        every = torch.arange(len(done.candidates))
        known += [] if done.familiarity is None else [done.familiarity]
        for name in names:
            best = done.best(name)  # type: ignore[arg-type]
            scores[name].append(done.scores[name][every, best])
            whole = done.candidates[every, best].where(mask[done.part].unsqueeze(1), puzzles[done.part])
            correct[name].append(checker.is_right(whole, rules[done.part], mask[done.part]))
    return Labelled(
        {name: torch.cat(parts).numpy() for name, parts in scores.items()},
        {name: torch.cat(parts).numpy() for name, parts in correct.items()},
        np.array([RULES[r].name if r >= 0 else "unknown" for r in rules.tolist()]),
        torch.cat(known).numpy() if known else None,
    )


def summary(found: Calibration) -> list[str]:
    """What the confidences are worth, as lines of text."""
    right, total = (sum(pair[i] for pair in found.rules.values()) for i in (0, 1))
    lines = [f"{right} of {total} completions are right; area under risk against coverage on puzzles to choose on:"]
    lines += [f"  {name:16} {area:.4f}{'  used' * (name == found.score)}" for name, area in found.areas.items()]
    (low, high), value = found.trust["area"]["interval95"], found.trust["area"]["value"]
    ends = found.trust["random_area"], found.trust["best_area"]
    lines.append(f"area on the {total} calibration puzzles: {value:.4f} [{low:.4f}, {high:.4f}]; a confidence that "
                 "says nothing has {:.4f}, one that knows {:.4f}".format(*ends))  # fmt: skip
    if error := CalibrationError.read(found.trust["calibration_error"]):
        lines.append(f"calibration error on them: {error.in_words}")
    return lines


def sight(found: Calibration) -> list[str]:
    """What the check whether puzzles are like those of the calibration can see, as lines of text."""
    if not found.familiarity:
        return [NOT_CHECKED]
    assert found.power is not None
    sizes = list(next(iter(found.power.values())))
    least = next(n for n in itertools.count(1) if Sight.of(found, n).can_alarm)
    lines = ["whether puzzles are like these is checked of a file as a whole; files that are taken for unlike, of "
             f"{NUM_FILES} each, by the puzzles in a file:"]  # fmt: skip
    lines.append(" " * 42 + "".join(f"{size:>6}" for size in sizes))
    lines += [f"  {kind:40}" + "".join(f"{of[size][0]:6}" for size in sizes) for kind, of in found.power.items()]
    if least > 1:
        lines.append(f"  fewer than {least} puzzles are never taken for unlike, whatever they are")
    if not any(kind.startswith(NEVER_TRAINED) for kind in found.power):
        lines.append("  no rule was left that was never trained: what the check sees of such is not known")
    return lines


def said(promise: Promise, found: Calibration) -> str:
    """A promise in words."""
    of_what = "each rule" if len(found.groups) > 1 else "their mix of rules"
    if promise.threshold is None:
        return f"at most {promise.max_error:.0%} wrong: expects to accept nothing, since no threshold passed the test"
    low, high = (x.item() for x in Rate(torch.tensor(promise.accepted), torch.tensor(promise.total)).interval())
    return (f"at most {promise.max_error:.0%} wrong: expects to accept {promise.expected_share:.0%} [{low:.0%}, "
            f"{high:.0%}] of puzzles like those of the calibration, with probability {1 - promise.delta:.0%} over "
            f"calibrations, for {of_what}")  # fmt: skip
