"""A trained model, out of a run folder, a checkpoint or an exported model."""

from pathlib import Path
from typing import Any

import torch

from datamodules import GenRAVENDataModule
from genraven.errors import InputError, path_of, setting
from genraven.run_folder import RunFiles, home
from launch.configs.identity import build
from launch.runs.folder import find_checkpoint, read_checkpoint
from lightning_modules import PuzzleModule


def load_run(run: Path | str, device: str = "auto") -> tuple[PuzzleModule, GenRAVENDataModule, dict[str, Any]]:
    """Model with its (averaged) weights as they were saved, data module, and the checkpoint of ``run``.

    To use the model, open it with ``launch.trained.model.load``, which makes it ready.

    Raises:
        InputError: no checkpoint of genraven, one whose config and weights do not belong together, or no such device.
    """
    path = find_checkpoint(run)
    checkpoint = read_checkpoint(path)
    weights = checkpoint.get("state_dict")
    if not isinstance(weights, dict):
        raise InputError(
            f"expected a checkpoint that `genraven fit` wrote, got {path}, without weights: train it anew."
        )
    with torch.random.fork_rng(devices=[]):  # the weights that it begins with are drawn, and replaced
        model, data = build(checkpoint["genraven_config"], weights)
    model.check_checkpoint(checkpoint)
    model.load_state_dict(checkpoint["state_dict"])
    model.trained = data.trained
    return model.to(find_device(device)).eval(), data, checkpoint


def calibration_of(checkpoint: Path, given: Path | str | None = None) -> Path:
    """Where the calibration of a checkpoint stands: at ``given``, else in its run folder."""
    return RunFiles(home(checkpoint)).calibration if given is None else path_of(setting("calibration"), given)


def find_device(name: str) -> torch.device:
    """The device of that name; ``auto`` takes a GPU where there is one."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise InputError(f"expected {setting('device')} to be one of this machine's, got {name} "
                         f"({str(error).splitlines()[0]}): use cpu or auto.") from None  # fmt: skip
    return device
