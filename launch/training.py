"""fit, validate, test and predict: LightningCLI with run folders, shipped configs and one-line errors."""

import logging
import warnings
from argparse import ArgumentError
from datetime import timedelta
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI
from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.strategies import DDPStrategy
from lightning.pytorch.utilities import rank_zero_info, rank_zero_warn

from callbacks import InitialWeights, KeepConfig, LoggerIds, RunGuard, RunSummary, StepCheckpoint, WholeCheckpointIO
from callbacks.loggers import noted_ids
from callbacks.summary import Origin
from datamodules import GenRAVENDataModule
from datamodules.sources import content_digest
from genraven.errors import InputError
from genraven.formats.write import save_array
from genraven.networks.compiling import compile_blocks
from launch import watching
from launch.card import WEIGHTS
from launch.complaints import one_line
from launch.ends import named_ends, refused_by_constructors, unwrapped_errors
from launch.identity import config_hash, identity, refuse_other
from launch.loggers import make_loggers, take_specs
from launch.numerics import Numerics
from launch.runs import TENSORBOARD, RunFolder, default_run_folder, find_checkpoint, read_checkpoint
from launch.shipped import expand_configs
from launch.starter import check_size
from launch.transfer import load_initial
from launch.world import cluster_plugins
from lightning_modules import PuzzleModule

PREDICTIONS = Path("predictions.npy")
DDP_OPTIONS = {  # of ``auto`` and ``ddp``; a strategy that says more than its name keeps what it says
    "find_unused_parameters": False,
    "gradient_as_bucket_view": True,  # no second copy of the gradients
    # No static_graph: it helps where parameters are unused, and here none is.
}


class GenravenCLI(LightningCLI):
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
            options = self._subcommand_parsers[args[0]]._option_string_actions
            raise InputError(one_line(str(error), args[0], options)) from error
        options = self.config[args[0]]
        for name in ("checkpoint_every_n_steps", "max_batch_per_device", "timeout_s"):
            value = options[name]
            if value is not None and value < 1:
                raise InputError(f"expected --{name} to be 1 or more, got {value}.")
        interval = options.trainer.val_check_interval
        if isinstance(interval, int | float) and interval <= 0:
            raise InputError(f"expected trainer.val_check_interval, in steps, to be 1 or more, got {interval}: "
                             "trainer.limit_val_batches 0 trains without validation.")  # fmt: skip

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Adds what a run folder needs."""
        parser.add_argument("--run_dir", type=str | None, default=None, help="Folder of the run; default: "
                            "runs/<network>-<time>.")  # fmt: skip
        parser.add_argument("--init_from", "--init-from", type=str | None, default=None, help="Run folder, checkpoint "
                            "or exported model to begin with the (averaged) weights of, at step 0.")  # fmt: skip
        parser.add_argument("--checkpoint_every_n_steps", type=int, default=1000, help="Steps between checkpoints.")
        parser.add_argument("--max_batch_per_device", type=int | None, default=None, help="Puzzles that fit on a device"
                            " at once: as few batches as that allows are accumulated; null accumulates none. "
                            "trainer.accumulate_grad_batches above 1 sets them by hand.")  # fmt: skip
        parser.add_argument("--compile", type=bool | None, default=None, help="Compile the network with torch.compile; "
                            "null does so on GPUs, where it soon pays.")  # fmt: skip
        parser.add_argument("--timeout_s", type=int, default=600, help="Seconds after which a process that does not "
                            "answer ends the others.")  # fmt: skip
        for name, options in watching.OPTIONS.items():
            parser.add_class_arguments(options, name)

    def before_instantiate_classes(self) -> None:
        """Resolves the config into plain values."""
        self._options = self.config[self.subcommand]
        if self._options.trainer.precision is None:
            self._options.trainer.precision = self._precision()
        self.numerics = Numerics.of_training(self._options.trainer, self._options.compile)
        self.initial = InitialWeights()
        self._dump_config()
        self.resolved: dict[str, Any] = self.config_dump
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
        """Makes model, data, what the trainer is given, and the trainer; raises InputError where a class cannot be."""
        with refused_by_constructors():
            self.config_init = self.parser.instantiate_classes(self.config)
        self.datamodule, self.model = (self._get(self.config_init, part) for part in ("data", "model"))
        self.trainer = self.instantiate_trainer()

    def instantiate_trainer(self, **kwargs: Any) -> L.Trainer:
        """The trainer, its logger and callbacks pointed at the run folder."""
        trainer_config = self._get(self.config_init, "trainer")
        plugins = trainer_config.plugins or []
        plugins = [*plugins] if isinstance(plugins, list) else [plugins]
        plugins += cluster_plugins(trainer_config.num_nodes)
        if self._is_real_fit:
            self.run_folder = RunFolder(Path(self._options.run_dir or default_run_folder(self.resolved)))
            self.run_folder.check_owner(self.resolved)
            self._find_checkpoint_to_resume()
            plugins = [*plugins, WholeCheckpointIO()]
            kwargs["default_root_dir"] = str(self.run_folder.path)
            if self._loggers:
                kwargs["logger"] = make_loggers(self._loggers, self.run_folder.path)
            elif trainer_config.logger in (None, True):
                kwargs["logger"] = self._logger()
            trainer_config.callbacks = [*(trainer_config.callbacks or []), *self._callbacks()]
        elif self._loggers and self.subcommand != "fit":
            kwargs["logger"] = make_loggers(self._loggers, Path(self._options.run_dir or "."))
        elif trainer_config.logger in (None, True):
            kwargs["logger"] = False
        trainer_config.callbacks = [*(trainer_config.callbacks or []), *watching.progress_bar(trainer_config)]
        with unwrapped_errors(MisconfigurationException, ValueError, TypeError):  # such as more devices than there are
            trainer = super().instantiate_trainer(plugins=plugins, **kwargs)
        check_size(trainer.world_size)
        if isinstance(trainer.strategy, DDPStrategy) and isinstance(trainer_config.strategy, str):
            trainer.strategy._timeout = timedelta(seconds=self._options.timeout_s)
            trainer.strategy._ddp_kwargs = DDP_OPTIONS | trainer.strategy._ddp_kwargs
        return trainer

    @property
    def _is_real_fit(self) -> bool:
        return self.subcommand == "fit" and not self._options.trainer.fast_dev_run

    def _find_checkpoint_to_resume(self) -> None:
        """The newest of the folder, at its first start the one that was asked for; it must be of the config given."""
        path, given = self.run_folder.newest_whole(), self._options.ckpt_path
        if given and self.run_folder.owns(given):
            raise InputError(f"expected --ckpt_path of another run, got {given}, of this run folder itself: leave it "
                             "out to go on from the newest, or give another --run_dir.")  # fmt: skip
        path = path or given  # once the run has its own, a restart goes on from these
        self.resume_from, self.resume_step = str(path) if path else None, 0
        if path:
            checkpoint = read_checkpoint(Path(path))
            refuse_other(checkpoint["genraven_config"], self.resolved, Path(path))
            self.resume_step = checkpoint["global_step"]

    def _logger(self) -> TensorBoardLogger:
        # purge_step hides what a run logged after the checkpoint that it goes on from.
        return TensorBoardLogger(
            self.run_folder.path, name=TENSORBOARD, version="", default_hp_metric=False, purge_step=self.resume_step
        )

    def _callbacks(self) -> list[L.Callback]:
        origin = Origin(config_hash(self.resolved), self.run_folder.git_commit())
        self.summary = RunSummary(self.run_folder.path, origin)
        steps = StepCheckpoint(self.run_folder.checkpoints, self._options.checkpoint_every_n_steps)
        options = {name: self._get(self.config_init, name) for name in watching.OPTIONS}
        known_to = {*noted_ids(self.run_folder.path)}
        if self.resume_step and self.run_folder.has_curves:
            known_to.add(TensorBoardLogger.__name__)
        return [
            *watching.watchers(self.resolved, options, self.summary, known_to=known_to),
            LoggerIds(self.run_folder.path),
            self.initial,
            KeepConfig(identity(self.resolved), self.numerics.as_json()),
            ModelCheckpoint(  # before the other, which so knows what is the best
                self.run_folder.checkpoints, "best", monitor="val/loss", mode="min", enable_version_counter=False
            ),
            steps,
            RunGuard(steps, timedelta(seconds=self._options.timeout_s)),
        ]

    def fit(self, model: PuzzleModule, datamodule: GenRAVENDataModule, **kwargs: Any) -> None:
        """Trains; from the run's last checkpoint where it has one and no other was given.

        Nothing is written to the run folder before all that can be checked has been.
        """
        datamodule.trainer = model.trainer = self.trainer
        datamodule.check_end()
        with unwrapped_errors(ValueError, TypeError):
            model.configure_optimizers()
        self._divide_batch(datamodule)
        if self._is_real_fit:
            kwargs["ckpt_path"] = self.resume_from
        self._check_checkpoint(kwargs.get("ckpt_path"))
        if self._options.init_from and not kwargs.get("ckpt_path"):  # at the first start
            self.initial.origin = load_initial(model, self._options.init_from, self.resolved)
        if self.trainer.local_rank == 0:
            datamodule.prepare_data()
        else:  # waits for the files at their lock: where processes wait for each other, it would be at most timeout_s
            datamodule.setup("fit")
            datamodule.training_index()
        if not self._is_real_fit:
            self.trainer.fit(model, datamodule=datamodule, **kwargs)
            return
        if self.trainer.is_global_zero:
            with named_ends(self.run_folder.path):
                self.run_folder.claim(self.resolved, self.resume_from)
        if self.numerics.compiled:
            compile_blocks(model.network)
        resuming = f", going on from {kwargs['ckpt_path']}" if kwargs["ckpt_path"] else ""
        rank_zero_info(f"run folder {self.run_folder.path}{resuming}")
        with self.summary.closing(), named_ends(self.run_folder.path):
            self.trainer.fit(model, datamodule=datamodule, **kwargs)
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
        self._need_checkpoint(kwargs)
        puzzles = torch.cat(self.trainer.predict(model, datamodule=datamodule, **kwargs))  # type: ignore[arg-type]
        save_array(PREDICTIONS, puzzles.numpy())
        print(f"{PREDICTIONS}: {tuple(puzzles.shape)} int8")

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
        if kwargs.get("ckpt_path") is None:
            if self._options.run_dir is None:
                raise InputError(f"expected --ckpt_path or --run_dir with {self.subcommand}, got neither: name a run.")
            kwargs["ckpt_path"] = str(find_checkpoint(self._options.run_dir))
        self._check_checkpoint(kwargs["ckpt_path"])

    def _check_checkpoint(self, path: str | None) -> None:
        """Raises InputError on a checkpoint of another model before any data is made or opened."""
        if path is not None:
            self.model.on_load_checkpoint(read_checkpoint(Path(path)))

    def _parse_ckpt_path(self) -> None:
        """Resolves paths; the config given beats the checkpoint's, so nothing is read from it."""
        options = self.config[self.config.subcommand]
        if options.data.source:
            path = Path(options.data.source).expanduser().absolute()
            options.data.source = str(path)
            if path.exists() and options.data.source_sha256 is None:  # else it is what the data module complains of
                options.data.source_sha256 = content_digest(path, options.data.source_split)
        if options.get("ckpt_path"):
            found = find_checkpoint(Path(options.ckpt_path))
            if found.name == WEIGHTS:
                raise InputError(f"expected a run folder or a checkpoint for --ckpt_path, got the exported {found}: "
                                 "give it to --init-from, or to `genraven evaluate`.")  # fmt: skip
            options.ckpt_path = str(found.absolute())
        if options.get("init_from"):
            options.init_from = str(Path(options.init_from).absolute())


def default_precision(accelerator: str) -> str:
    """``bf16-mixed`` where the device computes in bf16 by itself, else ``32-true``."""
    on_gpu = accelerator in ("auto", "gpu", "cuda") and torch.cuda.is_available()
    return "bf16-mixed" if on_gpu and torch.cuda.is_bf16_supported(including_emulation=False) else "32-true"


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
