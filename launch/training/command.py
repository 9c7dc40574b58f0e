"""fit, validate, test and predict, in three steps: resolve the config, build, train."""

import torch

from launch.errors import unwrapped_errors
from launch.training.build import build
from launch.training.resolve import quiet_lightning, resolve
from launch.training.train import train
from launch.training.use import use


def run(arguments: list[str]) -> None:
    """Runs a training command; ``arguments`` begin with its name.

    Raises:
        InputError: bad input.
    """
    quiet_lightning()
    torch.set_float32_matmul_precision("high")
    with unwrapped_errors():
        resolved = resolve(arguments)
        built = build(resolved)
        try:
            (train if resolved.command == "fit" else use)(resolved, built)
        except SystemExit as error:
            raise KeyboardInterrupt from error  # of which Lightning makes an exit with status 1
