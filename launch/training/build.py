"""The second step of a training command: model, data and trainer, as they were resolved. Nothing is written yet."""

import inspect
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import lightning as L
import torch
from jsonargparse import Namespace
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.fabric.utilities.seed import seed_everything
from lightning.pytorch.callbacks import Checkpoint
from lightning.pytorch.strategies import DDPStrategy
from torch.nn.parallel import DistributedDataParallel

from callbacks import WholeCheckpointIO
from datamodules import GenRAVENDataModule
from genraven.errors import InputError
from launch.errors import refused_by_constructors, unwrapped_errors
from launch.processes.process_group import cluster_plugins
from launch.processes.started_by import check_size
from launch.training.loggers import make_loggers
from launch.training.monitoring import model_summary, progress_bar
from launch.training.options import note_prior
from launch.training.resolve import Resolved
from lightning_modules import PuzzleModule
from lightning_modules.lightning_internals import set_ddp

SYNC_BUFFERS = next(name for name in ("forward_sync_buffers", "broadcast_buffers")  # its name before torch 2.13
                    if name in inspect.signature(DistributedDataParallel).parameters)  # fmt: skip
DDP_OPTIONS = {  # of ``auto`` and ``ddp``; a strategy that says more than its name keeps what it says
    "find_unused_parameters": False,
    "gradient_as_bucket_view": True,  # no second copy of the gradients
    SYNC_BUFFERS: False,  # all are constants
    # No static_graph: it helps where parameters are unused, and here none is.
}


@dataclass(frozen=True)
class Built:
    """What a training command works with."""

    model: PuzzleModule
    data: GenRAVENDataModule
    trainer: L.Trainer
    """The trainer, which has no run folder yet."""
    options: Any
    """A namespace of those of the command, with what its classes are made of made."""
    logs_as_usual: bool
    """Is nothing said of loggers?"""


def build(resolved: Resolved) -> Built:
    """Makes model, data, what the trainer is given, and the trainer.

    The model comes right after its seed and before all else: callbacks of the user's may draw as they are made.

    Raises:
        InputError: a class cannot be made, or there are not the devices or processes for the trainer.
    """
    command, parser = resolved.command, resolved.parser
    others = parser.config.clone()
    model = Namespace(model=others[command].pop("model"))
    if resolved.options.seed_everything is not False:
        seed_everything(resolved.options.seed_everything, workers=True, verbose=False)
    with refused_by_constructors():
        only_model = Namespace({"subcommand": command, command: model})
        module = parser.made(only_model, instantiate_groups=False)[command].model
        made = parser.made(others)[command]
    note_prior(resolved.config, module)
    logs_as_usual = not resolved.loggers and made.trainer.logger in (None, True)
    return Built(module, made.data, _trainer(resolved, made.trainer, logs_as_usual), made, logs_as_usual)


def _check_accelerator(asked: Any) -> None:
    """Raises InputError on a GPU that is not there."""
    there = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    there["gpu"] = any(there.values())
    if isinstance(asked, str) and not there.get(asked, True):
        raise InputError(f"expected a GPU for --trainer.accelerator {asked}, got a machine on which torch sees none: "
                         "use -c trainer/cpu.yaml, or --trainer.accelerator auto.")  # fmt: skip


def _trainer(resolved: Resolved, given: Any, logs_as_usual: bool) -> L.Trainer:
    """The trainer of the options ``given``."""
    options = resolved.options
    changed: dict[str, Any] = {}
    plugins = given.plugins or []
    plugins = [*plugins] if isinstance(plugins, list) else [plugins]
    plugins += cluster_plugins(given.num_nodes)
    if resolved.loggers and resolved.command != "fit":
        changed["logger"] = make_loggers(resolved.loggers, Path(options.run_dir or "."))
    elif resolved.loggers or logs_as_usual:
        changed["logger"] = False
    callbacks = [*(given.callbacks or []), *progress_bar(given), *model_summary(given)]
    changed["enable_model_summary"] = False  # beside ours
    if resolved.is_real_fit:
        plugins = [*plugins, WholeCheckpointIO()]
        # Ours come with the run folder, which the first of the processes chooses: see train.
        changed["enable_checkpointing"] = any(isinstance(known, Checkpoint) for known in callbacks)
    _check_accelerator(given.accelerator)
    with unwrapped_errors(MisconfigurationException, ValueError, TypeError, ImportError):  # such as too many devices
        trainer = L.Trainer(**{**given, **changed, "callbacks": callbacks, "plugins": plugins})
    check_size(trainer.world_size)
    if isinstance(trainer.strategy, DDPStrategy) and isinstance(given.strategy, str):
        set_ddp(trainer.strategy, timedelta(seconds=options.timeout_s), DDP_OPTIONS)
    return trainer
