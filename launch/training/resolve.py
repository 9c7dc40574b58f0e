"""Command lines of ``fit`` resolved and checked as ``fit`` would, without a trainer, weights or a run folder."""

from typing import Any

import torch

from launch.configs.shipped import expand_configs
from launch.errors import refused_by_constructors, unwrapped_errors
from launch.runs.folder import given_checkpoint
from launch.training.command import GenravenCLI, quiet_lightning
from launch.training.loggers import take_specs
from launch.training.options import check_gaps, note_prior

COMPLAINTS = (ValueError, TypeError)


class Resolver(GenravenCLI):
    """The parser of ``fit``, built once for any number of command lines.

    Args:
        arguments: any valid ones, which begin with ``fit``.
    """

    def __init__(self, arguments: list[str]) -> None:
        quiet_lightning()
        with unwrapped_errors(*COMPLAINTS):
            super().__init__(arguments)

    def resolve(self, arguments: list[str]) -> dict[str, Any]:
        """The config of ``arguments``; model and data are built, without memory for weights, to hear their complaints.

        Raises:
            InputError: what ``fit`` would refuse.
        """
        with unwrapped_errors(*COMPLAINTS):
            self.parse_arguments(self.parser, expand_configs(arguments))
            self.config.fit.ckpt_path = given_checkpoint(self.config.fit.ckpt_path)
            config = self.plain(self.config)
            take_specs(self.config.fit.trainer)  # to make one is to open what it writes to
            with torch.device("meta"), refused_by_constructors():
                found = self.parser.instantiate(self.config).fit
                note_prior(config, found.model)
                check_gaps(found.model, found.data)
                found.model.check_labels()
        return config

    def seed(self) -> None:
        """Nothing is drawn here."""

    def before_instantiate_classes(self) -> None:
        """What depends on the machine is resolved by the machine that trains."""

    def instantiate_classes(self) -> None:
        """See ``resolve``."""

    def execute(self, command: str) -> None:
        """Nothing is trained here."""
