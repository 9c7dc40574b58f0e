"""The commands of trained models: their options. Heavy imports wait until a command needs them."""

import argparse
import importlib
from collections.abc import Collection
from pathlib import Path
from typing import Any, Literal

from genraven.report.goals import GOALS
from genraven.run_folder import RunFiles
from launch.arguments import AddCommand, LateParser, add_overwrite, path
from launch.trained.settings import Opening, Scoring, add_settings

FILES = RunFiles(Path())
TO_EVALUATE = ("training_set_gib",)
"""Settings of an opening that have an effect in an evaluation alone."""
TRUST_TRIGGERS = ("--max-error", "--candidates", "--review")
"""Options with one of which ``complete`` says how sure it is."""
TRUST_DEPENDS = {
    "--calibration": TRUST_TRIGGERS[:1], "--accept-unlike": TRUST_TRIGGERS[:1], "--exchanges": TRUST_TRIGGERS,
    "--rules-from": TRUST_TRIGGERS, "--without": TRUST_TRIGGERS[1:],
}  # fmt: skip
"""Options that have an effect only with one of others."""


def add_model_commands(command: AddCommand) -> None:
    """Adds those that sample, complete, decide, score, report, probe and export."""
    _add_sampling_commands(command)
    _add_trust_commands(command)
    _add_evaluate_command(command)
    _add_report_command(command)
    _add_probe_and_export_commands(command)


def _add_sampling_commands(command: AddCommand) -> None:
    sub = command("sample", "trained.inference:sample", "generate puzzles with a trained model")
    _add_model_arguments(sub, task="generate")
    sub.add_argument("--num", type=int, default=64, help="puzzles to generate")
    sub.add_argument("--rules", nargs="+", help="rules to ask a network with labels for, in turn")
    sub.add_argument("--out", type=path, default=Path("samples.npy"), help="array file to write, (num, 3, 9, 9) int8")
    sub.add_argument(
        "--picture", type=path, help="picture of them, with the rules their rows share; default beside --out"
    )
    add_overwrite(sub)

    sub = command("complete", "trained.inference:complete", "complete puzzles with a trained model")
    _add_model_arguments(sub, task="complete")
    sub.add_argument("puzzles", type=path, help="file of puzzles: `genraven describe` says what it holds")
    sub.add_argument("--mask", type=path, help="bool array file (9, 9) or (B, 9, 9), true where to write; "
                     "default: the last panel")  # fmt: skip
    sub.add_argument("--rule", help="the rule of all the puzzles, for a network with labels")
    sub.add_argument("--out", type=path, default=Path("completed.npy"), help="array file to write, (B, 3, 9, 9) int8")
    sub.add_argument("--picture", type=path, help="picture of them, written cells tinted; default beside --out")
    add_overwrite(sub)
    _add_trust_arguments(sub)
    sub.excludes(["--rule"], beside=TRUST_TRIGGERS)  # which are of completions that do not know it
    sub.excludes(["--without"], beside=["--max-error"])  # the calibration has chosen the confidence
    for option, one_of in TRUST_DEPENDS.items():
        sub.needs([option], one_of=one_of)


def _fractions(text: str) -> tuple[float, ...]:
    try:
        return tuple(dict.fromkeys(float(word) for word in text.split(",")))
    except ValueError:
        raise argparse.ArgumentTypeError(f"expected fractions such as 0,0.02,0.1, got {text!r}") from None


def _add_evaluate_command(command: AddCommand) -> None:
    sub = command("evaluate", "trained.evaluate:evaluate", "score a checkpoint, a run or all runs of a folder: every "
                  "metric with count and interval; results that are there already are kept")  # fmt: skip
    _add_model_arguments(sub, many=True)
    add_settings(sub, Scoring)
    sub.add_argument("--given-corruption", type=_fractions, default=(0.0,), metavar="FRACTION,...",
                     help="fractions of cells whose content is replaced before the model "
                     "sees them for completion, each tried")  # fmt: skip
    sub.add_argument("--trust", action="store_true", help="also measure by its calibration whether a model knows when "
                     "it is wrong: area under risk and coverage, calibration error, accepted fraction")  # fmt: skip
    sub.add_argument(
        "--protocol",
        choices=["own", "study"],
        default="own",
        help="sample as the model does, or as the "
        "study scored its method, where that differs: it completed greedily with autoregressive models",
    )
    sub.add_argument("--out", type=path, help=f"JSON to add to; default: {FILES.evaluation} of the run folder")


def _add_trust_arguments(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("trust", "with --max-error, --candidates or --review, NAME.audit.jsonl beside "
                                      "--out says of each the confidence, the decision and the reason")  # fmt: skip
    group.add_argument("--max-error", type=float, help="fraction of wrong ones among accepted completions to promise, "
                       "for puzzles like those of `genraven calibrate`; needs a calibration")  # fmt: skip
    group.add_argument("--candidates", type=int, help="completions of each puzzle, of which the best by score is kept; "
                       "default: those of the calibration, else 8")  # fmt: skip
    group.add_argument("--review", type=path, metavar="PAGE.html", help="page to write, of the puzzles to review")
    group.add_argument("--calibration", type=path, help=f"default: {FILES.calibration} of the run folder")
    group.add_argument("--exchanges", type=int, default=16, help="other puzzles whose panels show which given panels a "
                       "completion depends on; 0 leaves that out")  # fmt: skip
    group.add_argument("--accept-unlike", action="store_true", help="accept even if the file as a whole is unlike the "
                       "calibration, for which the promise does not hold")  # fmt: skip
    _add_score_arguments(parser, group)


def _add_score_arguments(parser: argparse.ArgumentParser, group: Any) -> None:
    without = group.add_argument("--without", nargs="+", default=[], metavar="SCORE", help="confidences not to use")
    assert isinstance(parser, LateParser)
    before = parser.later

    def name_confidences(late: argparse.ArgumentParser) -> None:
        if before is not None:
            before(late)
        known = importlib.import_module("genraven.trust.confidence").CONFIDENCES
        without.help = f"confidences not to use: {', '.join(known)}".replace("%", "%%")

    parser.later = name_confidences
    group.add_argument("--rules-from", metavar="MODULE:FUNCTION", help="checker of your own: rows (N, 3, 3, 9, 3) to "
                       "bool (N,); default: the rules of GenRAVEN")  # fmt: skip


def _add_trust_commands(command: AddCommand) -> None:
    sub = command("calibrate", "trained.calibrate:calibrate", "find the confidence from which completions can be "
                  "accepted, with a promise on the errors among them for puzzles like its own")  # fmt: skip
    _add_model_arguments(sub, task="complete")
    sub.add_argument("--max-error", type=float, nargs="+", default=[0.05, 0.1], help="fractions of wrong ones among "
                     "accepted completions to try; others can be asked for later")  # fmt: skip
    sub.add_argument("--delta", type=float, default=0.1, help="probability, over calibrations, that a promise fails")
    sub.add_argument("--candidates", type=int, default=8, help="completions of each puzzle, of which one is kept")
    sub.add_argument("--puzzles", type=int, default=2000, help="puzzles to test thresholds on")
    sub.add_argument(
        "--puzzles-to-choose", type=int, default=500, help="other puzzles, to choose confidence and thresholds on"
    )
    sub.add_argument(
        "--rules", nargs="+", help="rules of the puzzles, equally likely; default: those that were trained"
    )
    sub.add_argument(
        "--per-rule", action="store_true", help="make the promise for each rule, not averaged over their mix"
    )
    sub.add_argument(
        "--source", type=path, help="file of whole puzzles that no model has seen, instead of generated ones"
    )
    sub.add_argument("--mask", type=path, help="bool array file (9, 9), true where to write; default: the last panel")
    sub.add_argument("--out", type=path, help=f"JSON to write; default: {FILES.calibration} of the run folder")
    add_overwrite(sub)
    _add_score_arguments(sub, sub)
    sub.excludes(["--rules"], beside=["--source"])

    sub = command("score", "trained.score:score", "log-likelihood of each puzzle and cell, to find faulty data")
    _add_run_arguments(sub, "of orders in which cells are read")
    sub.add_argument("puzzles", type=path, help="file of whole puzzles")
    sub.add_argument(
        "--corrupt",
        "--spoil",
        action="store_true",
        help="also corrupt one cell of each puzzle, and say how often it is found; --spoil is its former name",
    )
    sub.add_argument("--out", type=path, default=Path("scores.npz"), help="file to write: log-likelihoods (B,) and "
                     "(B, 9, 9) in nats, and what is expected")  # fmt: skip
    add_overwrite(sub)


def _add_probe_and_export_commands(command: AddCommand) -> None:
    sub = command("probe", "trained.probe:probe", "see how well each layer of a trained model encodes the rule: "
                  "accuracy of a linear classifier on its hidden states")  # fmt: skip
    _add_run_arguments(sub, "of noise, and of the weights of the untrained network beside it")
    sub.add_argument("--fit-per-rule", type=int, default=200, help="puzzles of each rule to fit the classifier on, of "
                     "the validation split")  # fmt: skip
    sub.add_argument("--puzzles-per-rule", type=int, default=100, help="test puzzles of each rule to score it on")
    sub.add_argument("--noise", type=float, nargs="+", help="levels at which a diffusion model reads puzzles: sigma / "
                     "alpha of Gaussian diffusion, where next shapes are 0.4 apart, sizes and colors 0.29; fraction of "
                     "masked cells in masked diffusion; default: the method's")  # fmt: skip
    sub.add_argument("--out", type=path, help=f"JSON to write; default {FILES.probe} in the run folder")
    sub.add_argument("--picture", type=path, help="picture of accuracy by layer; default beside --out")
    add_overwrite(sub)

    sub = command("export", "trained.export:export", "write a trained model as safetensors with a JSON card, for "
                  "sample, complete, evaluate, probe and fit --init-from")  # fmt: skip
    sub.add_argument("run", type=path, help="run folder, or a checkpoint of it")
    sub.add_argument("--out", type=path, help="folder to write, not there yet; default: export in the run folder")


def _add_report_command(command: AddCommand) -> None:
    sub = command("report", "trained.report:report", "say which family to train, from the runs of a folder: one "
                  "page of HTML, the same in Markdown")  # fmt: skip
    sub.add_argument("folder", type=path, help="folder of runs, best evaluated before: genraven evaluate FOLDER")
    sub.add_argument("--goal", default="completion", help=f"what the model is for: {' or '.join(GOALS)}")
    sub.add_argument("--examples", type=int, help="examples you have of each rule; default: the most that all families "
                     "were trained on")  # fmt: skip
    sub.add_argument("--growth", type=float, default=1.0, help="times as many examples you will have in a year; 1: as "
                     "many as now")  # fmt: skip
    sub.add_argument("--budget", type=float, help="device-hours that a training may take; money where --price is given")
    sub.add_argument("--price", type=float, help="of a device-hour, instead of what the runs noted")
    sub.add_argument("--puzzles-per-year", type=int, help="that the model will write, for the total cost of a year")
    sub.add_argument("--review-price", type=float, help="of a puzzle that a person reviews, for the same")
    sub.add_argument("--out", type=path, help="page to write, the Markdown beside it; default: report.html in FOLDER")
    add_overwrite(sub)
    sub.needs(["--review-price"], one_of=["--puzzles-per-year"])


def _add_run_arguments(
    parser: argparse.ArgumentParser, seed_of: str, *, many: bool = False, without: Collection[str] = TO_EVALUATE
) -> None:
    """With ``many``, a folder of runs can be named, too."""
    what = "run folder, a checkpoint of it, or what `genraven export` wrote"
    parser.add_argument("run", type=path, help=what + ", or a folder of runs" * many)
    add_settings(parser, Opening, without=without, seed=seed_of)


def _add_model_arguments(
    parser: argparse.ArgumentParser, *, many: bool = False, task: Literal["generate", "complete"] | None = None
) -> None:
    """With ``many``, several runs and several values of each sampling setting can be named. ``task`` is the only one
    of the command, which warns of settings that matter to the other alone.
    """
    parser.set_defaults(task=task)
    _add_run_arguments(parser, "of the sampling", many=many, without=() if many else TO_EVALUATE)

    def add_sampling(late: argparse.ArgumentParser) -> None:
        importlib.import_module("launch.trained.sampling").add_sampling_arguments(late, many=many)

    assert isinstance(parser, LateParser)
    parser.later = add_sampling
