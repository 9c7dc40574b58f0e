"""What watches every run: TensorBoard's board and pictures, collapse, cost; with the options of ``fit`` for each."""

from collections.abc import Mapping
from typing import Any

import lightning as L
import yaml

from callbacks import (
    CollapseLimits,
    CollapseWatch,
    Cost,
    CostOptions,
    PictureOptions,
    Pictures,
    RunBoard,
    RunSummary,
)
from launch.runs import SCHEMA, flat

OPTIONS: dict[str, type[Any]] = {"pictures": PictureOptions, "collapse": CollapseLimits, "cost": CostOptions}
TRAINER = ("max_steps", "precision", "devices", "num_nodes")


def watchers(
    config: dict[str, Any], options: Mapping[str, Any], summary: RunSummary, *, is_new: bool
) -> list[L.Callback]:
    """The callbacks, in the order in which they are called: the summary after those that it asks.

    Args:
        config: resolved, plain values.
        options: an instance of each of ``OPTIONS``.
        summary: of the run.
        is_new: has the run not yet written for TensorBoard?
    """
    return [
        RunBoard(yaml.safe_dump(config, sort_keys=False), hyperparameters(config), is_new=is_new),
        Pictures(options["pictures"]),
        CollapseWatch(options["collapse"]),
        Cost(options["cost"], summary.totals),
        summary,
    ]


def hyperparameters(config: dict[str, Any]) -> dict[str, Any]:
    """What tells a run from others, for TensorBoard's table: of model, data and trainer, under short names."""
    chosen = {part: config[part] for part in SCHEMA}
    chosen["trainer"] = {name: config["trainer"].get(name) for name in TRAINER}
    values = {name: value for part, tree in chosen.items() for name, value in flat(tree, part).items()}
    short = {name.replace(".init_args", "").removesuffix(".class_path"): value for name, value in values.items()}
    return {
        name: value if isinstance(value, bool | int | float) else str(value)
        for name, value in short.items()
        if value is not None
    }
