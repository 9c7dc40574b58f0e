"""Configs as older versions wrote them, brought to today's names and to the values that they meant."""

import copy
from typing import Any

from launch.configs.rule_words import of_file

GAUSSIAN = "genraven.methods.gaussian.GaussianDiffusion"
AUTOREGRESSIVE = "genraven.methods.autoregressive.Autoregressive"
MOVED = {  # of DiffusionModule and AutoregressiveModule: the option's name within the method
    "DiffusionModule": {
        "process": "process",
        "masked_share": "masked_share",
        "sampler": "sampling.sampler",
        "num_sampling_steps": "sampling.num_steps",
        "completion": "sampling.completion",
        "num_resamples": "sampling.num_resamples",
        "num_particles": "sampling.num_particles",
        "guidance_strength": "sampling.guidance_strength",
        "guidance_scale": "sampling.guidance_scale",
    },
    "AutoregressiveModule": {
        "temperature": "sampling.temperature",
        "completion_temperature": "sampling.completion_temperature",
        "top_k": "sampling.top_k",
        "num_particles": "sampling.num_particles",
    },
}
EDM, OLD_SIGMA_DATA = "genraven.methods.gaussian.edm.Edm", 0.5  # of numbers, where nothing or null was written
METHODS = {"DiffusionModule": GAUSSIAN, "AutoregressiveModule": AUTOREGRESSIVE}


def moved_options(config: dict[str, Any]) -> dict[str, str]:
    """Options of ``config`` that have moved: ``model.sampler`` to ``model.method.sampling.sampler``."""
    model = config.get("model")
    given = model.get("init_args") if isinstance(model, dict) else None
    if not isinstance(given, dict):
        return {}
    name = _module_name(config)
    tables = [MOVED[name]] if name in MOVED else list(MOVED.values())
    moved = {old: new for table in tables for old, new in table.items()}
    return {f"model.{name}": f"model.method.{moved[name]}" for name in given if name in moved}


def moved_option(name: str) -> str | None:
    """Where an option such as ``model.sampler`` is today; None for one that has not moved."""
    last = name.rpartition(".")[2]
    places = [f"model.method.{table[last]}" for table in MOVED.values() if last in table]
    return None if not places or name in places else places[0]


def _module_name(config: dict[str, Any]) -> str:
    """Of the model's class; empty where there is none."""
    model = config.get("model")
    return str(model.get("class_path", "")).rpartition(".")[2] if isinstance(model, dict) else ""


def upgraded(config: dict[str, Any]) -> dict[str, Any]:
    """``config`` in today's names, with the values that it meant; itself where it is of today."""
    moved = _with_moved_options(config)
    return of_file(_with_old_sigma_data(moved, was_moved=moved is not config))


def _with_old_sigma_data(config: dict[str, Any], *, was_moved: bool) -> dict[str, Any]:
    """``config`` with the number that EDM's null stood for; in the oldest configs, whose names have moved, nothing did.

    Numbers had 0.5 then, one-hot codes already their own deviation.
    """
    place: Any = config
    for name in ("model", "init_args", "method", "init_args"):
        place = place.get(name) if isinstance(place, dict) else None
    process = place.get("process") if isinstance(place, dict) else None
    if not isinstance(process, dict) or process.get("class_path") != EDM:
        return config
    arguments = process.get("init_args") or {}
    if arguments.get("sigma_data", None if was_moved else "data") is not None:
        return config
    config = copy.deepcopy(config)
    method = config["model"]["init_args"]["method"]["init_args"]
    meant = "data" if method.get("code") == "onehot" else OLD_SIGMA_DATA
    method["process"]["init_args"] = arguments | {"sigma_data": meant}
    return config


def _with_moved_options(config: dict[str, Any]) -> dict[str, Any]:
    name = _module_name(config)
    if name not in METHODS or not moved_options(config):
        return config
    config = copy.deepcopy(config)
    options = config["model"]["init_args"]
    arguments: dict[str, Any] = {}
    for old, new in MOVED[name].items():
        if old not in options:
            continue
        target, _, last = new.rpartition(".")
        place = arguments.setdefault(target, {}) if target else arguments
        place[last] = options.pop(old)
    process = arguments.get("process")
    if isinstance(process, dict) and isinstance(process.get("class_path"), str):
        process["class_path"] = process["class_path"].replace("genraven.diffusion.", "genraven.methods.gaussian.")
    options["method"] = {"class_path": METHODS[name], "init_args": arguments}
    return config
