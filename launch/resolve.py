"""Command lines of ``fit`` resolved and checked as ``fit`` would, without a trainer, weights or a run folder."""

import json
from argparse import ArgumentError
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

from datamodules import GenRAVENDataModule
from genraven.errors import InputError
from launch.shipped import expand_configs
from launch.training import GenravenCLI, first_input_error, quiet_lightning
from lightning_modules import PuzzleModule


@contextmanager
def _one_line_errors() -> Iterator[None]:
    """What the parser says over many lines, or a constructor inside of it, as one InputError."""
    try:
        yield
    except (ArgumentError, ValueError, TypeError) as error:
        raise first_input_error(error) or InputError(" ".join(str(error).split())) from None


class Resolver(GenravenCLI):
    """The parser of ``fit``, built once for any number of command lines.

    Args:
        arguments: any valid ones, which begin with ``fit``.
    """

    def __init__(self, arguments: list[str]) -> None:
        quiet_lightning()
        strict = {"exit_on_error": False}
        with _one_line_errors():
            super().__init__(
                PuzzleModule,
                GenRAVENDataModule,
                subclass_mode_model=True,
                save_config_callback=None,
                seed_everything_default=0,
                auto_configure_optimizers=False,
                load_from_checkpoint_support=False,
                parser_kwargs={**strict, "fit": strict},
                args=expand_configs(arguments),
            )

    def resolve(self, arguments: list[str]) -> dict[str, Any]:
        """The config of ``arguments``; model and data are built, without memory for weights, to hear their complaints.

        Raises:
            InputError: what ``fit`` would refuse.
        """
        with _one_line_errors():
            self.config = self.parser.parse_args(expand_configs(arguments))
            self._parse_ckpt_path()
            with torch.device("meta"):
                self.parser.instantiate_classes(self.config)
            dumped = self.parser.dump(self.config, skip_none=False, skip_validation=True, format="json")
        config: dict[str, Any] = json.loads(dumped)["fit"]
        return config

    def _set_seed(self) -> None:
        """Nothing is drawn here."""

    def before_instantiate_classes(self) -> None:
        """What depends on the machine is resolved by the machine that trains."""

    def instantiate_classes(self) -> None:
        """See ``resolve``."""

    def _run_subcommand(self, subcommand: str) -> None:
        """Nothing is trained here."""
