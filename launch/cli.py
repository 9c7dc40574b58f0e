"""The ``genraven`` command: what it can do, and who does it. Heavy imports wait until a command needs them."""

import argparse
import importlib
import os
import sys
from collections.abc import Sequence
from contextlib import nullcontext, suppress
from pathlib import Path

from genraven.console import lost_output, say, settle_console
from genraven.errors import InputError, as_options
from genraven.escaping import visible
from genraven.memory import keep_freed_memory
from genraven.progress import nothing_left
from genraven.report.goals import GOALS
from genraven.signals import REQUEUE, Preempted, noted_signals
from launch.arguments import TRAINING_COMMANDS, AddCommand, DefaultsFormatter, LateParser, add_overwrite, path
from launch.configs import plugins
from launch.processes.leaving import Leaving
from launch.processes.started_by import settle_starter
from launch.schedulers.cluster_options import add_cluster_arguments
from launch.trained.arguments import add_model_commands

PRINTING = ("rules", "configs", "describe", "status", "advise")
"""Commands whose work is what they print."""
LAYOUTS = ["puzzles", "npz", "published", "folder", "split"]
EPILOG = """training commands (`genraven fit --help` lists their options; config names are files or shipped configs):
""" + "".join(f"  {name:10} {text}\n" for name, text in TRAINING_COMMANDS.items())
EPILOG += f"\nwith every command:\n  {plugins.OPTION} MODULE  {plugins.HELP}\n"


def build_parser() -> LateParser:
    """The parser of all commands but those of training."""
    parser = LateParser(
        prog="genraven",
        description="Train diffusion and autoregressive models on GenRAVEN puzzles; score both by the same measures.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.other_commands = tuple(TRAINING_COMMANDS)
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", title="commands", parser_class=LateParser)

    def command(name: str, handler: str, text: str) -> LateParser:
        sub: LateParser = commands.add_parser(name, help=text, description=text, formatter_class=DefaultsFormatter)
        parser.commands.append(sub)
        sub.set_defaults(handler=f"launch.{handler}")
        sub.add_argument(plugins.OPTION, action="append", metavar="MODULE", help=plugins.HELP)  # taken out before
        return sub

    command("rules", "data.generate:rules", "list the rules and the held-out splits")
    command("configs", "data.generate:configs", "list the shipped configs")
    _add_cluster_commands(command)

    sub = command("generate", "data.generate:generate", "write puzzles that follow rules")
    sub.add_argument(
        "--rules", nargs="+", default=["all"], help="ids, names (position.xor), attributes, a split, study or all"
    )
    sub.add_argument("--num", type=int, default=100, help="puzzles of each rule")
    sub.add_argument("--start", type=int, default=0, help="index of the first")
    sub.add_argument("--seed", type=int, default=0, help="of the draw")
    sub.add_argument("--split", default="train", help="train, val, test or calibration")
    sub.add_argument("--missing", type=float, default=0.0, metavar="FRACTION", help="mean fraction of cells (0 to 0.5) "
                     "that are missing; in the layout npz")  # fmt: skip
    sub.add_argument("--layout", choices=LAYOUTS, default="puzzles", help="puzzles: an array (B, 3, 9, 9), rule "
                     "by rule; npz: the same with the rules; published: (40, rows, 3, 9, 3), all rules of the data "
                     "set of the study; folder: a file of rows for each rule; split: (35, rows, 3, 9, 3), without the "
                     "rules of the split that --out names")  # fmt: skip
    sub.add_argument("--out", type=path, help="file or folder to write; an array as .npy or .pt; default: puzzles, "
                     "and the suffix of the layout")  # fmt: skip
    sub.add_argument("--picture", type=path, help="picture of the first few of each rule, with rule names")
    add_overwrite(sub)

    _add_file_commands(command)

    add_model_commands(command)
    _add_advise_command(command)

    sub = command("launch", "processes.launcher:launch", "train, or evaluate, on many devices of this machine: "
                  "genraven launch --devices 8 -- fit -c trainer/node.yaml ...")  # fmt: skip
    sub.add_argument("--devices", type=int, required=True, help="processes, one a device")
    sub.add_argument("--max-restarts", type=int, default=0, help="times to start again after a crash or a signal to a "
                     "process, as long as there is a newer checkpoint each time")  # fmt: skip
    sub.add_argument("arguments", nargs="+", metavar="-- fit ...", help="the command, fit or evaluate")
    return parser


def _add_file_commands(command: AddCommand) -> None:
    sub = command("describe", "data.files:describe", "say what a file of puzzles holds: rules that hold, C3, ranges, "
                  "missing cells, and copies")  # fmt: skip
    _add_puzzle_file_arguments(sub)
    sub.add_argument("--against", type=path, help="another file: how much of it is also in this one")
    sub.add_argument("--picture", type=path, help="picture of some puzzles, with the rules that their rows share")
    add_overwrite(sub)

    sub = command("import", "data.files:import_puzzles", "convert a file of puzzles to genraven's .npz format, and say "
                  "what was read, dropped and could not be mapped")  # fmt: skip
    _add_puzzle_file_arguments(sub)
    sub.add_argument("--out", type=path, required=True, help=".npz to write: puzzles (B, 3, 9, 9) int8, rules (B,), "
                     "-1 where none is stated, and known (B, 9, 9) where cells are missing")  # fmt: skip
    add_overwrite(sub)


def _add_puzzle_file_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", type=path, help=".npy, .npz or .pt file, or a folder of one for each rule")
    parser.add_argument("--source-split", help="split whose rules a file of 35 rules leaves out; default: the one in "
                        "its name, or that its puzzles show")  # fmt: skip


def _add_cluster_commands(command: AddCommand) -> None:
    sub = command("submit", "jobs.submit:submit", "train on a cluster: genraven submit --nodes 2 "
                  "--gpus-per-node 4 --time 12:00:00 -- fit -c model/sit_s.yaml ...")  # fmt: skip
    sub.add_argument("--dry-run", action="store_true", help="print the job script, and write nothing")
    add_cluster_arguments(sub)
    sub.add_argument("arguments", nargs=argparse.REMAINDER, metavar="-- fit ...", help="the training command")

    sub = command("sweep", "jobs.sweep:sweep", "train a grid of runs that are missing or failed: as one job array on "
                  "a cluster, or here")  # fmt: skip
    sub.add_argument("grid", help="YAML file of axes, or the name of a shipped one: sweep/study.yaml")
    sub.add_argument("--tier", help="train only this tier of a grid that has tiers")
    sub.add_argument("--local", type=int, metavar="N", help="train on this machine, N runs at a time")
    sub.add_argument("--max-parallel", type=int, metavar="N", help="runs of the array at the same time")
    sub.add_argument("--out", type=path, help="folder of the runs; default runs/<name of the grid>")
    sub.add_argument("--done-in", type=path, metavar="STUDY", help="folder of a study, or of several: runs that are "
                     "finished in their tables are not trained again")  # fmt: skip
    sub.add_argument("--dry-run", action="store_true", help="list the runs to start, and write nothing")
    sub.excludes([*add_cluster_arguments(sub), "--max-parallel"], beside=["--local"])

    sub = command("tune", "jobs.tune.command:tune", "look for the best settings of each family, with the same budget "
                  "for each (Optuna)")  # fmt: skip
    sub.add_argument("search", help="YAML file of ranges and a budget, or the name of a shipped one: "
                     "tune/structured.yaml")  # fmt: skip
    sub.add_argument("--local", type=int, default=1, metavar="N", help="trials at a time; any number of such commands, "
                     "also of a cluster's jobs, work on one search together")  # fmt: skip
    sub.add_argument("--out", type=path, help="folder of the trials; default runs/tune-<name of the search>")

    sub = command("study", "runs.keeping:add", "keep finished runs in a few tables, for version control: "
                  "genraven study add runs/grid docs/study/grid")  # fmt: skip
    sub.add_argument("action", choices=["add"], help="add runs to a study, all or none")
    sub.add_argument("runs", type=path, nargs="+", help="run folders, or folders of runs")
    sub.add_argument("study", type=path, help="folder of the study, new or not; `genraven report` reads it")

    sub = command("status", "runs.status:status", "show every run of a folder in one table")
    sub.add_argument("folder", type=path, help="folder of runs")
    sub.add_argument("--watch", type=float, nargs="?", const=5.0, metavar="SECONDS", help="renew the table every so "
                     "many seconds, 5 by default, until Ctrl-C")  # fmt: skip


def _add_advise_command(command: AddCommand) -> None:
    sub = command("advise", "advice.command:advise_command", "say which family to train before you train: "
                  "what the committed studies say about your number of examples")  # fmt: skip
    sub.add_argument("--goal", default="completion", help=f"what the model is for: {' or '.join(GOALS)}")
    sub.add_argument("--examples", type=int, help="examples you have of each rule")
    sub.add_argument(
        "--growth", type=float, default=1.0, help="factor by which your examples will grow in a year; 1: no growth"
    )
    sub.add_argument("--held-out", action="store_true", help="complete puzzles of rules that were not trained")
    sub.add_argument("--rules", nargs="+", help="how many rules there are to learn (3), or which: several ids (3 5), "
                     "names, attributes, a split, study or all; default: any number of any")  # fmt: skip
    sub.add_argument("--prior", choices=["general", "structured"], help="of the networks; default: either")
    sub.add_argument("--budget", type=float, help="device-hours that a training may take")
    sub.add_argument("--evidence", type=path, nargs="+", default=[], metavar="FOLDER", help="runs of your own, or "
                     "studies, to be added")  # fmt: skip
    sub.add_argument("--check", type=path, metavar="FOLDER", help="runs of your own to compare with a study; the "
                     "answer stays the study's. Without --examples, theirs are taken")  # fmt: skip
    sub.add_argument("--out", type=path, help="page to write, the Markdown beside it; default: none")
    add_overwrite(sub)


def _leave_reason(error: InputError) -> None:
    """Leaves ``error`` where a job script looks for it: exit codes get lost when one process ends before others."""
    note = os.environ.get("GENRAVEN_REFUSAL")
    if note:
        with suppress(OSError):
            Path(note).write_text(f"{error}\n")


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs a command; its exit status. Bad input is one line on stderr and status 2.

    Output that is lost, such as on a full disk, ends no work: it is said, and status 2 where all the work was to print.
    """
    settle_console()
    keep_freed_memory()
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    try:
        with nothing_left(), as_options():
            status, is_all = _run(arguments)
    except InputError as error:
        say(f"genraven: error: {visible(str(error))}", error=True)
        _leave_reason(error)
        return 2
    except Preempted as stop:
        say(f"genraven: stopped by {stop}; {stop.kept}, {stop.again} goes on", error=True)
        return REQUEUE
    except KeyboardInterrupt as stop:
        say(": ".join(["genraven: interrupted", *map(str, stop.args)]), error=True)
        return 130
    return _delivered(status, is_all=is_all)


def _run(arguments: list[str]) -> tuple[int, bool]:
    """The status of a command, and whether all its work was to print."""
    command = plugins.split_plugins(arguments)[0][:1]
    if command and command[0] in (*TRAINING_COMMANDS, "evaluate"):
        settle_starter()
    with noted_signals() if command == ["fit"] else nullcontext():  # plugins may take long to import
        arguments = plugins.take_plugins(arguments)
        if command and command[0] in TRAINING_COMMANDS:
            if plugins.named_plugins():
                _check_settings()
            from launch.training.command import run

            run(arguments)
            return 0, False
    parser = build_parser()
    options = parser.parse_args(arguments)
    if options.command is None:
        parser.print_help()
        return 0, True
    module, name = options.handler.split(":")
    status: int | None = getattr(importlib.import_module(module), name)(options)
    return status or 0, options.command in PRINTING or getattr(options, "dry_run", False)


def _check_settings() -> None:
    """Raises InputError where a plugin's method has a setting that could not be given to a command: before training."""
    for command in build_parser().commands:
        command.add_late()


def _delivered(status: int, *, is_all: bool) -> int:
    """``status``, or 2 where output that was all of the work is lost, which is said."""
    reason = lost_output()
    if reason is None:
        return status
    say(f"genraven: error: expected an output that can be written, got stdout ({reason}): some of it is lost; make "
        "room, or write it elsewhere.", error=True)  # fmt: skip
    return status or (2 if is_all else 0)


def run_process() -> int:
    """``main`` as all that this process does."""
    return Leaving().after(main)


if __name__ == "__main__":
    sys.exit(run_process())
