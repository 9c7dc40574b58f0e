"""``genraven evaluate``: every metric of a checkpoint, a run or a whole sweep, for each way of sampling asked for."""

import argparse
import itertools
import platform
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

from datamodules import GenRAVENDataModule
from genraven.errors import InputError, flag
from genraven.files import writable_folder
from genraven.methods.method import all_methods
from genraven.metrics.table import counted_of_each
from genraven.progress import part
from genraven.puzzles.spec import NUM_CELLS, RULES
from genraven.report.evaluation import CALIBRATION, SELECTIVE, Evaluation, Wanted, pack_hits
from genraven.run_folder import RunFiles, home
from genraven.timing import SamplingTimer
from launch.errors import explained_exits
from launch.processes.process_group import ProcessGroup, joined_processes
from launch.runs.exported import is_export
from launch.runs.folder import find_checkpoint
from launch.runs.shards import is_sharded
from launch.runs.status import named_runs
from launch.trained.model import TrainedModel
from launch.trained.printed import overview, table
from launch.trained.sampling import given_sampling
from launch.trained.scoring import corrupted_puzzles, draws_of
from launch.trained.selective_risk import Calibrated, said
from launch.trained.settings import Opening, Scoring, read_settings
from lightning_modules import PuzzleModule


@dataclass(frozen=True, kw_only=True)
class Request:
    """What is asked of a model: the options of ``genraven evaluate``."""

    opening: Opening
    scorings: Sequence[Scoring]
    """Each is done in each way of sampling."""
    sampling: Mapping[str, Sequence[Any]] = field(default_factory=dict)
    """Values to try of each setting; of what is not named, the model's own."""
    protocol: str = "own"
    """``study``: as the study sampled, where that differs."""
    trust: bool = False
    """Is it asked as well how far the model knows when it is wrong, by its calibration?"""


def evaluate(options: argparse.Namespace) -> int:
    """Scores what ``evaluation.json`` lacks and prints it all; 1 when a run of several was passed over."""
    request = Request(
        opening=read_settings(options, Opening, progress=True),
        scorings=[read_settings(options, Scoring, given_corruption=part) for part in options.given_corruption],
        sampling=given_sampling(options), protocol=options.protocol, trust=options.trust,
    )  # fmt: skip
    passed_over, rows, unused = 0, [], set(request.sampling)
    with joined_processes() as group:
        runs = group.agreed(lambda: _find_runs(options.run, options.out))
        for number, (name, run) in enumerate(runs.items(), 1):
            try:
                with part(number, len(runs)):
                    spared = set[str]() if len(runs) > 1 else None
                    results = evaluate_run(run, request, group, out=options.out, spared=spared)
            except InputError as error:
                if len(runs) == 1:
                    raise
                group.say(f"{name}: passed over: {error}")
                passed_over += 1
                continue
            unused &= spared or set()
            if spared:
                left_out = ", ".join(map(flag, sorted(spared)))
                group.say(f"{name}: scored without {left_out}, which its method does not have")
            rows += [(name, result) for result in results]
        if len(rows) == 1:
            group.say(table(rows[0][1]["metrics"]))
        elif rows:
            group.say(overview(rows, asked=_asked(request)))
        for name, result in rows:
            if SELECTIVE in result and request.trust:
                group.say(f"{name}: {said(result[SELECTIVE])}")
    if unused and rows:
        raise InputError(f"expected {', '.join(map(flag, sorted(unused)))} of a method of a run in {options.run}, got "
                         "runs whose methods do not have it: all were scored without it.")  # fmt: skip
    return int(passed_over > 0)


def _asked(request: Request) -> set[str]:
    """Settings whose values a table of results names, also where all have the same."""
    of_study = {name for method in all_methods() for name in method.study_protocol}
    return {*request.sampling, *(of_study if request.protocol == "study" else ())}


def _find_runs(place: Path, out: Path | None) -> dict[str, Path]:
    """What to evaluate, by name."""
    is_one = not place.is_dir() or is_export(place) or is_sharded(place)
    runs = {str(place): place} if is_one else named_runs(place)
    if out is not None and len(runs) > 1:
        raise InputError(f"expected one run with --out, got {len(runs)}: leave --out out, because each run has its own "
                         "file.")  # fmt: skip
    return runs


def evaluate_run(
    run: Path, request: Request, group: ProcessGroup, *, out: Path | None = None, spared: set[str] | None = None
) -> list[dict[str, Any]]:
    """The results of ``run`` for all ways of sampling; those that its file has are taken from there.

    Args:
        run: a run folder, or a checkpoint.
        request: what is asked.
        group: the processes at work.
        out: the file that has, or gets, the results; default: evaluation.json of the run folder.
        spared: gets the options that this one cannot use, where other runs are evaluated; None makes them an error.

    Raises:
        InputError: nothing to evaluate, options that make no sense, or a file that belongs to another run.
    """
    path = group.agreed(lambda: find_checkpoint(run))
    file = Evaluation(out or RunFiles(home(path)).evaluation)
    with group.together(), explained_exits(file.path.parent):
        writable_folder(file.path.absolute().parent, "--out")
        opening = replace(request.opening, device=group.device(request.opening.device))
        model = TrainedModel.opened(path, opening)
        facts = run_facts(model.module, model.data)
        file.check_owner(facts)
        calibrated = Calibrated.of(path) if request.trust else None
        models = [model.sampling_by(**way) for way in _ways(request, model.module, spared)]
        if calibrated:
            for each in models:  # all are checked before any is scored
                calibrated.check(each)
    results = list[dict[str, Any]]()
    for each, scoring in itertools.product(models, request.scorings):
        wanted = _wanted(each, scoring, calibrated)
        result = group.agreed(partial(file.find, wanted))
        if result is None:
            scored = group.agreed(partial(file.find_scores, wanted)) or _score(each, scoring, group)
            if calibrated:
                measure = partial(_selective_risk, calibrated, each, scoring)
                scored = scored | {SELECTIVE: group.agreed(measure)}
            result = group.agreed(partial(file.add, facts, wanted, scored))
        results.append(result)
    group.say(f"{file.path}")
    return results


def _wanted(model: TrainedModel, scoring: Scoring, calibrated: Calibrated | None = None) -> Wanted:
    """The result of ``scoring`` with the scores of today; of no calibration where there is none."""
    key = {
        "checkpoint": model.path.name,
        "step": model.step,
        "seed": model.seed,
        "batch_size": model.batch_size,
        "sampling": asdict(model.sampling),
        "numerics": asdict(model.numerics),
        **asdict(scoring),
        CALIBRATION: calibrated and calibrated.digest,
        "weights": model.digest,
        "eval_source": model.data.eval_source_sha256,
    }
    return Wanted(key, model.sampling.as_noted, counted_of_each())


def _ways(request: Request, model: PuzzleModule, spared: set[str] | None) -> list[dict[str, Any]]:
    """Each value of each setting with each of the others; one is ``spared`` what its method has not."""
    if spared is not None:
        spared |= request.sampling.keys() - asdict(model.method.sampling).keys()
    axes = {name: values for name, values in request.sampling.items() if name not in (spared or ())}
    protocol = dict(model.method.study_protocol) if request.protocol == "study" else {}
    return [protocol | dict(zip(axes, point, strict=True)) for point in itertools.product(*axes.values())]


def run_facts(model: PuzzleModule, data: GenRAVENDataModule) -> dict[str, Any]:
    """What a result belongs to."""
    return {
        "family": model.family,
        "architecture": model.architecture,
        "prior": model.prior,
        "parameters": sum(p.numel() for p in model.network.parameters()),
        "samples_per_rule": data.samples_per_rule,
        "trained": [RULES[rule].name for rule in data.trained],
        "held_out": [RULES[rule].name for rule in data.held_out],
        "eval_rules": [RULES[rule].name for rule in data.eval_rules],
        "data_seed": data.seed,
        "eval_seed": data.eval_seed,
        "data_source": data.source_sha256,
    }


def _score(trained: TrainedModel, scoring: Scoring, group: ProcessGroup) -> dict[str, Any]:
    start, model = time.perf_counter(), trained.module
    model.measured = timer = SamplingTimer(model.device)
    results, hits = trained.score(scoring, group)
    is_cuda = model.device.type == "cuda"
    return {
        "own_sampling": trained.sampling == model.method.sampling,
        "seconds": {**timer.seconds, "all": time.perf_counter() - start},
        "network_passes_per_puzzle": {task: model.nfe(task, NUM_CELLS) for task in timer.seconds},
        "device": torch.cuda.get_device_name(model.device) if is_cuda else f"cpu, {platform.machine()}",
        "devices": group.size,
        "metrics": results.as_json(),
        "hits": {name: pack_hits(flags) for name, flags in hits.items()},
    }


def _selective_risk(calibrated: Calibrated, model: TrainedModel, scoring: Scoring) -> dict[str, Any]:
    puzzles, rules = model.data.evaluation_puzzles(scoring.split, scoring.puzzles_per_rule)
    given = corrupted_puzzles(puzzles, scoring.given_corruption, model.seed, scoring.split)
    return calibrated.measure(model, puzzles, rules, given, split=draws_of(scoring.split))
