"""``genraven export``: a trained model as weights that any program can read, and a description of them."""

import argparse
from pathlib import Path
from typing import Any

from genraven.console import say
from genraven.errors import InputError
from genraven.puzzles.spec import RULES
from genraven.run_folder import RunFiles, home, read_json, read_summary
from launch.runs.exported import DESCRIPTION, FORMAT, WEIGHTS, write_export
from launch.runs.folder import find_checkpoint
from launch.trained.model import TrainedModel, load

VALUE, COUNT = "val/", "val_count/"  # of metrics in a summary


def export(options: argparse.Namespace) -> None:
    """Writes the folder."""
    path = find_checkpoint(options.run)
    if path.name == WEIGHTS:
        raise InputError(f"expected a run folder or a checkpoint of one, got {options.run}, exported already: copy it.")
    folder = options.out or RunFiles(home(path)).export
    model = load(path, device="cpu", precision="32-true")  # which leaves the weights as they are
    description = describe(model)
    write_export(folder, description, model.module.state_dict())
    say(f"{folder / WEIGHTS}: {description['parameters']} parameters of step {description['step']}")
    say(folder / DESCRIPTION)


def describe(trained: TrainedModel) -> dict[str, Any]:
    """What the weights are, what they learned from and how well, as their run's folder says."""
    model, data, checkpoint, run = trained.module, trained.data, trained.checkpoint, home(trained.path)
    summary, step = read_summary(run), trained.step
    config, process = checkpoint["genraven_config"], getattr(model.method, "process", None)
    return {
        "format": FORMAT,
        "family": model.family,
        "network": type(model.network).__name__,
        "process": None if process is None else type(process).__name__,
        "parameters": sum(p.numel() for p in model.network.parameters()),
        "averaged_weights": getattr(model, "ema_decay", None) is not None,
        "step": step,
        "data": {
            "samples_per_rule": data.samples_per_rule,
            "source": data.source,
            "seed": data.seed,
            "trained_rules": [RULES[r].name for r in data.trained],
            "held_out_rules": [RULES[r].name for r in data.held_out],
        },
        "validation": _validation(summary) if summary.get("step") == step else None,
        "evaluations": _evaluations(RunFiles(run).evaluation, step),
        "numerics": checkpoint.get("numerics"),
        "init_from": summary.get("init_from"),
        "git_commit": summary.get("git_commit"),
        "versions": summary.get("versions"),
        "config": {**config, "data": {**config["data"], "cache_dir": None}},  # a place on the machine that trained
    }


def _validation(summary: dict[str, Any]) -> dict[str, Any]:
    """The last validation's metrics, each with its count where it has one."""
    metrics = summary.get("metrics", {})
    names = [name.removeprefix(VALUE) for name in metrics if name.startswith(VALUE)]
    counts = {name: metrics.get(COUNT + name) for name in names}
    return {
        name: {"value": metrics[VALUE + name], **({} if count is None else {"count": int(count)})}
        for name, count in counts.items()
    }


def _evaluations(path: Path, step: int) -> list[dict[str, Any]]:
    """The results of ``genraven evaluate`` on the weights of ``step``."""
    found = read_json(path)
    return [result for result in found.get("results", [found]) if result.get("step") == step]
