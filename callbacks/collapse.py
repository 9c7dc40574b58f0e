"""CollapseWatch: says when a model stops learning rules and begins to repeat its training set, or to lose rules."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import lightning as L
import torch
from lightning.pytorch.utilities import rank_zero_warn

from callbacks.loggers import show_text
from callbacks.tensorboard import log_values, shown_step
from genraven.errors import InputError
from genraven.metrics.scores import ScoreResults
from lightning_modules.base import PuzzleModule
from lightning_modules.lightning_internals import ends_step

MIN_CONSISTENT = 50  # puzzles with C3 that an entropy is judged from


@dataclass(frozen=True)
class CollapseLimits:
    """What counts as collapse; null does not look at that signal. Rates count by their 95% intervals.

    Args:
        novel_c3: it is surely below this fraction of its surely known best.
        memorized_rows: surely more than this fraction of the generated rows stand in the training set.
        entropy_bits: the entropy over the rules generated is so many bits below its best.
        loss_gap: the validation loss is above its best by this fraction, while the training loss has fallen since.
        stop: ends the run at the first of them.
    """

    novel_c3: float | None = 0.5
    memorized_rows: float | None = 0.5
    entropy_bits: float | None = 1.0
    loss_gap: float | None = 0.2
    stop: bool = False

    def __post_init__(self) -> None:
        for name, most in (("novel_c3", 1.0), ("memorized_rows", 1.0), ("entropy_bits", None), ("loss_gap", None)):
            value = getattr(self, name)
            if value is not None and not (value > 0 and (most is None or value <= most)):
                wanted = "above 0" + ("" if most is None else ", at most 1")
                raise InputError(f"expected --collapse.{name} {wanted}, got {value}: null switches it off.")


@dataclass(frozen=True)
class Reading:
    """A signal at one validation."""

    value: float
    threshold: float
    crossed: bool


class CollapseWatch(L.Callback):
    """Reads four signals after each validation, and marks the step at which one first crosses its threshold.

    It says so in the log, in the loggers (``collapse/<signal>`` is 1 from there on) and in ``summary.json``. All
    processes have the same scores and so agree.
    """

    def __init__(self, limits: CollapseLimits) -> None:
        self.limits = limits
        self.crossings: dict[str, dict[str, float | int]] = {}
        self.stopped: str | None = None
        self._best: dict[str, float] = {}
        self._loss_sum: torch.Tensor | float = 0.0  # of the logged losses since the last validation
        self._num_losses = 0

    def state_dict(self) -> dict[str, Any]:
        """Plain values only."""
        losses = {"loss_sum": float(self._loss_sum), "num_losses": self._num_losses}
        return {"crossings": self.crossings, "best": self._best, **losses}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Goes on watching from a checkpoint."""
        self.crossings, self._best = state_dict["crossings"], state_dict["best"]
        losses = state_dict.get("losses", [])  # each by itself, in older checkpoints
        self._loss_sum = state_dict.get("loss_sum", sum(losses))
        self._num_losses = state_dict.get("num_losses", len(losses))

    def report(self) -> dict[str, Any]:
        """What the run's summary says of the signals that crossed their thresholds."""
        return {"collapse": self.crossings, "stopped": self.stopped}

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """A run that was stopped stays stopped, unless an option now says otherwise."""
        self._stop_if_asked(trainer)

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Sums the logged losses, which are those of all processes; nothing waits for the device."""
        is_logged = ends_step(trainer, batch_idx, trainer.log_every_n_steps)  # type: ignore[attr-defined]
        if is_logged and "train/loss" in trainer.callback_metrics:
            self._loss_sum = self._loss_sum + trainer.callback_metrics["train/loss"].detach()
            self._num_losses += 1

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Looks at all signals."""
        if trainer.sanity_checking or not isinstance(pl_module, PuzzleModule) or pl_module.results is None:
            return
        step = trainer.global_step
        for signal, reading in self._read(pl_module.results):
            if reading.crossed and signal not in self.crossings:
                self.crossings[signal] = {"step": step, "value": reading.value, "threshold": reading.threshold}
                self._say(trainer, signal)
            log_values(trainer, {f"collapse/{signal}": float(signal in self.crossings)})
        self._loss_sum, self._num_losses = 0.0, 0
        self._stop_if_asked(trainer)

    def _read(self, results: ScoreResults) -> Iterator[tuple[str, Reading]]:
        """The signals that can be read from ``results``, each compared with its best so far, which then may move."""
        limits = self.limits
        if limits.novel_c3 is not None and "novel_c3" in results.rates:
            rate = results.rates["novel_c3"]
            low, high = (bound.item() for bound in rate.interval())
            best = self._keep("novel_c3", low, is_better=low > self._best.get("novel_c3", 0.0))
            threshold = limits.novel_c3 * best
            yield "novel_c3", Reading(rate.value.item(), threshold, high < threshold)
        if limits.memorized_rows is not None and "memorized_rows" in results.rates:
            rate = results.rates["memorized_rows"]
            crossed = rate.interval()[0].item() > limits.memorized_rows
            yield "memorized_rows", Reading(rate.value.item(), limits.memorized_rows, crossed)
        entropy = results.values.get("rule_entropy_bits")
        if limits.entropy_bits is not None and entropy is not None and results.rates["c3"].hits >= MIN_CONSISTENT:
            best = self._keep("entropy_bits", entropy, is_better=entropy > self._best.get("entropy_bits", 0.0))
            threshold = best - limits.entropy_bits
            yield "entropy_bits", Reading(entropy, threshold, entropy < threshold)
        loss = results.values.get("loss", math.nan)
        if limits.loss_gap is not None and self._num_losses and math.isfinite(loss):
            yield "loss_gap", self._gap(loss, limits.loss_gap)

    def _gap(self, loss: float, gap: float) -> Reading:
        training = float(self._loss_sum) / self._num_losses
        is_best = loss <= self._best.get("loss", float("inf"))
        best = self._keep("loss", loss, is_better=is_best)
        threshold = best + gap * abs(best)
        training_then = self._keep("training_loss", training, is_better=is_best)
        return Reading(loss, threshold, loss > threshold and training < training_then)

    def _keep(self, name: str, value: float, *, is_better: bool) -> float:
        """The best so far."""
        if is_better or name not in self._best:
            self._best[name] = value
        return self._best[name]

    def _say(self, trainer: L.Trainer, signal: str) -> None:
        text = self._sentence(signal)
        rank_zero_warn(text)
        for logger in trainer.loggers if trainer.is_global_zero else ():
            show_text(logger, "collapse", text, shown_step(trainer))

    def _sentence(self, signal: str) -> str:
        crossing = self.crossings[signal]
        return (
            f"collapse: {signal} is {crossing['value']:.4g} at step {crossing['step']}, beyond its threshold of "
            f"{crossing['threshold']:.4g}"
        )

    def _stop_if_asked(self, trainer: L.Trainer) -> None:
        if self.limits.stop and self.crossings:
            self.stopped = self._sentence(next(iter(self.crossings)))
            trainer.should_stop = True
