"""Which options of a run may change while it goes on: all others make it another run.

An option that is on no list here, such as one that a new version of Lightning brings, may not change.
"""

from collections.abc import Mapping
from typing import Any

STARTS = ("run_dir", "ckpt_path", "weights_only")
"""Said of one start, not of the run."""
PLACES = ("data.cache_dir",)
"""Where things lie on a machine."""
DERIVED = ("prior",)
"""What others say already."""
MAY_CHANGE = (
    *STARTS, *PLACES, *DERIVED,
    # what is kept, watched and shown
    "checkpoint_every_n_steps", "best_by", "tuned", "pictures", "collapse", "cost", "trainer.logger",
    "trainer.log_every_n_steps",
    "trainer.enable_checkpointing", "trainer.enable_progress_bar", "trainer.enable_model_summary", "trainer.profiler",
    "trainer.enable_autolog_hparams", "trainer.model_registry", "trainer.default_root_dir", "trainer.barebones",
    "trainer.detect_anomaly",
    # the devices, which divide one global batch: weights differ by rounding at most
    "max_batch_per_device", "compile", "timeout_s", "trainer.accelerator", "trainer.strategy", "trainer.devices",
    "trainer.num_nodes", "trainer.accumulate_grad_batches", "trainer.use_distributed_sampler", "trainer.deterministic",
    "trainer.benchmark",
    # how long is trained, and when and on how much is validated
    "trainer.max_steps", "trainer.min_steps", "trainer.max_epochs", "trainer.min_epochs", "trainer.max_time",
    "trainer.fast_dev_run", "trainer.val_check_interval", "trainer.check_val_every_n_epoch",
    "trainer.num_sanity_val_steps", "trainer.limit_val_batches", "trainer.limit_test_batches",
    "trainer.limit_predict_batches", "trainer.inference_mode",
)  # fmt: skip
CALLBACKS = "trainer.callbacks"
LIGHTNING = ("lightning", "pytorch_lightning")
WATCHING = {
    "BasePredictionWriter", "DeviceStatsMonitor", "EarlyStopping", "LearningRateMonitor",
    "ModelCheckpoint", "ModelSummary", "OnExceptionCheckpoint", "ProgressBar", "RichModelSummary", "RichProgressBar",
    "TQDMProgressBar", "ThroughputMonitor", "Timer",
}  # fmt: skip
"""Callbacks of Lightning's that leave the weights alone, which may come and go; all others of it may not. What those of
the user's own do is not known: they may come and go, and it is noted."""
FULL_NAMES = {"64": "64-true", "32": "32-true", "16": "16-mixed", "bf16": "bf16-mixed"}
"""Of precisions, by the short names that Lightning takes, too."""


def may_change(option: str) -> bool:
    """May ``option``, by its whole name, change while a run goes on?"""
    return any(option == name or option.startswith(f"{name}.") for name in MAY_CHANGE)


def flat(tree: Any, prefix: str) -> dict[str, Any]:
    """The values of nested settings under names such as ``prefix.network.width``."""
    if not isinstance(tree, dict):
        return {prefix: tree}
    return {name: value for key, sub in tree.items() for name, value in flat(sub, f"{prefix}.{key}").items()}


def whole_names(config: Mapping[str, Any]) -> dict[str, Any]:
    """The options in ``config`` by their whole names."""
    return {name: value for part, tree in config.items() for name, value in flat(tree, part).items()}


def short_names(config: Mapping[str, Any]) -> dict[str, Any]:
    """The options in ``config`` as the command line names them, such as ``model.network.width``; a class under its
    part's name.
    """
    values = whole_names(config)
    return {name.replace(".init_args", "").removesuffix(".class_path"): value for name, value in values.items()}


def fixed_trainer(trainer: Mapping[str, Any]) -> dict[str, Any]:
    """The options in ``trainer`` that may not change; of the callbacks those that may have a hand in the weights."""
    fixed = {name: value for name, value in trainer.items() if not may_change(f"trainer.{name}")}
    if fixed.get("precision") is not None:
        fixed["precision"] = FULL_NAMES.get(str(fixed["precision"]), str(fixed["precision"]))
    if "callbacks" in fixed:
        fixed["callbacks"] = [callback for callback in _listed(fixed["callbacks"]) if _may_train(callback)] or None
    return fixed


def changed_options(before: Mapping[str, Any], now: Mapping[str, Any]) -> dict[str, list[Any]]:
    """Of two configs of a run the options that may change and have, each with its value before and now."""
    if not before:
        return {}
    old, new = whole_names(before), whole_names(now)
    names = sorted(name for name in old.keys() | new.keys() if may_change(name) or name == CALLBACKS)
    values = {name: [old.get(name), new.get(name)] for name in names if not name.startswith((*STARTS, *DERIVED))}
    return {name: both for name, both in values.items() if both[0] != both[1]}


def _listed(callbacks: Any) -> list[Any]:
    return callbacks if isinstance(callbacks, list) else [callbacks] if callbacks else []


def _may_train(callback: Any) -> bool:
    """Is this one of Lightning's that has a hand in the weights, as far as is known?"""
    path = str(callback.get("class_path")) if isinstance(callback, dict) else ""
    return path.partition(".")[0] in LIGHTNING and path.rpartition(".")[2] not in WATCHING
