"""The third step of validate, test and predict: the weights of a run are used by Lightning's trainer."""

from pathlib import Path
from typing import Any

import torch

from genraven.console import say
from genraven.errors import InputError
from genraven.formats.write import save_array
from genraven.outputs import Outputs
from launch.processes.agreement import agreed, group_of
from launch.runs.folder import given_checkpoint
from launch.training.build import Built
from launch.training.resolve import Resolved
from launch.training.train import check_checkpoint

PREDICTIONS = Path("predictions.npy")


def use(resolved: Resolved, built: Built) -> None:
    """Scores on validation or test puzzles; or writes the test puzzles, completed, to predictions.npy here.

    Raises:
        InputError: there are no weights, or other ones; or predictions cannot be written.
    """
    if resolved.command == "predict":
        _predict(resolved, built)
    else:
        method = {"validate": built.trainer.validate, "test": built.trainer.test}[resolved.command]
        method(built.model, datamodule=built.data, **_arguments(resolved, built))


def _predict(resolved: Resolved, built: Built) -> None:
    if built.trainer.world_size > 1:
        raise InputError(f"expected one device for predict, got {built.trainer.world_size}: set trainer.devices to 1.")
    outputs = Outputs(overwrite=None)
    outputs.add(PREDICTIONS, "what predict writes")
    arguments = _arguments(resolved, built)
    puzzles = torch.cat(built.trainer.predict(built.model, datamodule=built.data, **arguments))  # type: ignore[arg-type]
    with outputs:
        save_array(outputs[PREDICTIONS], puzzles.numpy())
    say(f"{PREDICTIONS}: {tuple(puzzles.shape)} int8")


def _arguments(resolved: Resolved, built: Built) -> dict[str, Any]:
    """Of the trainer's method; the weights to use are those of --ckpt_path, else the last of --run_dir."""
    names = resolved.parser.method_options(resolved.command)
    given = {name: built.options[name] for name in names}
    named = given.get("ckpt_path") or resolved.options.run_dir
    if named is None:
        raise InputError(f"expected --ckpt_path or --run_dir with {resolved.command}, got neither: name a run.")
    path = agreed(built.trainer, lambda: given_checkpoint(named))
    with group_of(built.trainer).together():
        check_checkpoint(built.model, path)
    return given | {"ckpt_path": path}
