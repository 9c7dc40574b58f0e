"""What watches every run: what loggers show of it, pictures, collapse, cost; with the options of ``fit`` for each."""

import sys
from collections.abc import Collection, Mapping
from typing import Any

import lightning as L
from lightning.pytorch.callbacks import ModelSummary, ProgressBar

from callbacks import (
    CollapseLimits,
    CollapseWatch,
    Cost,
    CostOptions,
    PictureOptions,
    Pictures,
    ProgressLines,
    RunSummary,
    StepBar,
    TensorBoardOverview,
)
from genraven.progress import is_terminal
from launch.configs.changes import short_names
from lightning_modules.lightning_internals import ParameterSummary

MONITORING: dict[str, type[Any]] = {"pictures": PictureOptions, "collapse": CollapseLimits, "cost": CostOptions}
HYPERPARAMETERS = (
    "model.network", "model.network.width", "model.network.channels", "model.network.depth", "model.method",
    "model.method.process", "model.optimizer.lr", "model.seed", "data.samples_per_rule", "data.held_out",
    "data.global_batch_size", "trainer.max_steps",
)  # fmt: skip


def monitors(
    config: dict[str, Any], options: Mapping[str, Any], summary: RunSummary, *, known_to: Collection[str]
) -> list[L.Callback]:
    """The callbacks, in the order in which they are called: the summary after those that it asks.

    Args:
        config: resolved, plain values.
        options: an instance of each of ``MONITORING``.
        summary: of the run.
        known_to: names of the loggers' classes that have the config from an earlier start of the run.
    """
    return [
        TensorBoardOverview(config, hyperparameters(config), known_to=known_to, is_other=bool(summary.origin.changed)),
        Pictures(options["pictures"]),
        CollapseWatch(options["collapse"]),
        Cost(options["cost"], summary.totals),
        summary,
    ]


def progress_bar(trainer_config: Mapping[str, Any]) -> list[L.Callback]:
    """A bar that asks the device for its numbers no more often than the logger does, and lines where none can be drawn.

    None where it is not wanted.
    """
    given = [callback for callback in trainer_config["callbacks"] or [] if isinstance(callback, ProgressBar)]
    if given or trainer_config["enable_progress_bar"] is False:
        return []
    if not is_terminal(sys.stderr):
        return [ProgressLines()]
    return [StepBar(refresh_rate=max(1, trainer_config["log_every_n_steps"] or 1))]


def model_summary(trainer_config: Mapping[str, Any]) -> list[L.Callback]:
    """The table of modules and their parameters; none where another is given, or none is wanted."""
    given = any(isinstance(callback, ModelSummary) for callback in trainer_config["callbacks"] or [])
    return [] if given or trainer_config["enable_model_summary"] is False else [ParameterSummary()]


def hyperparameters(config: dict[str, Any]) -> dict[str, Any]:
    """What tells most runs from others, for TensorBoard's table; all else is in the config beside it."""
    short = short_names(config)
    chosen = {name.rpartition(".")[2]: short[name] for name in HYPERPARAMETERS if short.get(name) is not None}
    return {name: value if isinstance(value, int | float) else str(value) for name, value in chosen.items()}
