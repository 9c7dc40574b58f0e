"""Selective prediction of ``genraven complete``: the best of several candidates, whether it is accepted, and why."""

import argparse
import platform
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from genraven.console import say
from genraven.errors import at_least
from genraven.formats.puzzles import UNKNOWN_RULE
from genraven.metrics.completion import asked_and_held
from genraven.puzzles import layout
from genraven.trust.audit import Candidate, Record, cells_of, strongest_first
from genraven.trust.calibration import Calibration, Promise, check_rate
from genraven.trust.confidence import feature_agreement, usable
from genraven.trust.decision import check_as_calibrated, check_given, how_completed
from genraven.trust.independence import first_of_copies, given_cells
from genraven.trust.power import Check, held_against
from genraven.trust.reason import panel_support
from launch.runs.folder import find_checkpoint
from launch.trained.calibrate import said
from launch.trained.checkers import OUR_RULES, Checker, find_checker
from launch.trained.completions import Completed, completions, drawn_puzzles
from launch.trained.load import calibration_of
from launch.trained.model import TrainedModel
from launch.trained.sampling import opened
from lightning_modules import PuzzleModule

CANDIDATES = 8
STANDS_APART = "had no part in score, threshold, choice and decision"


@dataclass(frozen=True)
class Decider:
    """A model, and what decides which of its completions are accepted."""

    model: TrainedModel
    score: str
    num_candidates: int
    calibration: Calibration | None
    promise: Promise | None
    made_by: dict[str, Any]
    checker: Checker
    others: Tensor
    """(K, 3, 9, 9) puzzles, whose panels tell what a completion rests on; none for no reason."""


def complete_selectively(options: argparse.Namespace, puzzles: Tensor, mask: Tensor) -> tuple[Tensor, list[Record]]:
    """The best completion of each puzzle (B, 3, 9, 9), and the records of all.

    Raises:
        InputError: options without sense, given panels that are empty, or a calibration that is missing, edited or of
            another model or way of completing.
    """
    check_given(puzzles, mask)
    at_least(0, exchanges=options.exchanges)
    if options.candidates is not None:
        at_least(1, candidates=options.candidates)
    decider = _prepared(options, mask)
    if decider.promise is not None and decider.calibration is not None:
        say(said(decider.promise, decider.calibration))
    decider.model.warn_of_unread(mask)
    kept, records = [], list[Record]()
    with decider.model.at_work():
        for done in completions(
            decider.model.module, puzzles, mask, num=decider.num_candidates, names=(decider.score,),
            batch_size=options.batch_size, split="complete",
            familiar=decider.calibration is not None and bool(decider.calibration.familiarity),
        ):  # fmt: skip
            best = done.best(decider.score)
            completed = done.candidates[torch.arange(len(best)), best]
            kept.append(completed)
            records += _records(decider, done, completed, mask[done.part], options)
    check = None
    if decider.calibration is not None:
        firsts = first_of_copies(given_cells(puzzles, mask)).tolist()
        known = [r.familiarity for r, is_first in zip(records, firsts, strict=True) if is_first]
        check = held_against(decider.calibration, None if None in known else known)  # type: ignore[arg-type]
        records = _held_against(check, records, accept_unlike=options.accept_unlike)
        say(check)
    return torch.cat(kept), records


def decisions_summary(records: Sequence[Record], audit: Path, review: Path | None) -> list[str]:
    """What was decided, and where it is written."""
    accepted = sum(record.decision == "accept" for record in records)
    lines = [f"{audit}: {accepted} of {len(records)} accepted, {len(records) - accepted} to review"]
    if records and records[0].promise is None:
        lines[0] += " (without --max-error nothing is promised, so none can be accepted)"
    return lines if review is None else [*lines, f"{review}: to review, the most doubtful first"]


def _held_against(check: Check, records: list[Record], *, accept_unlike: bool) -> list[Record]:
    """The records, with what all together say of the promise: is it of puzzles like these? If not, none is accepted."""
    found: dict[str, Any] = {"check": check.as_json()}
    if check.p_value is not None:
        found["unlike_p_value"] = check.p_value
    records = [replace(record, promise={**(record.promise or {}), **found}) for record in records]
    if not check.are_unlike:
        return records
    instead = "accepts some all the same" if accept_unlike else "accepts none (--accept-unlike accepts all the same)"
    say(f"genraven: these puzzles, as a whole, are unlike those of the calibration (p = {check.p_value:.1g}), and its "
        f"promise does not hold for them: {instead}; `genraven calibrate --source` calibrates on your own",
        error=True)  # fmt: skip
    return records if accept_unlike else [replace(record, decision="review") for record in records]


def _prepared(options: argparse.Namespace, mask: Tensor) -> Decider:
    path, calibration = find_checkpoint(options.run), None
    if options.max_error is not None:
        check_rate(options.max_error, "--max-error")
        calibration = Calibration.read(calibration_of(path, options.calibration))
    num = options.candidates or (CANDIDATES if calibration is None else calibration.completion["candidates"])
    checker = find_checker(options.rules_from)
    model = opened(options, path)
    with model.at_work():
        how = how_completed(model.module, num, None if calibration is None else mask)
        if calibration is not None:
            check_as_calibrated(model.module, mask, calibration, num_candidates=num)
    promise = None if calibration is None else calibration.promise(options.max_error)
    score = calibration.score if calibration else usable(model.module.method.confidences, num, options.without)[0]
    made_by = {"model": model.digest, "checkpoint": model.path.name, "step": model.step, "seed": model.seed,
               "puzzles": options.puzzles.name, "device": str(model.device),
               "versions": _versions(), **how}  # fmt: skip
    others = drawn_puzzles(model.data.trained, options.exchanges, options.seed)[0]
    return Decider(model, score, num, calibration, promise, made_by, checker, others)


def _versions() -> dict[str, str]:
    found = {"python": platform.python_version(), "machine": platform.machine()}
    for name in ("genraven", "torch", "numpy"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:  # run from its source, without being installed
            found[name] = "not installed"
    return found


def _records(
    decider: Decider, done: Completed, completed: Tensor, mask: Tensor, options: argparse.Namespace
) -> Iterator[Record]:
    """Those of one batch, of the ``completed`` puzzles that were kept."""
    model, scores = decider.model.module, done.scores[decider.score]
    agreements, best = feature_agreement(done.candidates, mask), done.best(decider.score)
    changes = None
    if len(decider.others):
        changes = panel_support(
            model, completed.to(model.device), mask.to(model.device), decider.others.to(model.device),
            knows_probability="log_probability" in model.method.confidences, batch_size=options.batch_size,
            generator=model.generator("reason", done.part.start),
        )  # fmt: skip
    says = _says(decider.checker, completed, mask)
    for b, index in enumerate(range(done.part.start, done.part.stop)):
        cells = [cells_of(candidate) for candidate in done.candidates[b]]
        written = _written_cells(mask[b])
        score = float(scores[b, best[b]])
        promise, calibration = decider.promise, decider.calibration
        accepted = promise is not None and bool(promise.accepts(score))
        yield Record(
            puzzle=index,
            decision="accept" if accepted else "review",
            confidence=float(calibration.probability(score)) if calibration else None,
            score=decider.score,
            threshold=promise.threshold if promise else None,
            promise=_promised(promise, calibration) if promise and calibration else None,
            familiarity=None if done.familiarity is None else float(done.familiarity[b]),
            given=[None if place in written else cell for place, cell in enumerate(cells[0])],
            written_cells=written,
            candidates=[
                Candidate([each[place] for place in written], float(s), agreed)
                for each, s, agreed in zip(cells, scores[b], agreements[b], strict=True)
            ],
            chosen=int(best[b]),
            rests_on=None if changes is None else strongest_first(changes[b]),
            rests_on_unit=None if changes is None else _unit(model),
            checker=None if says[b] is None else {
                "name": decider.checker.name, "says_right": says[b], "note": STANDS_APART
            },
            made_by=decider.made_by | {"batch": [done.part.start, done.part.stop]},
        )  # fmt: skip


def _unit(model: PuzzleModule) -> str:
    return "nats" if "log_probability" in model.method.confidences else "fraction of features"


def _promised(promise: Promise, calibration: Calibration) -> dict[str, Any]:
    holds_for = "each rule of" if len(calibration.groups) > 1 else "the mix of rules of"
    source = calibration.source
    return {
        "max_error": promise.max_error,
        "delta": promise.delta,
        "holds_for": f"puzzles like those of the calibration, averaged over {holds_for} it",
        "rules": sorted(calibration.rules),
        "calibration": source.get("file", source.get("split")),
    }


def _written_cells(mask: Tensor) -> list[int]:
    return layout.mask_to_tokens(mask.unsqueeze(0))[0].nonzero().squeeze(1).tolist()


def _says(checker: Checker, completed: Tensor, mask: Tensor) -> list[bool | None]:
    """Of each puzzle; None where the given rows share none of our rules to hold it against."""
    unknown = torch.full((len(completed),), UNKNOWN_RULE)
    says = checker.is_right(completed, unknown, mask).tolist()
    if checker.name != OUR_RULES:
        return says
    known = asked_and_held(completed, unknown, mask)[0].tolist()
    return [right if asked else None for right, asked in zip(says, known, strict=True)]


def asked_for(options: argparse.Namespace) -> bool:
    """Does ``complete`` have to say how sure it is?"""
    return options.max_error is not None or options.review is not None or options.candidates is not None
