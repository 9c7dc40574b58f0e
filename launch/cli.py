"""The ``genraven`` command: what it can do, and who does it. Heavy imports wait until a command needs them."""

import argparse
import importlib
import os
import sys
from collections.abc import Callable, Sequence
from contextlib import nullcontext, suppress
from pathlib import Path
from typing import Any

from genraven.console import settle_console
from genraven.errors import InputError
from genraven.paths import user_path
from genraven.signals import REQUEUE, Preempted, noted_signals
from launch.configs import plugins
from launch.processes.started_by import settle_starter
from launch.slurm.cluster_options import add_cluster_arguments

TRAINING_COMMANDS = {
    "fit": "train a model: genraven fit -c model/sit_s.yaml -c data/4k.yaml -c trainer/gpu.yaml",
    "validate": "score a model on the validation puzzles, with fit's options",
    "test": "score a model on the test puzzles, with fit's options",
    "predict": "complete the test puzzles, with fit's options",
}
LAYOUTS = ["puzzles", "npz", "published", "folder", "split"]
EPILOG = """training commands (`genraven fit --help` lists their options; config names are files or shipped configs):
""" + "".join(f"  {name:10} {text}\n" for name, text in TRAINING_COMMANDS.items())
EPILOG += f"\nwith every command:\n  {plugins.OPTION} MODULE  {plugins.HELP}\n"


class LateParser(argparse.ArgumentParser):
    """A parser of which some options are looked up, at a cost, only when its command is asked for."""

    later: Callable[[argparse.ArgumentParser], None] | None = None

    def parse_known_args(self, *args: Any, **kwargs: Any) -> Any:
        """Adds what is late before anything is parsed or explained."""
        if self.later is not None:
            self.later(self)
            self.later = None
        return super().parse_known_args(*args, **kwargs)


def build_parser() -> argparse.ArgumentParser:
    """The parser of all commands but those of training."""
    parser = argparse.ArgumentParser(
        prog="genraven",
        description="Train diffusion and autoregressive models on GenRAVEN puzzles; score both by the same measures.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", title="commands", parser_class=LateParser)

    def command(name: str, handler: str, text: str) -> argparse.ArgumentParser:
        sub = commands.add_parser(
            name, help=text, description=text, formatter_class=argparse.ArgumentDefaultsHelpFormatter
        )
        sub.set_defaults(handler=f"launch.{handler}")
        sub.add_argument(plugins.OPTION, action="append", metavar="MODULE", help=plugins.HELP)  # taken out before
        return sub

    command("rules", "data.generate:rules", "list the 40 rules and the held-out splits")
    command("configs", "data.generate:configs", "list the shipped configs")
    _add_cluster_commands(command)

    sub = command("generate", "data.generate:generate", "write puzzles that follow rules")
    sub.add_argument(
        "--rules", nargs="+", default=["all"], help="ids, names (position.xor), attributes, a split or all"
    )
    sub.add_argument("--num", type=int, default=100, help="puzzles of each rule")
    sub.add_argument("--start", type=int, default=0, help="index of the first")
    sub.add_argument("--seed", type=int, default=0)
    sub.add_argument("--split", default="train", help="train, val, test or calibration")
    sub.add_argument("--missing", type=float, default=0.0, metavar="SHARE", help="mean share of cells (0 to 0.5) that "
                     "are unknown; in the layout npz")  # fmt: skip
    sub.add_argument("--layout", choices=LAYOUTS, default="puzzles", help="(B, 3, 9, 9), rule by rule; the same with "
                     "the rules; the study's (40, rows, 3, 9, 3), of all rules; a folder of a file for each rule; the "
                     "study's (35, rows, 3, 9, 3) without the rules of the split named in --out")  # fmt: skip
    sub.add_argument("--out", type=_path, help="file or folder to write, an array as .npy or .pt; default: puzzles")
    sub.add_argument("--picture", type=_path, help="PNG of the first few of each rule, with rule names")

    _add_file_commands(command)

    sub = command("sample", "trained.inference:sample", "generate puzzles with a trained model")
    _add_model_arguments(sub)
    sub.add_argument("--num", type=int, default=64, help="puzzles to generate")
    sub.add_argument("--rules", nargs="+", help="rules to ask a network with labels for, in turn")
    sub.add_argument("--out", type=_path, default=Path("samples.npy"), help="array file to write, (num, 3, 9, 9) int8")
    sub.add_argument("--picture", type=_path, help="PNG of them, with the rules their rows share; default beside --out")

    sub = command("complete", "trained.inference:complete", "complete puzzles with a trained model")
    _add_model_arguments(sub)
    sub.add_argument("puzzles", type=_path, help="file of puzzles: `genraven describe` says what it holds")
    sub.add_argument("--mask", type=_path, help="bool array file (9, 9) or (B, 9, 9), true where to write; "
                     "default: the last panel")  # fmt: skip
    sub.add_argument("--out", type=_path, default=Path("completed.npy"), help="array file to write, (B, 3, 9, 9) int8")
    sub.add_argument("--picture", type=_path, help="PNG of them, written cells tinted; default beside --out")
    _add_trust_arguments(sub)
    _add_trust_commands(command)

    _add_evaluate_command(command)
    _add_report_command(command)
    _add_probe_and_export_commands(command)

    sub = command("launch", "processes.launcher:launch", "train, or evaluate, on many devices of this machine: "
                  "genraven launch --devices 8 -- fit -c trainer/node.yaml ...")  # fmt: skip
    sub.add_argument("--devices", type=int, required=True, help="processes, one a device")
    sub.add_argument("--max-restarts", type=int, default=0, help="times to start again after a crash or a signal to a "
                     "process, as long as there is a newer checkpoint each time")  # fmt: skip
    sub.add_argument("arguments", nargs="+", metavar="-- fit ...", help="the command, fit or evaluate")
    return parser


def _add_file_commands(command: Callable[[str, str, str], argparse.ArgumentParser]) -> None:
    sub = command("describe", "data.files:describe", "say what a file of puzzles holds: rules that hold, C3, ranges, "
                  "gaps, and what comes more than once")  # fmt: skip
    _add_puzzle_file_arguments(sub)
    sub.add_argument("--against", type=_path, help="another file: how much of it stands in this one, too")
    sub.add_argument("--picture", type=_path, help="PNG of some puzzles, with the rules that their rows share")

    sub = command("import", "data.files:import_puzzles", "turn a file of puzzles into ours, and say what was read, "
                  "dropped and could not be mapped")  # fmt: skip
    _add_puzzle_file_arguments(sub)
    sub.add_argument("--out", type=_path, required=True, help=".npz to write: puzzles (B, 3, 9, 9) int8, rules (B,), "
                     "-1 where none is stated, and known (B, 9, 9) where cells are missing")  # fmt: skip


def _add_puzzle_file_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", type=_path, help=".npy, .npz or .pt file, or a folder of one for each rule")
    parser.add_argument("--source-split", help="split whose rules a file of 35 rules leaves out; default: the one in "
                        "its name, or that its puzzles tell")  # fmt: skip


def _shares(text: str) -> tuple[float, ...]:
    return tuple(dict.fromkeys(float(word) for word in text.split(",")))


def _add_evaluate_command(command: Callable[[str, str, str], argparse.ArgumentParser]) -> None:
    sub = command("evaluate", "trained.evaluate:evaluate", "score a checkpoint, a run or all runs of a folder: every "
                  "metric with count and interval; what was scored before is not scored again")  # fmt: skip
    _add_model_arguments(sub, many=True)
    sub.add_argument("--puzzles-per-rule", type=int, default=100, help="held-back puzzles to complete of each rule; "
                     "as many are generated")  # fmt: skip
    sub.add_argument("--split", choices=["val", "test"], default="test")
    sub.add_argument("--given-corruption", type=_shares, default=(0.0,), metavar="SHARE,...", help="shares of cells "
                     "whose content is replaced before the model sees them for completion, each tried")  # fmt: skip
    sub.add_argument("--trust", action="store_true", help="say as well how far each model knows when it is wrong, by "
                     "its calibration: area under risk and coverage, calibration error, share accepted")  # fmt: skip
    sub.add_argument(
        "--protocol",
        choices=["own", "study"],
        default="own",
        help="sample as the model does, or as the "
        "study scored its method, where that differs: it completed greedily with autoregressive models",
    )
    sub.add_argument("--out", type=_path, help="JSON to add to; default: evaluation.json of the run folder")


def _add_trust_arguments(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("trust", "with --max-error, --candidates or --review, NAME.audit.jsonl beside "
                                      "--out says how sure the model is of each, what was decided and why")  # fmt: skip
    group.add_argument("--max-error", type=float, help="share of wrong ones among accepted completions to promise; "
                       "needs `genraven calibrate`")  # fmt: skip
    group.add_argument("--candidates", type=int, help="completions of each puzzle, of which the best by score is kept; "
                       "default: those of the calibration, else 8")  # fmt: skip
    group.add_argument("--review", type=_path, metavar="PAGE.html", help="page to write, of the puzzles to review")
    group.add_argument("--calibration", type=_path, help="default: calibration.json of the run folder")
    group.add_argument("--exchanges", type=int, default=16, help="other puzzles whose panels tell which given panels a "
                       "completion rests on; 0 does not ask")  # fmt: skip
    _add_score_arguments(group)


def _add_score_arguments(group: Any) -> None:
    group.add_argument("--without", nargs="+", default=[], metavar="SCORE", help="confidences not to use: agreement, "
                       "strongest, log_probability, stability")  # fmt: skip
    group.add_argument("--rules-from", metavar="MODULE:FUNCTION", help="checker of your own: rows (N, 3, 3, 9, 3) to "
                       "bool (N,); default: the rules of GenRAVEN")  # fmt: skip


def _add_trust_commands(command: Callable[[str, str, str], argparse.ArgumentParser]) -> None:
    sub = command("calibrate", "trained.calibrate:calibrate", "find from which confidence on completions can be "
                  "accepted, with a promise on the error among them")  # fmt: skip
    _add_model_arguments(sub)
    sub.add_argument("--max-error", type=float, nargs="+", default=[0.05, 0.1], help="shares of wrong ones among "
                     "accepted completions to try; others can be asked for later")  # fmt: skip
    sub.add_argument("--delta", type=float, default=0.1, help="chance, over calibrations, of a promise that fails")
    sub.add_argument("--candidates", type=int, default=8, help="completions of each puzzle, of which one is kept")
    sub.add_argument("--puzzles", type=int, default=2000, help="to test on")
    sub.add_argument("--puzzles-to-choose", type=int, default=500, help="others, to choose score and thresholds on")
    sub.add_argument("--rules", nargs="+", help="of the puzzles, as likely each; default: those that were trained")
    sub.add_argument("--per-rule", action="store_true", help="promise it of each rule, not averaged over their mix")
    sub.add_argument(
        "--source", type=_path, help="file of whole puzzles that no model has seen, instead of generated ones"
    )
    sub.add_argument("--mask", type=_path, help="bool array file (9, 9), true where to write; default: the last panel")
    sub.add_argument("--out", type=_path, help="JSON to write; default: calibration.json of the run folder")
    _add_score_arguments(sub)

    sub = command("score", "trained.score:score", "find broken records: how likely a model finds each puzzle and cell")
    _add_run_arguments(sub, "of orders in which cells are read")
    sub.add_argument("puzzles", type=_path, help="file of whole puzzles")
    sub.add_argument(
        "--spoil", action="store_true", help="also spoil a cell of each puzzle, and say how often it is found"
    )
    sub.add_argument("--out", type=_path, default=Path("scores.npz"), help="file to write: log-likelihoods (B,) and "
                     "(B, 9, 9) in nats, and what is expected")  # fmt: skip


def _add_probe_and_export_commands(command: Callable[[str, str, str], argparse.ArgumentParser]) -> None:
    sub = command("probe", "trained.probe:probe", "see in which layers of a trained model the rule of a puzzle stands: "
                  "accuracy of a linear classifier on the hidden states of each")  # fmt: skip
    _add_run_arguments(sub, "of noise, and of the weights of the untrained network beside it")
    sub.add_argument("--fit-per-rule", type=int, default=200, help="puzzles of each rule to fit the classifier on, of "
                     "the validation split")  # fmt: skip
    sub.add_argument("--puzzles-per-rule", type=int, default=100, help="test puzzles of each rule to score it on")
    sub.add_argument("--noise", type=float, nargs="+", help="levels at which a diffusion model reads puzzles: sigma / "
                     "alpha of a Gaussian process, where next shapes are 0.4 apart, sizes and colors 0.29; share of "
                     "masked cells in masked diffusion; default: the method's")  # fmt: skip
    sub.add_argument("--out", type=_path, help="JSON to write; default probe.json in the run folder")
    sub.add_argument("--picture", type=_path, help="PNG of accuracy by layer; default beside --out")

    sub = command("export", "trained.export:export", "write a trained model as safetensors with a JSON card, for "
                  "sample, complete, evaluate, probe and fit --init-from")  # fmt: skip
    sub.add_argument("run", type=_path, help="run folder, or a checkpoint of it")
    sub.add_argument("--out", type=_path, help="folder to write, not there yet; default: export in the run folder")


def _add_report_command(command: Callable[[str, str, str], argparse.ArgumentParser]) -> None:
    sub = command("report", "trained.report:report", "say which family to invest in, from the runs of a folder: one "
                  "page of HTML, the same in Markdown")  # fmt: skip
    sub.add_argument("folder", type=_path, help="folder of runs, best evaluated before: genraven evaluate FOLDER")
    sub.add_argument("--goal", default="completion", help="what the model is for: completion or generation")
    sub.add_argument("--examples", type=int, help="examples you have of each rule; default: the most that all families "
                     "were trained on")  # fmt: skip
    sub.add_argument("--growth", type=float, default=1.0, help="times as many examples you will have in a year; 1: as "
                     "many as now")  # fmt: skip
    sub.add_argument("--budget", type=float, help="device-hours that a training may take; money where --price is given")
    sub.add_argument("--price", type=float, help="of a device-hour, instead of what the runs noted")
    sub.add_argument("--puzzles-per-year", type=int, help="that the model will write, for the total cost of a year")
    sub.add_argument("--review-price", type=float, help="of a puzzle that a person reviews, for the same")
    sub.add_argument("--out", type=_path, help="page to write, the Markdown beside it; default: report.html in FOLDER")


def _add_cluster_commands(command: Callable[[str, str, str], argparse.ArgumentParser]) -> None:
    sub = command("submit", "jobs.submit:submit", "train on a SLURM cluster: genraven submit --nodes 2 "
                  "--gpus-per-node 4 --time 12:00:00 -- fit -c model/sit_s.yaml ...")  # fmt: skip
    sub.add_argument("--dry-run", action="store_true", help="print the job script, and write nothing")
    add_cluster_arguments(sub)
    sub.add_argument("arguments", nargs=argparse.REMAINDER, metavar="-- fit ...", help="the training command")

    sub = command("sweep", "jobs.sweep:sweep", "train a grid of runs that are missing or failed: as one job array on "
                  "a SLURM cluster, or here")  # fmt: skip
    sub.add_argument("grid", help="YAML file of axes, or the name of a shipped one: sweep/study.yaml")
    sub.add_argument("--local", type=int, metavar="N", help="train on this machine, N runs at a time")
    sub.add_argument("--max-parallel", type=int, metavar="N", help="runs of the array at the same time")
    sub.add_argument("--out", type=_path, help="folder of the runs; default runs/<name of the grid>")
    sub.add_argument("--dry-run", action="store_true", help="list the runs to start, and write nothing")
    add_cluster_arguments(sub)

    sub = command("status", "runs.status:status", "show every run of a folder in one table")
    sub.add_argument("folder", type=_path, help="folder of runs")
    sub.add_argument("--watch", type=float, nargs="?", const=5.0, metavar="SECONDS", help="renew the table every so "
                     "many seconds, 5 unless told, until Ctrl-C")  # fmt: skip


def _add_run_arguments(parser: argparse.ArgumentParser, seed_of: str, *, many: bool = False) -> None:
    """With ``many``, a folder of runs can be named, too."""
    what = "run folder, a checkpoint of it, or what `genraven export` wrote"
    parser.add_argument("run", type=_path, help=what + ", or a folder of runs" * many)
    parser.add_argument("--seed", type=int, default=0, help=seed_of)
    parser.add_argument("--batch-size", type=int, default=250, help="puzzles at once")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:1, ...")
    parser.add_argument("--precision", help="to compute in, such as 32-true or bf16-mixed; default: what the model was "
                        "trained in")  # fmt: skip


def _add_model_arguments(parser: argparse.ArgumentParser, *, many: bool = False) -> None:
    """With ``many``, several runs and several values of each sampling setting can be named."""
    _add_run_arguments(parser, "of the sampling", many=many)

    def add_sampling(late: argparse.ArgumentParser) -> None:
        importlib.import_module("launch.trained.sampling").add_sampling_arguments(late, many=many)

    assert isinstance(parser, LateParser)
    parser.later = add_sampling


def _path(text: str) -> Path:
    try:
        return user_path(text)
    except InputError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _leave_reason(error: InputError) -> None:
    """Leaves ``error`` where a job script looks for it: exit codes get lost when one process ends before others."""
    note = os.environ.get("GENRAVEN_REFUSAL")
    if note:
        with suppress(OSError):
            Path(note).write_text(f"{error}\n")


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs a command; its exit status. Bad input is one line on stderr and status 2."""
    settle_console()
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    if arguments[:1] and arguments[0] in (*TRAINING_COMMANDS, "evaluate"):
        settle_starter()
    try:
        arguments = plugins.take_plugins(arguments)
        if arguments and arguments[0] in TRAINING_COMMANDS:
            with noted_signals() if arguments[0] == "fit" else nullcontext():
                from launch.training.command import run

                run(arguments)
            return 0
        parser = build_parser()
        options = parser.parse_args(arguments)
        if options.command is None:
            parser.print_help()
            return 0
        module, name = options.handler.split(":")
        status: int | None = getattr(importlib.import_module(module), name)(options)
    except InputError as error:
        print(f"genraven: error: {error}", file=sys.stderr)
        _leave_reason(error)
        return 2
    except Preempted as stop:
        print(f"genraven: stopped by {stop}; all is saved, the same command goes on", file=sys.stderr)
        return REQUEUE
    except KeyboardInterrupt:
        print("genraven: interrupted", file=sys.stderr)
        return 130
    return status or 0


if __name__ == "__main__":
    sys.exit(main())
