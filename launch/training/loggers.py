"""Loggers of a run: TensorBoard's unless a config names others, for which a run that goes on is the same one."""

import re
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from jsonargparse import ArgumentParser, Namespace
from lightning.pytorch.loggers import Logger, TensorBoardLogger
from lightning.pytorch.utilities import rank_zero_only

from callbacks.loggers import IDS, noted_ids
from genraven.run_folder import RunFiles, event_files
from launch.errors import refused_by_constructors

RUN_DIR, RUN = "{run_dir}", "{run}"  # in a text of a logger's arguments: the run folder, and its name
Specs = list[Namespace]


def take_specs(trainer_config: Namespace) -> Specs:
    """What ``trainer_config`` says of loggers, taken out of it: they are made once the run folder is known.

    Whether TensorBoard, the default, or nothing is logged to is left in it.
    """
    given = trainer_config.logger
    if not isinstance(given, Namespace | list):
        return []
    trainer_config.logger = None
    return given if isinstance(given, list) else [given]


EVENTS = re.compile(r"(events\.out\.tfevents\.)(\d{10})(\..*)")


def keep_in_order(loggers: Iterable[Logger], run: Path) -> None:
    """Makes sure that what TensorBoard's ``loggers`` will write into the folder ``run`` comes last.

    TensorBoard reads the files of a run in the order of their names, which begin with the second of their start, and
    hides what a later one has gone back before. Where a clock was set back, or the second is the same, the earlier
    files get earlier seconds. Nobody writes to them any more.
    """
    for logger in loggers:
        if isinstance(logger, TensorBoardLogger) and (folder := Path(logger.log_dir)).is_relative_to(run):
            _make_earlier(folder, int(time.time()))


@rank_zero_only
def _make_earlier(folder: Path, second: int) -> None:
    moves = []
    for path in reversed(event_files(folder)):
        if not (parts := EVENTS.fullmatch(path.name)):
            continue
        if int(parts[2]) < second:
            break
        second -= 1
        moves.append((path, path.with_name(f"{parts[1]}{second:010d}{parts[3]}")))
    for path, earlier in reversed(moves):  # the oldest first, which makes way for the next
        path.rename(earlier)


def usual_logger(run: Path, resume_step: int | None) -> TensorBoardLogger:
    """TensorBoard's; what the run in the folder ``run`` logged after the step that it goes on from is hidden."""
    name = RunFiles(run).tensorboard.name
    return TensorBoardLogger(run, name=name, version="", default_hp_metric=False, purge_step=resume_step)


def make_loggers(specs: Specs, run: Path) -> list[Logger]:
    """The loggers of ``specs`` for the run in the folder ``run``.

    Raises:
        InputError: one cannot be made, such as where its package is missing.
    """
    ids = noted_ids(run)
    parser = ArgumentParser(exit_on_error=False)
    parser.add_argument("--loggers", type=list[Logger])
    placed = [_placed(spec, run, ids) for spec in specs]
    with refused_by_constructors():
        return parser.instantiate(Namespace(loggers=placed)).loggers


def _placed(spec: Namespace, run: Path, ids: dict[str, str]) -> Namespace:
    """``spec`` with the run folder for its placeholders, and the id under which the run goes on."""
    name = spec.class_path.rpartition(".")[2]
    arguments = dict(_filled(spec.get("init_args") or {}, run))
    option = next((option for cls, option in IDS.items() if cls.__name__ == name), None)
    if option and name in ids and arguments.get(option) is None:
        arguments[option] = ids[name]
    return Namespace(vars(spec) | {"init_args": Namespace(arguments)})


def _filled(arguments: Namespace | dict[str, Any], run: Path) -> Iterator[tuple[str, Any]]:
    for name, value in vars(arguments).items() if isinstance(arguments, Namespace) else arguments.items():
        is_text = isinstance(value, str)
        yield name, value.replace(RUN_DIR, str(run)).replace(RUN, run.resolve().name) if is_text else value
