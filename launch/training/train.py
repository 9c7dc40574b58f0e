"""The third step of ``fit``: one run, one folder. Started again with the same config, it goes on where it stopped."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from datetime import timedelta
from pathlib import Path

import lightning as L
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch.callbacks import Checkpoint, EarlyStopping
from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.utilities import rank_zero_info

from callbacks import (
    BestCheckpoint,
    CollectBetweenSteps,
    CompileTime,
    Curve,
    InitialWeights,
    KeepConfig,
    KeepOrder,
    LoggerIds,
    NoReads,
    RunGuard,
    RunSummary,
    StepCheckpoint,
)
from callbacks.loggers import noted_ids
from callbacks.summary import Origin
from genraven.errors import InputError, shown, suggestion
from launch.configs.amounts import check_numbers
from launch.configs.changes import changed_options
from launch.configs.identity import config_hash, identity
from launch.errors import explained_exits, unwrapped_errors
from launch.processes.agreement import agreed, check_same, group_of
from launch.runs.folder import RunFolder, read_checkpoint
from launch.runs.starting import Start, given_start, open_run
from launch.schedulers.known import own_job
from launch.training.build import Built
from launch.training.compiling import check_graph, compile_model
from launch.training.initial_weights import load_initial
from launch.training.loggers import keep_in_order, make_loggers, usual_logger
from launch.training.monitoring import MONITORING, monitors
from launch.training.options import check_best_by, check_callbacks, check_missing, check_strategy
from launch.training.resolve import Resolved
from lightning_modules import PuzzleModule
from lightning_modules.lightning_internals import set_root_folder


def train(resolved: Resolved, built: Built) -> None:
    """Trains; from the run's last checkpoint where it has one and no other was given.

    Nothing is written to the run folder before all that can be checked has been.

    Raises:
        InputError: what was given cannot be trained, or not in this folder.
    """
    model, data, trainer, options = built.model, built.data, built.trainer, resolved.options
    data.trainer = model.trainer = trainer
    _check(resolved, built)
    arithmetic = _divide_batch(resolved, built)
    if resolved.compilation == "graph":
        check_graph(trainer)
    initial = InitialWeights()
    with ExitStack() as stack:  # holds the run folder
        if resolved.is_real_fit:
            start = agreed(trainer, lambda: open_run(options, resolved.config, stack))
            summary = _enter(resolved, built, start, initial)
        else:
            start = agreed(trainer, lambda: given_start(options))
        check_same(trainer, "--trainer.precision", str(options.trainer.precision))
        with group_of(trainer).together():
            check_checkpoint(model, start.checkpoint)
            if start.initial:
                initial.origin = load_initial(model, start.initial, resolved.config)
            rank_zero_info(arithmetic)  # after all that can be refused
            if trainer.local_rank == 0:
                data.prepare_data()
            else:
                data.wait_for_data()
        if resolved.is_real_fit:
            _fit(resolved, built, start, summary)
        else:
            trainer.fit(model, datamodule=data, ckpt_path=start.checkpoint)


def _check(resolved: Resolved, built: Built) -> None:
    """Raises InputError on what can be refused before there is a run folder."""
    built.data.check_end()
    for part in ("model", "data"):
        check_numbers(resolved.config[part], part, "a run")
    check_missing(built.model, built.data)
    built.model.check_labels()
    check_best_by(resolved.options.best_by, built.data)
    check_callbacks(built.trainer)
    check_strategy(built.trainer)
    with unwrapped_errors(ValueError, TypeError):
        built.model.configure_optimizers()


def _divide_batch(resolved: Resolved, built: Built) -> str:
    """Divides the global batch among devices and accumulated batches; how, in words.

    Raises:
        InputError: a rest is left.
    """
    data, trainer, limit = built.data, built.trainer, resolved.options.max_batch_per_device
    if limit and trainer.accumulate_grad_batches == 1:
        trainer.accumulate_grad_batches = data.shard().accumulation(limit)
    if isinstance(trainer.val_check_interval, int):  # Lightning counts batches; a config says steps
        trainer.val_check_interval *= trainer.accumulate_grad_batches
        trainer.check_val_every_n_epoch = None  # of the run, however many make an epoch
    shard, steps, most = data.shard(), trainer.max_steps, trainer.limit_train_batches
    if isinstance(most, float) and most != 1 and shard.accumulate > 1:  # it may end within a step
        raise InputError(f"expected trainer.limit_train_batches as a number of batches, where each step has "
                         f"{shard.accumulate}, got the fraction {most}: give a multiple of "
                         f"{shard.accumulate}.")  # fmt: skip
    if isinstance(most, int) and most % shard.accumulate:
        whole = -(-most // shard.accumulate) * shard.accumulate
        raise InputError(f"expected trainer.limit_train_batches of whole steps, each of {shard.accumulate} batches, "
                         f"got {most}: give {whole}.")  # fmt: skip
    return (
        f"global batch {shard.global_batch_size} = {shard.world_size} device(s) x {shard.accumulate} accumulated x "
        f"{shard.size} puzzles; {steps if steps > 0 else 'unlimited'} steps; {trainer.precision} on "
        f"{trainer.strategy.root_device.type}"
    )


def _enter(resolved: Resolved, built: Built, start: Start, initial: InitialWeights) -> RunSummary:
    """Points the trainer, its logger and callbacks at the run folder; its summary."""
    trainer, run = built.trainer, RunFolder(start.folder)
    set_root_folder(trainer, run.path)
    if resolved.loggers:
        trainer.loggers = make_loggers(resolved.loggers, run.path)
    elif built.logs_as_usual:
        trainer.logger = usual_logger(run.path, start.step)
    keep_in_order(trainer.loggers, run.path)
    changed = changed_options(run.config(), resolved.config)
    summary = RunSummary(run.path, Origin(config_hash(resolved.config), run.git_commit(), own_job(), changed))
    ours = _callbacks(resolved, built, run, summary, initial, is_resumed=start.step > 0)
    callbacks = [*trainer.callbacks, *ours]  # type: ignore[attr-defined]
    trainer.callbacks = sorted(callbacks, key=_place)  # type: ignore[attr-defined]
    return summary


def _place(callback: L.Callback) -> int:
    """What looks at the hooks of others comes first, what saves comes last."""
    return isinstance(callback, Checkpoint) - isinstance(callback, NoReads)


def _callbacks(
    resolved: Resolved, built: Built, run: RunFolder, summary: RunSummary, initial: InitialWeights, *, is_resumed: bool
) -> list[L.Callback]:
    options = resolved.options
    steps = StepCheckpoint(run.checkpoints, options.checkpoint_every_n_steps)
    known_to = {*noted_ids(run.path)}
    if is_resumed and run.has_curves:
        known_to.add(TensorBoardLogger.__name__)
    watching = {name: built.options[name] for name in MONITORING}
    compiled = [] if resolved.compilation is None else [CompileTime(resolved.compilation)]
    return [
        *compiled,
        *([NoReads()] if resolved.compilation == "graph" else []),
        *monitors(resolved.config, watching, summary, known_to=known_to),
        Curve(run.path),
        LoggerIds(run.path),
        initial,
        KeepConfig(identity(resolved.config), asdict(resolved.numerics)),
        KeepOrder(),
        BestCheckpoint(run.checkpoints, options.best_by),
        steps,  # after the other, and so knows what is the best
        CollectBetweenSteps(),
        RunGuard(steps, timedelta(seconds=options.timeout_s)),
    ]


def _fit(resolved: Resolved, built: Built, start: Start, summary: RunSummary) -> None:
    """Writes to the run folder from here on."""
    run, trainer = RunFolder(start.folder), built.trainer

    def claim() -> None:
        with explained_exits(run.path):
            run.claim(resolved.config, start.checkpoint)

    agreed(trainer, claim)
    if resolved.compilation is not None:
        compile_model(built.model, resolved.compilation, trainer.strategy.root_device)
    resuming = f", going on from {start.checkpoint}" if start.checkpoint else ""
    rank_zero_info(f"run folder {run.path}{resuming}")
    collector = next(each for each in trainer.callbacks if isinstance(each, CollectBetweenSteps))  # type: ignore[attr-defined]
    with (
        collector.closing(),
        summary.closing(),
        explained_exits(run.path, is_named=bool(resolved.options.run_dir)),
        unwrapped_errors(MisconfigurationException),  # of callbacks that find out late
        _known_monitors(trainer),
    ):
        trainer.fit(built.model, datamodule=built.data, ckpt_path=start.checkpoint)
    curves = any(isinstance(logger, TensorBoardLogger) for logger in trainer.loggers)
    rank_zero_info(f"run folder {run.path}" + f": tensorboard --logdir {run.path}" * curves)


@contextmanager
def _known_monitors(trainer: L.Trainer) -> Iterator[None]:
    """Raises InputError where EarlyStopping, which finds out at its first look, monitors what nobody has logged."""
    try:
        yield
    except RuntimeError as error:
        known = [*trainer.callback_metrics]
        for stopper in trainer.callbacks:  # type: ignore[attr-defined]
            if isinstance(stopper, EarlyStopping) and stopper.monitor not in known and stopper.monitor in str(error):
                hint = suggestion(stopper.monitor, known, f"choose one of {', '.join(known)}.")
                raise InputError(f"expected the monitor of EarlyStopping to be a metric that is logged, got "
                                 f"{shown(stopper.monitor)}: {hint}") from error  # fmt: skip
        raise


def check_checkpoint(model: PuzzleModule, path: str | None) -> None:
    """Raises InputError on a checkpoint of another model before any data is made or opened."""
    if path is not None:
        model.on_load_checkpoint(read_checkpoint(Path(path)))
