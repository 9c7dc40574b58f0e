"""fit, validate, test and predict: LightningCLI with run folders, shipped configs and one-line errors."""

import logging
import warnings
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import LearningRateMonitor, ModelCheckpoint
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI
from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.utilities import rank_zero_info

from callbacks import LastCheckpoint, RunSummary, WholeCheckpointIO
from datamodules import GenRAVENDataModule
from genraven.errors import InputError
from launch.data import save_array
from launch.runs import (
    SCHEMA,
    TENSORBOARD,
    RunFolder,
    default_run_folder,
    find_checkpoint,
    read_checkpoint,
    refuse_other,
)
from launch.shipped import expand_configs
from lightning_modules import PuzzleModule

PREDICTIONS = Path("predictions.npy")


class KeepConfig(L.Callback):
    """Puts the config that rebuilds model and data into every checkpoint.

    Args:
        config: plain values only, so that checkpoints load with ``weights_only``.
    """

    def __init__(self, config: dict[str, Any]) -> None:
        self.config = config

    def on_save_checkpoint(self, trainer: L.Trainer, pl_module: L.LightningModule, checkpoint: dict[str, Any]) -> None:
        """Adds ``genraven_config``."""
        checkpoint["genraven_config"] = self.config


class GenravenCLI(LightningCLI):
    """One run, one folder. Started again with the same ``--run_dir`` and config, it goes on where it stopped."""

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Adds what a run folder needs."""
        parser.add_argument("--run_dir", type=str | None, default=None, help="Folder of the run; default: "
                            "runs/<network>-<time>.")  # fmt: skip
        parser.add_argument("--checkpoint_every_n_steps", type=int, default=1000, help="Steps between checkpoints.")

    def before_instantiate_classes(self) -> None:
        """Resolves the config into plain values."""
        self._dump_config()
        self.resolved: dict[str, Any] = self.config_dump
        self._options = self.config[self.subcommand]

    def instantiate_trainer(self, **kwargs: Any) -> L.Trainer:
        """The trainer, its logger and callbacks pointed at the run folder."""
        trainer_config = self._get(self.config_init, "trainer")
        if self._is_real_fit:
            self.run_folder = RunFolder(Path(self._options.run_dir or default_run_folder(self.resolved)))
            self.run_folder.check_owner(self.resolved)
            self.resume_from = self._resume_from()
            plugins = trainer_config.plugins or []
            plugins = plugins if isinstance(plugins, list) else [plugins]
            kwargs |= {"default_root_dir": str(self.run_folder.path), "plugins": [*plugins, WholeCheckpointIO()]}
            if trainer_config.logger in (None, True):
                kwargs["logger"] = self._logger()
            trainer_config.callbacks = [*(trainer_config.callbacks or []), *self._callbacks()]
            if trainer_config.logger is not False:
                trainer_config.callbacks.append(LearningRateMonitor(logging_interval="step"))
        elif trainer_config.logger in (None, True):
            kwargs["logger"] = False
        return super().instantiate_trainer(**kwargs)

    @property
    def _is_real_fit(self) -> bool:
        return self.subcommand == "fit" and not self._options.trainer.fast_dev_run

    def _resume_from(self) -> str | None:
        """The checkpoint that was asked for, else the folder's last; it must be of the config given."""
        path = self._options.ckpt_path or (str(self.run_folder.last) if self.run_folder.last.exists() else None)
        if path:
            refuse_other(read_checkpoint(Path(path))["genraven_config"], self.resolved, Path(path))
        return path

    def _logger(self) -> TensorBoardLogger:
        step = read_checkpoint(Path(self.resume_from))["global_step"] if self.resume_from else 0
        # purge_step hides what a run logged after the checkpoint that it goes on from.
        return TensorBoardLogger(
            self.run_folder.path, name=TENSORBOARD, version="", default_hp_metric=False, purge_step=step
        )

    def _callbacks(self) -> list[L.Callback]:
        every = self._options.checkpoint_every_n_steps
        if every < 1:
            raise InputError(f"expected --checkpoint_every_n_steps to be 1 or more, got {every}.")
        return [
            RunSummary(self.run_folder.path),
            KeepConfig({part: self.resolved[part] for part in SCHEMA}),
            LastCheckpoint(self.run_folder.last, every),
            ModelCheckpoint(
                self.run_folder.checkpoints, "best", monitor="val/loss", mode="min", enable_version_counter=False
            ),
        ]

    def fit(self, model: PuzzleModule, datamodule: GenRAVENDataModule, **kwargs: Any) -> None:
        """Trains; from the run's last checkpoint where it has one and no other was given.

        Nothing is written to the run folder before all that can be checked has been.
        """
        datamodule.trainer = self.trainer
        share, steps = datamodule.share(), self.trainer.max_steps
        if self._is_real_fit:
            kwargs["ckpt_path"] = self.resume_from
        self._check_checkpoint(kwargs.get("ckpt_path"))
        if self.trainer.local_rank == 0:
            datamodule.prepare_data()
        if self._is_real_fit and self.trainer.is_global_zero:
            self.run_folder.claim(self.resolved)
            resuming = f", going on from {kwargs['ckpt_path']}" if kwargs["ckpt_path"] else ""
            rank_zero_info(f"run folder {self.run_folder.path}{resuming}")
        rank_zero_info(
            f"global batch {share.global_batch_size} = {share.world_size} device(s) x {share.accumulate} accumulated x "
            f"{share.size} puzzles; {steps if steps > 0 else 'unlimited'} steps"
        )
        self.trainer.fit(model, datamodule=datamodule, **kwargs)
        if self._is_real_fit:
            rank_zero_info(f"run folder {self.run_folder.path}: tensorboard --logdir {self.run_folder.path}")

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
        """Resolves run folders; the config given beats the checkpoint's, so nothing is read from it."""
        options = self.config[self.config.subcommand]
        if options.get("ckpt_path"):
            options.ckpt_path = str(find_checkpoint(Path(options.ckpt_path)))


def quiet_lightning() -> None:
    """Drops Lightning's advertisements and warnings about srun and about arguments that do not come from sys.argv."""
    warnings.filterwarnings("ignore", ".*srun.*")
    warnings.filterwarnings("ignore", ".*LightningCLI's args parameter.*")
    warnings.filterwarnings("ignore", ".*callbacks used to create the checkpoint need to be provided.*")
    warnings.filterwarnings("ignore", ".*isinstance.treespec, LeafSpec.*")
    for name in ("lightning.pytorch.utilities.rank_zero", "lightning.fabric.utilities.rank_zero"):
        logging.getLogger(name).addFilter(lambda record: "Tip:" not in record.getMessage())


def run(arguments: list[str]) -> None:
    """Runs a training command; ``arguments`` begin with its name.

    Raises:
        InputError: bad input that the parser itself does not refuse.
    """
    quiet_lightning()
    torch.set_float32_matmul_precision("high")
    try:
        GenravenCLI(
            PuzzleModule,
            GenRAVENDataModule,
            subclass_mode_model=True,
            save_config_callback=None,
            seed_everything_default=0,
            auto_configure_optimizers=False,
            load_from_checkpoint_support=False,
            args=expand_configs(arguments),
        )
    except ValueError as error:
        inner = first_input_error(error)
        if inner is None:
            raise
        raise inner from None


def first_input_error(error: BaseException | None) -> InputError | None:
    """The InputError that ``error`` is or was raised from: jsonargparse wraps what a model's constructor raises."""
    while error is not None and not isinstance(error, InputError):
        error = error.__cause__ or error.__context__
    return error
