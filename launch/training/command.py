"""fit, validate, test and predict: LightningCLI with run folders, shipped configs and one-line errors."""

import inspect
import logging
import warnings
from argparse import ArgumentError
from contextlib import AbstractContextManager, ExitStack
from datetime import timedelta
from pathlib import Path
from typing import Any

import lightning as L
import torch
from jsonargparse import Namespace
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.fabric.utilities.seed import seed_everything
from lightning.pytorch.callbacks import Checkpoint
from lightning.pytorch.cli import LightningArgumentParser
from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.strategies import DDPStrategy
from lightning.pytorch.utilities import rank_zero_info, rank_zero_warn
from torch.nn.parallel import DistributedDataParallel

from callbacks import (
    BestCheckpoint,
    Curve,
    InitialWeights,
    KeepConfig,
    LoggerIds,
    RunGuard,
    RunSummary,
    StepCheckpoint,
    WholeCheckpointIO,
)
from callbacks.loggers import noted_ids
from callbacks.summary import Origin
from datamodules import GenRAVENDataModule
from genraven.console import say
from genraven.errors import InputError
from genraven.formats.write import save_array
from genraven.networks.compiling import compile_blocks
from genraven.outputs import Outputs
from launch.configs.changes import changed_options
from launch.configs.identity import config_hash, identity
from launch.configs.shipped import expand_configs
from launch.errors import explained_exits, refused_by_constructors, unwrapped_errors
from launch.processes.agreement import agreed, check_same
from launch.processes.process_group import ProcessGroup, cluster_plugins
from launch.processes.started_by import check_size
from launch.runs.folder import RunFolder, given_checkpoint, read_checkpoint
from launch.runs.starting import Start, given_start, open_run
from launch.schedulers.known import own_job
from launch.trained.numerics import Numerics
from launch.training.complaints import one_line
from launch.training.initial_weights import load_initial
from launch.training.loggers import keep_in_order, make_loggers, take_specs, usual_logger
from launch.training.monitoring import MONITORING, monitors, progress_bar
from launch.training.options import (
    add_options,
    check_best_by,
    check_callbacks,
    check_gaps,
    check_strategy,
    note_prior,
    settle_options,
)
from launch.training.precision import default_precision
from lightning_modules import PuzzleModule
from lightning_modules.lightning_internals import CommandLine, set_ddp, set_root_folder

PREDICTIONS = Path("predictions.npy")
SYNC_BUFFERS = next(name for name in ("forward_sync_buffers", "broadcast_buffers")  # its name before torch 2.13
                    if name in inspect.signature(DistributedDataParallel).parameters)  # fmt: skip
DDP_OPTIONS = {  # of ``auto`` and ``ddp``; a strategy that says more than its name keeps what it says
    "find_unused_parameters": False,
    "gradient_as_bucket_view": True,  # no second copy of the gradients
    SYNC_BUFFERS: False,  # all are constants
    # No static_graph: it helps where parameters are unused, and here none is.
}


class GenravenCLI(CommandLine):
    """One run, one folder. Started again with the same ``--run_dir`` and config, it goes on where it stopped.

    Args:
        arguments: of the command, which begin with its name.
    """

    def __init__(self, arguments: list[str]) -> None:
        super().__init__(
            PuzzleModule,
            GenRAVENDataModule,
            subclass_mode_model=True,
            save_config_callback=None,
            seed_everything_default=0,
            auto_configure_optimizers=False,
            load_from_checkpoint_support=False,
            args=expand_configs(arguments),
        )

    def init_parser(self, **kwargs: Any) -> LightningArgumentParser:
        """A parser that raises instead of printing its usage, which fills a screen, and exiting."""
        return super().init_parser(**kwargs, exit_on_error=False)

    def parse_arguments(self, parser: LightningArgumentParser, args: Any) -> None:
        """Parses; raises InputError, in one line, on what the parser refuses or what is out of range."""
        try:
            super().parse_arguments(parser, args)
        except ArgumentError as error:
            raise InputError(one_line(str(error), args[0], self.option_names(args[0]))) from error
        settle_options(self.config[args[0]])

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Adds what a run folder needs."""
        add_options(parser)

    def before_instantiate_classes(self) -> None:
        """Resolves the config into plain values."""
        self._options = self.config[self.subcommand]
        if self._options.trainer.precision is None:
            self._options.trainer.precision = self._precision()
        self.numerics = Numerics.of_training(self._options.trainer, self._options.compile)
        self.initial = InitialWeights()
        self.resolved = self.plain(self.config)
        self._loggers = take_specs(self._options.trainer)

    def _precision(self) -> str:
        """What suits the device; but a run goes on with what it began with, also on another kind of device."""
        fits, began = default_precision(self._options.trainer.accelerator), None
        if self.subcommand == "fit" and self._options.run_dir:
            began = RunFolder(Path(self._options.run_dir)).config().get("trainer", {}).get("precision")
        if began not in (None, fits):
            rank_zero_warn(f"{self._options.run_dir} goes on in {began}, as it began; on this device it would begin in "
                           f"{fits}, and may be slow.")  # fmt: skip
        return began or fits

    def instantiate_classes(self) -> None:
        """Makes model, data, what the trainer is given, and the trainer; raises InputError where a class cannot be.

        The model comes right after its seed and before all else: callbacks of the user's may draw as they are made.
        """
        others = self.config.clone()
        model = Namespace(model=others[self.subcommand].pop("model"))
        if self._options.seed_everything is not False:
            seed_everything(self._options.seed_everything, workers=True, verbose=False)
        with refused_by_constructors():
            only_model = Namespace({"subcommand": self.subcommand, self.subcommand: model})
            self.model = self.part(self.parser.instantiate(only_model, instantiate_groups=False), "model")
            self.config_init = self.parser.instantiate(others)
        note_prior(self.resolved, self.model)
        self.datamodule = self.part(self.config_init, "data")
        self.trainer = self.instantiate_trainer()

    def instantiate_trainer(self, **kwargs: Any) -> L.Trainer:
        """The trainer, as yet without a run folder."""
        trainer_config = self.part(self.config_init, "trainer")
        plugins = trainer_config.plugins or []
        plugins = [*plugins] if isinstance(plugins, list) else [plugins]
        plugins += cluster_plugins(trainer_config.num_nodes)
        self._default_logger = not self._loggers and trainer_config.logger in (None, True)
        if self._loggers and self.subcommand != "fit":
            kwargs["logger"] = make_loggers(self._loggers, Path(self._options.run_dir or "."))
        elif self._loggers or self._default_logger:
            kwargs["logger"] = False
        trainer_config.callbacks = [*(trainer_config.callbacks or []), *progress_bar(trainer_config)]
        if self._is_real_fit:
            plugins = [*plugins, WholeCheckpointIO()]
            # Ours come with the run folder, which the first of the processes chooses: see _enter.
            kwargs["enable_checkpointing"] = any(isinstance(known, Checkpoint) for known in trainer_config.callbacks)
        with unwrapped_errors(MisconfigurationException, ValueError, TypeError):  # such as more devices than there are
            trainer = super().instantiate_trainer(plugins=plugins, **kwargs)
        check_size(trainer.world_size)
        if isinstance(trainer.strategy, DDPStrategy) and isinstance(trainer_config.strategy, str):
            set_ddp(trainer.strategy, timedelta(seconds=self._options.timeout_s), DDP_OPTIONS)
        return trainer

    @property
    def _is_real_fit(self) -> bool:
        return self.subcommand == "fit" and not self._options.trainer.fast_dev_run

    def _enter(self, start: Start) -> None:
        """Points the trainer, its logger and callbacks at the run folder."""
        trainer, self.run_folder, self.resume_step = self.trainer, RunFolder(start.folder), start.step
        set_root_folder(trainer, start.folder)
        if self._loggers:
            trainer.loggers = make_loggers(self._loggers, start.folder)
        elif self._default_logger:
            trainer.logger = usual_logger(start.folder, start.step)
        keep_in_order(trainer.loggers, start.folder)
        callbacks = [*trainer.callbacks, *self._callbacks()]  # type: ignore[attr-defined]
        trainer.callbacks = sorted(callbacks, key=lambda callback: isinstance(callback, Checkpoint))  # type: ignore[attr-defined]

    def _callbacks(self) -> list[L.Callback]:
        changed = changed_options(self.run_folder.config(), self.resolved)
        origin = Origin(config_hash(self.resolved), self.run_folder.git_commit(), own_job(), changed)
        self.summary = RunSummary(self.run_folder.path, origin)
        steps = StepCheckpoint(self.run_folder.checkpoints, self._options.checkpoint_every_n_steps)
        options = {name: self.part(self.config_init, name) for name in MONITORING}
        known_to = {*noted_ids(self.run_folder.path)}
        if self.resume_step and self.run_folder.has_curves:
            known_to.add(TensorBoardLogger.__name__)
        return [
            *monitors(self.resolved, options, self.summary, known_to=known_to),
            Curve(self.run_folder.path),
            LoggerIds(self.run_folder.path),
            self.initial,
            KeepConfig(identity(self.resolved), self.numerics.as_json()),
            BestCheckpoint(self.run_folder.checkpoints, self._options.best_by),
            steps,  # after the other, and so knows what is the best
            RunGuard(steps, timedelta(seconds=self._options.timeout_s)),
        ]

    def fit(self, model: PuzzleModule, datamodule: GenRAVENDataModule, **kwargs: Any) -> None:
        """Trains; from the run's last checkpoint where it has one and no other was given.

        Nothing is written to the run folder before all that can be checked has been.
        """
        datamodule.trainer = model.trainer = self.trainer
        datamodule.check_end()
        check_gaps(model, datamodule)
        model.check_labels()
        check_best_by(self._options.best_by, datamodule)
        check_callbacks(self.trainer)
        check_strategy(self.trainer)
        with unwrapped_errors(ValueError, TypeError):
            model.configure_optimizers()
        self._divide_batch(datamodule)
        with ExitStack() as stack:  # holds the run folder
            if self._is_real_fit:
                start = agreed(self.trainer, lambda: open_run(self._options, self.resolved, stack))
                self._enter(start)
            else:
                start = agreed(self.trainer, lambda: given_start(self._options))
            check_same(self.trainer, "--trainer.precision", str(self._options.trainer.precision))
            with self._together():
                self._check_checkpoint(start.checkpoint)
                if start.initial:
                    self.initial.origin = load_initial(model, start.initial, self.resolved)
                if self.trainer.local_rank == 0:
                    datamodule.prepare_data()
                else:
                    datamodule.wait_for_data()
            if self._is_real_fit:
                self._train(model, datamodule, start)
            else:
                self.trainer.fit(model, datamodule=datamodule, ckpt_path=start.checkpoint)

    def _train(self, model: PuzzleModule, datamodule: GenRAVENDataModule, start: Start) -> None:
        def claim() -> None:
            with explained_exits(self.run_folder.path):
                self.run_folder.claim(self.resolved, start.checkpoint)

        agreed(self.trainer, claim)
        if self.numerics.compiled:
            compile_blocks(model.network)
        resuming = f", going on from {start.checkpoint}" if start.checkpoint else ""
        rank_zero_info(f"run folder {self.run_folder.path}{resuming}")
        with (
            self.summary.closing(),
            explained_exits(self.run_folder.path),
            unwrapped_errors(MisconfigurationException),  # of callbacks that find out late
        ):
            self.trainer.fit(model, datamodule=datamodule, ckpt_path=start.checkpoint)
        curves = any(isinstance(logger, TensorBoardLogger) for logger in self.trainer.loggers)
        rank_zero_info(f"run folder {self.run_folder.path}" + f": tensorboard --logdir {self.run_folder.path}" * curves)

    def _divide_batch(self, datamodule: GenRAVENDataModule) -> None:
        """Divides the global batch among devices and accumulated batches, and prints how."""
        trainer, limit = self.trainer, self._options.max_batch_per_device
        if limit and trainer.accumulate_grad_batches == 1:
            trainer.accumulate_grad_batches = datamodule.share().accumulation(limit)
        if isinstance(trainer.val_check_interval, int):  # Lightning counts batches; a config says steps
            trainer.val_check_interval *= trainer.accumulate_grad_batches
        share, steps = datamodule.share(), trainer.max_steps
        rank_zero_info(
            f"global batch {share.global_batch_size} = {share.world_size} device(s) x {share.accumulate} accumulated x "
            f"{share.size} puzzles; {steps if steps > 0 else 'unlimited'} steps; {trainer.precision} on "
            f"{trainer.strategy.root_device.type}"
        )

    def predict(self, model: PuzzleModule, datamodule: GenRAVENDataModule, **kwargs: Any) -> None:
        """Writes the test puzzles, completed, to predictions.npy in the current folder."""
        if self.trainer.world_size > 1:
            raise InputError(
                f"expected one device for predict, got {self.trainer.world_size}: set trainer.devices to 1."
            )
        outputs = Outputs(overwrite=None)
        outputs.add(PREDICTIONS, "what predict writes")
        self._need_checkpoint(kwargs)
        puzzles = torch.cat(self.trainer.predict(model, datamodule=datamodule, **kwargs))  # type: ignore[arg-type]
        with outputs:
            save_array(outputs[PREDICTIONS], puzzles.numpy())
        say(f"{PREDICTIONS}: {tuple(puzzles.shape)} int8")

    def validate(self, model: PuzzleModule, datamodule: GenRAVENDataModule, **kwargs: Any) -> None:
        """Scores on the validation puzzles."""
        self._need_checkpoint(kwargs)
        self.trainer.validate(model, datamodule=datamodule, **kwargs)

    def test(self, model: PuzzleModule, datamodule: GenRAVENDataModule, **kwargs: Any) -> None:
        """Scores on the test puzzles."""
        self._need_checkpoint(kwargs)
        self.trainer.test(model, datamodule=datamodule, **kwargs)

    def _need_checkpoint(self, kwargs: dict[str, Any]) -> None:
        """Finds the weights to use: --ckpt_path, else the last of --run_dir."""
        named = kwargs.get("ckpt_path") or self._options.run_dir
        if named is None:
            raise InputError(f"expected --ckpt_path or --run_dir with {self.subcommand}, got neither: name a run.")
        kwargs["ckpt_path"] = agreed(self.trainer, lambda: given_checkpoint(named))
        with self._together():
            self._check_checkpoint(kwargs["ckpt_path"])

    def _together(self) -> AbstractContextManager[None]:
        """What one process raises within the block, all do at its end. A collective, after ``agreed``."""
        return ProcessGroup(self.trainer.global_rank, self.trainer.world_size).together()

    def _check_checkpoint(self, path: str | None) -> None:
        """Raises InputError on a checkpoint of another model before any data is made or opened."""
        if path is not None:
            self.model.on_load_checkpoint(read_checkpoint(Path(path)))


def quiet_lightning() -> None:
    """Drops Lightning's advertisements, and warnings about what is meant to be as it is."""
    warnings.filterwarnings("ignore", ".*srun.*")
    warnings.filterwarnings("ignore", ".*LightningCLI's args parameter.*")
    warnings.filterwarnings("ignore", ".*callbacks used to create the checkpoint need to be provided.*")
    warnings.filterwarnings("ignore", ".*isinstance.treespec, LeafSpec.*")
    warnings.filterwarnings("ignore", ".*exists and is not empty.*")  # the checkpoints of a run that goes on
    warnings.filterwarnings("ignore", ".*sync_dist=True.*")  # the scores are summed over processes already
    for name in ("lightning.pytorch.utilities.rank_zero", "lightning.fabric.utilities.rank_zero"):
        logging.getLogger(name).addFilter(lambda record: "Tip:" not in record.getMessage())


def run(arguments: list[str]) -> None:
    """Runs a training command; ``arguments`` begin with its name.

    Raises:
        InputError: bad input.
    """
    quiet_lightning()
    torch.set_float32_matmul_precision("high")
    with unwrapped_errors():
        GenravenCLI(arguments)
