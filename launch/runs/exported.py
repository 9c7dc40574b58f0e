"""An exported model: a folder of weights as safetensors and a JSON description that says what they are.

Nothing in it is executed. ``read_export`` gives what ``read_checkpoint`` gives of a checkpoint.
"""

import hashlib
import json
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from genraven.bounded import open_regular, read_json
from genraven.errors import InputError, shown
from genraven.files import folder_appears_whole
from genraven.trust.digest import changed, digest
from launch.configs.registry import is_plain

FORMAT = 1
WEIGHTS, DESCRIPTION = "model.safetensors", "card.json"
NEEDED = {"format": int, "family": str, "step": int, "config": dict, "sha256": str}  # to load a model


def is_export(path: Path) -> bool:
    """Is ``path`` the folder of an exported model, whole or not?"""
    return (path / DESCRIPTION).is_file() or (path / WEIGHTS).is_file()


def write_export(folder: Path, description: dict[str, Any], weights: dict[str, torch.Tensor]) -> None:
    """Writes ``folder``, which must not be there, whole or not at all. Digests tell accidents and no forgery.

    Raises:
        InputError: it is there, or cannot be written.
    """
    with folder_appears_whole(folder, "--out") as temporary:
        save_file({name: value.contiguous() for name, value in weights.items()}, temporary / WEIGHTS)
        whole = {**description, "sha256": _digest(temporary / WEIGHTS)}
        whole["digest"] = digest(json.loads(json.dumps(whole)))
        (temporary / DESCRIPTION).write_text(json.dumps(whole, indent=2) + "\n")


def read_export(folder: Path) -> dict[str, Any]:
    """The contents of an exported model, as those of a checkpoint, and its ``description``.

    Raises:
        InputError: description or weights are missing or broken, or do not belong together.
    """
    description = _read_description(folder / DESCRIPTION)
    path = folder / WEIGHTS
    try:
        found, weights = _digest(path), load_file(path)
    except (OSError, SafetensorError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else "it is torn, or no safetensors"
        raise InputError(f"expected weights in {path}, got none ({reason}): export the run anew.") from None
    if found != description["sha256"]:
        raise InputError(
            f"expected the weights that {folder / DESCRIPTION} describes, got others in {path}: export the run anew."
        )
    return {
        "genraven_config": description["config"],
        "family": description["family"],
        "global_step": description["step"],
        "numerics": description.get("numerics"),
        "state_dict": weights,
        "description": description,
    }


def _read_description(path: Path) -> dict[str, Any]:
    try:
        description = read_json(path)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is no JSON"
        raise InputError(f"expected a description in {path}, got none ({reason}): export the run anew.") from None
    found = description if isinstance(description, dict) else {}
    noted = found.pop("digest", None)  # older ones have none
    if noted is not None and noted != digest(found):
        raise InputError(changed(str(path), "`genraven export`"))
    for name, kind in NEEDED.items():
        if not isinstance(found.get(name), kind):
            raise InputError(f"expected {name} in {path}, got {shown(found.get(name))}: export the run anew.")
    if found["format"] != FORMAT:
        raise InputError(f"expected format {FORMAT} in {path}, got {found['format']}: use the version of genraven that "
                         "wrote it.")  # fmt: skip
    for part in ("model", "data"):
        if not isinstance(found["config"].get(part), dict):
            raise InputError(f"expected config.{part} in {path}, got {shown(found['config'].get(part))}: export the "
                             "run anew.")  # fmt: skip
    if not is_plain(found["config"]):
        raise InputError(f"expected config in {path} to be one of genraven, got another: export the run anew.")
    return found


def _digest(path: Path) -> str:
    with open_regular(path) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
