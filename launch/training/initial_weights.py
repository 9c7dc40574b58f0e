"""``fit --init-from``: a run that begins with the weights of another."""

from pathlib import Path
from typing import Any

from lightning.pytorch.utilities import rank_zero_info

from genraven.errors import InputError, shown
from launch.configs.changes import flat
from launch.configs.upgrade import upgraded
from launch.runs.folder import find_checkpoint, read_checkpoint
from launch.training.options import READS_UNKNOWN
from lightning_modules import PuzzleModule

NETWORK, METHOD = "model.init_args.network.", "model.init_args.method."


def read_initial(path: Path | str, config: dict[str, Any]) -> tuple[Path, dict[str, Any]]:
    """The checkpoint that ``path`` means, and its contents, for a run of ``config`` to begin with its weights.

    Raises:
        InputError: there is none, or it is of another model: one of another class, or whose network has other settings,
            dropout apart. Weights may fit where a network of other settings computes something else with them.
    """
    found = find_checkpoint(path)
    checkpoint = read_checkpoint(found)
    before, now = _structure(checkpoint["genraven_config"]), _structure(config)
    for key in sorted(before.keys() & now.keys()):
        if key == READS_UNKNOWN and before[key] != now[key]:
            whose = "this one" if before[key] else "the first run"
            raise InputError("expected --init-from with the same model.network.reads_unknown as this run "
                             f"({now[key]}), got {found} with {before[key]}: train {whose} with "
                             "--model.network.reads_unknown true.")  # fmt: skip
        if before[key] != now[key]:
            raise InputError(
                f"expected --init-from with weights of this model, got {found}, with {key} {shown(before[key])} "
                f"instead of {shown(now[key])}: give the model config that it was trained with."
            )
    return found, checkpoint


def load_initial(model: PuzzleModule, path: Path | str, config: dict[str, Any]) -> dict[str, Any]:
    """Gives ``model`` the weights that ``path`` means: the averaged ones where their run kept an average.

    Returns:
        ``checkpoint`` and ``step``: where they come from.

    Raises:
        InputError: there are none, or they are of another model than that of ``config``.
    """
    found, checkpoint = read_initial(path, config)
    model.check_checkpoint(checkpoint)
    model.load_state_dict(checkpoint["state_dict"])
    origin = {"checkpoint": str(found), "step": checkpoint["global_step"]}
    rank_zero_info(f"begins with the weights of {found}, of step {origin['step']}")
    return origin


def _structure(config: dict[str, Any]) -> dict[str, Any]:
    """The settings that say what is computed with the weights."""
    return {
        key: bool(value) if key == READS_UNKNOWN else value  # null is false, once the data have been looked at
        for key, value in flat(upgraded(config).get("model"), "model").items()
        if key == "model.class_path"
        or (
            key.startswith(METHOD) and key.endswith((".class_path", ".sigma_data", ".self_conditioning"))
        )  # also of the method's process
        or (key.startswith(NETWORK) and not key.endswith(".dropout"))
    }
