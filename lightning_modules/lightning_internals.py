"""All private parts that we touch of Lightning, and of its parser: each under a name of ours, and with a test.

Nothing else in the code names one. A part that a version of Lightning lacks raises AttributeError or KeyError here.
"""

import json
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import jsonargparse._typehints
import lightning as L
from jsonargparse._common import parsing_settings
from jsonargparse._util import NestedArg
from lightning.pytorch.callbacks import ModelSummary, WeightAveraging
from lightning.pytorch.cli import LightningCLI
from lightning.pytorch.strategies import (
    DDPStrategy,
    DeepSpeedStrategy,
    FSDPStrategy,
    ModelParallelStrategy,
    Strategy,
)
from lightning.pytorch.strategies.launchers import _MultiProcessingLauncher, _SubprocessScriptLauncher
from lightning.pytorch.utilities import rank_zero_info
from lightning.pytorch.utilities.model_summary.model_summary import _format_summary_table
from torch import Tensor

BROKEN_OFF = {"ready": 1, "started": 1, "processed": 0, "completed": 0}  # a validation, in its first batch


def _replace(owner: Any, name: str, value: Any) -> None:
    getattr(owner, name)  # AttributeError where it is no more what it was
    setattr(owner, name, value)


@contextmanager
def _replaced(owner: Any, name: str, value: Any) -> Iterator[None]:
    """Within the block alone."""
    before = getattr(owner, name)
    _replace(owner, name, value)
    try:
        yield
    finally:
        _replace(owner, name, before)


# Callbacks -------------------------------------------------------------------------------------------------------


class ParameterSummary(ModelSummary):
    """Lightning's table of modules and parameters without its FLOPs, which it only counts of an example input.

    ``fit`` counts those of a real step by itself, as ``flops_per_puzzle`` of a run's ``summary.json``.
    """

    @staticmethod
    def summarize(
        summary_data: list[tuple[str, list[str]]],
        total_parameters: int,
        trainable_parameters: int,
        model_size: float,
        total_training_modes: dict[str, int],
        total_flops: int,
        **summarize_kwargs: Any,
    ) -> None:
        """Prints the table."""
        columns = [column for column in summary_data if column[0] != "FLOPs"]
        totals = (total_parameters, trainable_parameters, model_size, total_training_modes, total_flops)
        table = _format_summary_table(*totals, *columns)
        rank_zero_info("\n" + "\n".join(line for line in table.splitlines() if not line.endswith("Total Flops")))


# Trainer ---------------------------------------------------------------------------------------------------------


def leave_signals_alone(trainer: L.Trainer) -> None:
    """Takes Lightning's own handling of signals out of the way, and the broadcast of SIGTERM before every batch."""
    nothing: Callable[[], None] = lambda: None  # noqa: E731
    _replace(trainer._signal_connector, "register_signal_handlers", nothing)
    _replace(trainer.fit_loop.epoch_loop, "_broadcast_sigterm_tensor", nothing)


def validation_follows(trainer: L.Trainer) -> bool:
    """Will Lightning validate after the training batch that has just ended?"""
    loop = trainer.fit_loop
    return bool(loop.epoch_loop._should_check_val_fx(loop._data_fetcher))  # type: ignore[arg-type]


def ends_step(trainer: L.Trainer, batch_idx: int, every: int) -> bool:
    """Has the batch that has just been done ended every so manieth optimizer step of the run? Not where ``every`` is 0.

    With ``log_every_n_steps`` these are the steps that Lightning logs, in whatever epoch.
    """
    is_whole = (batch_idx + 1) % trainer.accumulate_grad_batches == 0
    return bool(every) and is_whole and trainer.global_step % every == 0


def is_last_step(trainer: L.Trainer, *, after_epoch: bool = False) -> bool:
    """Does the training end with the step that has just been done: by its steps or epochs, or stopped early?

    What stops it before ``min_steps`` or ``min_epochs`` ends it only then.

    Args:
        trainer: of the training.
        after_epoch: is the epoch known to have ended, wherever its last batch was?
    """
    step, most = trainer.global_step, trainer.max_epochs
    epochs = trainer.current_epoch + (after_epoch or trainer.is_last_batch)
    by_epochs = most is not None and 0 <= most <= epochs
    stopped = trainer.should_stop and epochs >= (trainer.min_epochs or 0) and step >= (trainer.min_steps or 0)
    return step == trainer.max_steps or by_epochs or stopped


def set_root_folder(trainer: L.Trainer, folder: Path) -> None:
    """Where Lightning looks for checkpoints of its own, and profilers write."""
    _replace(trainer, "_default_root_dir", str(folder))


def forget_metrics(trainer: L.Trainer, *beginnings: str) -> None:
    """Drops the metrics whose names begin so from what Lightning keeps of earlier steps and validations.

    It would say them again, to callbacks and loggers, until they are logged anew.
    """
    connector, results = trainer._logger_connector, trainer._results
    for kept in (connector._callback_metrics, connector._logged_metrics):
        for name in [name for name in kept if name.startswith(beginnings)]:
            del kept[name]
    if results is not None:
        for key in [key for key, metric in results.items() if metric.meta.name.startswith(beginnings)]:
            del results[key]


# Processes -------------------------------------------------------------------------------------------------------


def set_ddp(strategy: DDPStrategy, timeout: timedelta, options: dict[str, Any]) -> None:
    """Gives ``strategy`` a timeout, and DistributedDataParallel ``options``; what it was given itself wins."""
    _replace(strategy, "_timeout", timeout)
    _replace(strategy, "_ddp_kwargs", options | strategy._ddp_kwargs)


def others_wait(trainer: L.Trainer) -> bool:
    """Are there other processes, which would not hear of an error that ends this one?"""
    launcher = trainer.strategy.launcher
    return isinstance(launcher, _SubprocessScriptLauncher) and launcher.cluster_environment.creates_processes_externally


def starts_copies(trainer: L.Trainer) -> bool:
    """Would the strategy start processes as copies of this one, as in a notebook?"""
    return isinstance(trainer.strategy.launcher, _MultiProcessingLauncher)


def start_processes(trainer: L.Trainer) -> None:
    """Starts and connects the processes of ``trainer``; in ``fit`` Lightning does so again, and finds it done."""
    launcher = trainer.strategy.launcher
    if isinstance(launcher, _SubprocessScriptLauncher):
        launcher.launch(trainer.strategy.setup_environment, trainer=trainer)


# Checkpoints -----------------------------------------------------------------------------------------------------


def repeat_validation(checkpoint: dict[str, Any]) -> None:
    """Makes a run that goes on from ``checkpoint`` begin with the validation that was broken off."""
    progress = checkpoint["loops"]["fit_loop"]["epoch_loop.val_loop.batch_progress"]
    progress |= {"total": dict(BROKEN_OFF), "current": dict(BROKEN_OFF), "is_last_batch": False}


def count_other_batches(checkpoint: dict[str, Any], before: int, now: int) -> None:
    """Makes the batches that ``checkpoint`` counts, ``before`` of them a step, those of a run with ``now`` a step."""
    progress = checkpoint["loops"]["fit_loop"]["epoch_loop.batch_progress"]
    for counts in (progress["total"], progress["current"]):
        unfinished = counts["ready"] - counts["completed"]
        counts |= dict.fromkeys(("ready", "started", "processed"), counts["ready"] // before * now)
        counts["completed"] = counts["ready"] - unfinished


def count_other_epochs(checkpoint: dict[str, Any], batches: int) -> None:
    """Makes the epochs that ``checkpoint`` counts those of a run with so many ``batches`` in each.

    A run of steps is one epoch: where it is made longer, that epoch goes on.
    """
    loop = checkpoint["loops"]["fit_loop"]
    progress, epochs = loop["epoch_loop.batch_progress"], loop["epoch_progress"]
    if not progress["total"]["ready"]:
        return
    epoch, before = divmod(progress["total"]["ready"] - 1, batches)
    progress["is_last_batch"] = before + 1 == batches
    moves = {"batch": (progress["current"], before + 1), "epoch": (epochs["current"], epoch + 1)}
    for counts, ready in moves.values():
        further = ready - counts["ready"]
        counts |= {name: count + further for name, count in counts.items()}
    epochs["total"] = {**epochs["current"]}


def writes_folders(strategy: Strategy) -> bool:
    """Does ``strategy`` write a checkpoint as a folder of shards?"""
    if isinstance(strategy, FSDPStrategy):
        return strategy._state_dict_type == "sharded"
    if isinstance(strategy, ModelParallelStrategy):
        return bool(strategy._save_distributed_checkpoint)
    return isinstance(strategy, DeepSpeedStrategy)


class ExchangedWeights(WeightAveraging):
    """``WeightAveraging`` with public names for its averages."""

    @property
    def has_averages(self) -> bool:
        """Is this a training, which averages, or does it only use weights?"""
        return self._average_model is not None

    def put_averages(self, module: L.LightningModule) -> None:
        """Copies the averages to the weights of ``module``."""
        self._copy_average_to_current(module)

    def averages(self) -> list[Tensor]:
        """Of the weights, in the order of a module's parameters."""
        assert self._average_model is not None
        return [weight.detach() for weight in self._average_model.parameters()]

    def num_averaged(self) -> Tensor:
        """Over how many steps they are averages, a number that is saved with them."""
        assert self._average_model is not None
        return self._average_model.n_averaged

    @property
    def last_step(self) -> int:
        """The optimizer step that was averaged last, counted from 1."""
        return self._latest_update_step

    @last_step.setter
    def last_step(self, step: int) -> None:
        self._latest_update_step = step

    def exchange(self, module: L.LightningModule) -> None:
        """Called before and after a validation."""
        super()._swap_models(module)

    def _swap_models(self, pl_module: L.LightningModule) -> None:
        self.exchange(pl_module)


# Command line ----------------------------------------------------------------------------------------------------


def _nested_nulls_kept() -> AbstractContextManager[None]:
    """Within the block a null for an option within a class within a class stays one: ``--model.method.code null``.

    The parser reads each value before it hands it on to the parser of the inner class, as text, where null has become
    ``None``, the word.
    """
    read: Callable[..., tuple[Any, Any]] = jsonargparse._typehints.parse_value_or_config  # type: ignore[attr-defined]

    def read_but_nested_nulls(value: Any, *args: Any, **kwargs: Any) -> tuple[Any, Any]:
        found, path = read(value, *args, **kwargs)
        is_null = isinstance(found, NestedArg) and found.val is None and isinstance(value.val, str)
        return (value if is_null else found), path

    return _replaced(jsonargparse._typehints, "parse_value_or_config", read_but_nested_nulls)


def _whole_numbers_first() -> AbstractContextManager[None]:
    """Within the block ``1`` is the whole number for an option that takes an int or a float, and ``1.0`` is the float.

    The parser tries types in the order in which they are written. But typing keeps unions, and takes two for the same
    that differ in their order: which of them is kept depends on what was imported before, such as rich. For
    ``trainer.limit_val_batches`` one batch would become all of them.
    """
    rank: Callable[[Any], Any] = jsonargparse._typehints.union_subtype_sort_key

    def rank_with_floats_last(subtype: Any) -> tuple[Any, int]:
        # Numbers are texts, too, and texts are paths; a time with days is read wrong by all but Lightning.
        return rank(subtype), {float: 1, str: 2, Path: 3, timedelta: 3}.get(subtype, 0)

    return _replaced(jsonargparse._typehints, "union_subtype_sort_key", rank_with_floats_last)


class CommandLine(LightningCLI):
    """``LightningCLI`` as a parser: it makes and runs nothing, and a config given beats a checkpoint's.

    Args:
        model: class of the model.
        data: class of the data module.
        args: of the command, which begin with its name.
        options: further ones of ``LightningCLI``.
    """

    def __init__(self, model: Any, data: Any, *, args: list[str], **options: Any) -> None:
        self._command = args[0]
        with _whole_numbers_first():
            super().__init__(model, data, args=args, **options)

    def subcommands(self) -> dict[str, set[str]]:  # type: ignore[override]
        """The command that is given: to make the parsers of the other three takes longer than all the rest."""
        return {name: skipped for name, skipped in LightningCLI.subcommands().items() if name == self._command}

    def parse_arguments(self, parser: Any, args: Any) -> None:
        """Parses ``args`` into ``config``."""
        with _nested_nulls_kept(), _whole_numbers_first():
            super().parse_arguments(parser, args)

    def made(self, config: Any, **how: Any) -> Any:
        """``config`` with the classes that it names made; ``how`` is what the parser's ``instantiate`` takes."""
        with _whole_numbers_first():
            return self.parser.instantiate(config, **how)

    def option_names(self, command: str) -> list[str]:
        """Options of ``command``, such as ``--trainer.max_steps``."""
        return list(self._subcommand_parsers[command]._option_string_actions)

    def method_options(self, command: str) -> list[str]:
        """Options of ``command`` that are arguments of the trainer's method of that name."""
        return list(self._subcommand_method_arguments[command])

    def plain(self, config: Any) -> dict[str, Any]:
        """The options in ``config`` of its command, as plain values."""
        dumped = self.parser.dump(config, skip_unset=False, skip_validation=True, format="json")
        options: dict[str, Any] = json.loads(dumped)[config.subcommand]
        return options

    def instantiate_classes(self) -> None:
        """Builds nothing: ``build`` does that later."""

    def _set_seed(self) -> None:
        pass

    def _run_subcommand(self, subcommand: str) -> None:
        pass

    def _parse_ckpt_path(self) -> None:
        pass


@contextmanager
def kept_parser_settings() -> Iterator[None]:
    """Settings of jsonargparse that the block makes end with it; it can only add to them by itself."""
    before = dict(parsing_settings)
    try:
        yield
    finally:
        parsing_settings.update(before)
