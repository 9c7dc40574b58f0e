"""The first step of a training command: its options as they are meant, in plain values. Nothing is made yet."""

import logging
import warnings
from argparse import ArgumentError
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from lightning.fabric.utilities.seed import seed_everything
from lightning.pytorch.cli import LightningArgumentParser
from lightning.pytorch.utilities import rank_zero_warn

from datamodules import GenRAVENDataModule
from genraven.errors import InputError
from genraven.networks.compiling import Compilation
from launch.arguments import TRAINING_COMMANDS
from launch.configs.amounts import check_numbers
from launch.configs.registry import classes
from launch.configs.rule_words import in_file
from launch.configs.shipped import expand_configs
from launch.errors import refused_by_constructors, unwrapped_errors
from launch.runs.folder import RunFolder, given_checkpoint
from launch.trained.numerics import Numerics
from launch.trained.precision import TRAINED_IN_FLOAT32, default_precision, slow_precision
from launch.training.compiling import compilation_of
from launch.training.complaints import one_line
from launch.training.loggers import Specs, take_specs
from launch.training.options import add_options, check_has_score, check_missing, note_prior, settle_options
from lightning_modules import PuzzleModule
from lightning_modules.lightning_internals import CommandLine

COMPLAINTS = (ValueError, TypeError)
CONFIGS_ARE = "-c takes a file, or the name of a shipped config: `genraven configs` lists them."


class TrainingParser(CommandLine):
    """The parser of fit, validate, test and predict, with shipped configs by name and complaints of one line.

    Args:
        arguments: of a command, which begin with its name; they are parsed.
    """

    def __init__(self, arguments: list[str]) -> None:
        classes()  # a class is known by its short name once it is imported
        super().__init__(
            PuzzleModule,
            GenRAVENDataModule,
            subclass_mode_model=True,
            save_config_callback=None,
            seed_everything_default=0,
            auto_configure_optimizers=False,
            load_from_checkpoint_support=False,
            args=expand_configs(arguments),
            parser_kwargs={
                name: {"description": f"{text[0].upper()}{text[1:]}. {CONFIGS_ARE}"}
                for name, text in TRAINING_COMMANDS.items()
                if name in arguments[:1]
            },
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


@dataclass(frozen=True)
class Resolved:
    """A training command, resolved."""

    parser: TrainingParser
    command: str
    """fit, validate, test or predict."""
    options: Any
    """A namespace of those of the command; of its loggers, only whether the usual one is wanted."""
    loggers: Specs
    """Those that are named: they are made once the run folder is known."""
    config: dict[str, Any]
    """All options, plain values."""
    numerics: Numerics
    compilation: Compilation | None
    """What of a training is one graph; None where nothing is compiled."""

    @property
    def is_real_fit(self) -> bool:
        """Is it a training with a run folder?"""
        return self.command == "fit" and not self.options.trainer.fast_dev_run


def resolve(arguments: list[str]) -> Resolved:
    """The command of ``arguments``, which begin with its name. The seed is set, and said.

    Raises:
        InputError: the parser refuses them, or a value is out of range.
    """
    parser = TrainingParser(arguments)
    command = str(parser.subcommand)
    options = parser.config[command]
    seed = options.seed_everything
    if seed is not False:
        options.seed_everything = seed_everything(None if seed is True else seed, workers=True)
    if options.trainer.precision is None:
        options.trainer.precision = _precision(command, options)
    else:
        instead = None if _began(command, options) else TRAINED_IN_FLOAT32
        if slow := slow_precision(str(options.trainer.precision), options.trainer.accelerator, instead):
            rank_zero_warn(slow)
    asked = options.compile
    numerics = Numerics.of_training(options.trainer, None if asked is None else bool(asked))
    compilation = compilation_of(asked, is_compiled=numerics.compiled)
    config = in_file(parser.plain(parser.config))
    return Resolved(parser, command, options, take_specs(options.trainer), config, numerics, compilation)


def _precision(command: str, options: Any) -> str:
    """What suits the device; but a run goes on with what it began with, also on another kind of device."""
    fits, began = default_precision(options.trainer.accelerator), _began(command, options)
    if began not in (None, fits):
        rank_zero_warn(f"{options.run_dir} resumes in {began}, the precision that it began with: this device would "
                       f"begin in {fits}, so it may be slow here.")  # fmt: skip
    return began or fits


def _began(command: str, options: Any) -> Any:
    """The precision that the run to go on with began in; None of a run that has not begun."""
    if command != "fit" or not options.run_dir:
        return None
    return RunFolder(Path(options.run_dir)).config().get("trainer", {}).get("precision")


class Resolver:
    """Resolves and checks command lines of ``fit`` as it would, without a trainer, weights or a run folder.

    What depends on the machine is left to the machine that trains. The parser is built once for any number of them.

    Args:
        arguments: any valid ones, which begin with ``fit``.
    """

    def __init__(self, arguments: list[str]) -> None:
        quiet_lightning()
        with unwrapped_errors(*COMPLAINTS):
            self._parser = TrainingParser(arguments)

    def resolve(self, arguments: list[str], score: str | None = None) -> dict[str, Any]:
        """The config of ``arguments``; model and data are built, without memory for weights, to hear their complaints.

        Args:
            arguments: of ``fit``.
            score: that validations are to have; None for any.

        Raises:
            InputError: what ``fit`` would refuse, or a ``score`` that no validation of it has.
        """
        command_line = self._parser
        with unwrapped_errors(*COMPLAINTS):
            command_line.parse_arguments(command_line.parser, expand_configs(arguments))
            parsed = command_line.config
            parsed.fit.ckpt_path = given_checkpoint(parsed.fit.ckpt_path)
            config = command_line.plain(parsed)
            take_specs(parsed.fit.trainer)  # to make one is to open what it writes to
            with torch.device("meta"), refused_by_constructors():
                found = command_line.made(parsed).fit
                note_prior(config, found.model)
                for part in ("model", "data"):
                    check_numbers(config[part], part, "a run")
                check_missing(found.model, found.data)
                found.model.check_labels()
                if score is not None:
                    check_has_score(score, found.model, found.data)
        return in_file(config)


def quiet_lightning() -> None:
    """Drops Lightning's advertisements, and warnings about what is meant to be as it is."""
    warnings.filterwarnings("ignore", ".*srun.*")
    warnings.filterwarnings("ignore", ".*LightningCLI's args parameter.*")
    warnings.filterwarnings("ignore", ".*callbacks used to create the checkpoint need to be provided.*")
    warnings.filterwarnings("ignore", ".*isinstance.treespec, LeafSpec.*")
    warnings.filterwarnings("ignore", ".*exists and is not empty.*")  # the checkpoints of a run that goes on
    warnings.filterwarnings("ignore", ".*sync_dist=True.*")  # the scores are summed over processes already
    warnings.filterwarnings("ignore", ".*is not supported by the model summary.*")  # it estimates megabytes
    for name in ("lightning.pytorch.utilities.rank_zero", "lightning.fabric.utilities.rank_zero"):
        logging.getLogger(name).addFilter(lambda record: "Tip:" not in record.getMessage())
