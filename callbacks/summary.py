"""RunSummary: what a run is and how far it came, in one JSON file."""

import json
import os
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import lightning as L
from lightning.pytorch.utilities import rank_zero_info, rank_zero_only, rank_zero_warn

from callbacks.facts import device_name, hosts, plain_numbers
from callbacks.stopping import forget_time, is_cut, is_released, stopped_for_good
from genraven.errors import InputError
from genraven.escaping import plain
from genraven.files import appears_whole
from genraven.process import process_note
from genraven.puzzles.spec import RULES
from genraven.run_folder import RunFiles, read_json
from genraven.signals import Preempted

SECONDS = ("wall_seconds", "device_seconds", "training_seconds", "training_device_seconds")
CUMULATIVE = (*SECONDS, "puzzles")
WRITE_EVERY_S = 15.0
REPORTED = (
    "puzzles_per_s", "flops_per_puzzle", "flops", "joules", "price_per_device_hour", "money", "collapse", "stopped",
)  # fmt: skip
UNKNOWN_END = "ended without a word: killed, or its machine was lost"


@dataclass(frozen=True)
class Origin:
    """Where a run comes from."""

    config_hash: str
    """Of the config, as far as it tells runs apart."""
    git_commit: str | None
    """Commit of the code."""
    job: str | None = None
    """Of a cluster's scheduler, that this start is."""
    changed: Mapping[str, Any] = field(default_factory=dict)
    """Options that are others than at the last start, each with its value before and now."""


@runtime_checkable
class Reporter(Protocol):
    """A callback that has something to say in the summary."""

    def report(self) -> dict[str, Any]:
        """Plain values of some of ``REPORTED``, or of keys of its own; what is not known is absent."""


class RunSummary(L.Callback):
    """Keeps ``summary.json`` in the run folder: state, steps, metrics with counts, speed, origin, restarts.

    It is written when training starts, every few seconds, after each validation and when the run ends, however it ends;
    seconds and puzzles add up over restarts. Seconds of training are those of its steps, without validations, pictures
    and checkpoints.

    Args:
        folder: of the run.
        origin: of the run.
    """

    def __init__(self, folder: Path, origin: Origin) -> None:
        self.path, self.origin = RunFiles(folder).summary, origin
        self._earlier: dict[str, float] = dict.fromkeys(CUMULATIVE, 0)
        self._facts: dict[str, Any] = {}
        self._started = self._written = time.monotonic()
        self._first_step = 0
        self._puzzles = self._of_step = 0
        self._trained_s = 0.0
        self._training_since: float | None = None
        self._reporters: list[Reporter] = []
        self._max_steps = -1
        self._cut: str | None = None
        self._stopped: str | None = None  # for good

    def state_dict(self) -> dict[str, Any]:
        """Seconds and puzzles so far."""
        return self.totals()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Goes on counting from a checkpoint."""
        self._earlier |= state_dict

    def totals(self) -> dict[str, float]:
        """Seconds of the run and of its training, those times its devices, and puzzles, over all starts of the run."""
        now, devices = time.monotonic(), self._facts.get("devices", 1)
        training = self._trained_s + (now - self._training_since if self._training_since is not None else 0.0)
        seconds = now - self._started
        new = (seconds, seconds * devices, training, training * devices, self._puzzles)
        return {name: self._earlier[name] + value for name, value in zip(CUMULATIVE, new, strict=True)}

    @contextmanager
    def closing(self) -> Iterator[None]:
        """Writes how the block ended; all of ``fit`` belongs into it."""
        try:
            yield
        except BaseException as error:
            self._end(*_state_of(error))
            raise
        self._end("finished", None)

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Notes how long the run is to be, also where nothing is left to train."""
        self._max_steps = trainer.max_steps

    def on_load_checkpoint(self, trainer: L.Trainer, pl_module: L.LightningModule, checkpoint: dict[str, Any]) -> None:
        """Another start has ``trainer.max_time`` of its own."""
        forget_time(checkpoint)

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Notes the last step, and what ended the training before its time; what comes after is no training."""
        self._pause()
        if self._facts:
            self._facts["step"] = trainer.global_step
        if is_cut(trainer):
            self._cut = "trainer.max_time is over"
        if trainer.global_step != trainer.max_steps:
            self._stopped = self._stopped or stopped_for_good(trainer)

    def _end(self, state: str, reason: str | None) -> None:
        if not self._facts:  # training never began: what an earlier start wrote still holds
            self._facts = self._read()
            if "step" not in self._facts or state != "finished":
                return
            self._earlier |= {name: self._facts.get(name, 0) for name in CUMULATIVE}
            self._started = time.monotonic()
        if state == "finished" and (why := self._why_short()):
            of_all = f" of {self._max_steps}" if self._max_steps > 0 else ""
            state, reason = "stopped", f"{why}: step {self._facts['step']}{of_all}"
        try:
            self._write(state=state, reason=reason, max_steps=self._max_steps)
        except OSError as error:  # such as the full disk that ends the run
            rank_zero_warn(f"{self.path} could not be written ({error.strerror}).")

    def _why_short(self) -> str | None:
        """What ended the training before its last step; None where it came to it, or to all of its epochs."""
        step, most = self._facts["step"], self._max_steps
        decided = self._reports().get("stopped") if step != most else None
        if self._cut or decided or step >= most:
            return self._cut or decided
        return self._facts.get("stopped") or "training ended early"

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Writes the first summary."""
        earlier = self._read()
        self._started = time.monotonic()
        self._first_step = trainer.global_step
        for name in SECONDS:  # time spent is spent, also after the checkpoint gone on from
            self._earlier[name] = max(self._earlier[name], earlier.get(name, 0))
        self._reporters = [callback for callback in trainer.callbacks if isinstance(callback, Reporter)]  # type: ignore[attr-defined]
        if self._stays_stopped(earlier):
            self._stopped, trainer.should_stop = earlier["stopped"], True
        facts = self._describe(trainer, pl_module)
        if trainer.global_step:
            check_same_rules(earlier, facts)
        self._facts = facts
        self._facts["metrics"] = earlier.get("metrics", {}) if trainer.global_step else {}
        self._facts["restarts"] = self._restarts(earlier, trainer)
        self._write()

    def _stays_stopped(self, earlier: dict[str, Any]) -> bool:
        """Was the run stopped for good, and is it to be as it was? Of a collapse its own callback decides."""
        stopped = earlier.get("state") == "stopped" and earlier.get("max_steps") == self._max_steps
        if not (stopped and earlier.get("stopped")) or is_released(self.origin.changed):
            return False
        rank_zero_info(f"{self.path.parent} was stopped ({earlier['stopped']}): it goes on only with another "
                       "trainer.max_steps, or other trainer.callbacks.")  # fmt: skip
        return True

    def _restarts(self, earlier: dict[str, Any], trainer: L.Trainer) -> list[dict[str, Any]]:
        if not earlier:
            return []
        state = earlier.get("state", "running")
        ended = UNKNOWN_END if state == "running" else earlier.get("reason") or state
        now = {
            "time": datetime.now(UTC).isoformat(timespec="seconds"),
            "step": trainer.global_step,
            "reason": ended,
            "hosts": self._facts["hosts"],
            "devices": trainer.world_size,
            "job": self.origin.job,
            "changed": dict(self.origin.changed),
        }
        return [*earlier.get("restarts", []), now]

    def _describe(self, trainer: L.Trainer, pl_module: L.LightningModule) -> dict[str, Any]:
        network = getattr(pl_module, "network", pl_module)
        return {
            "state": "running",
            "reason": None,
            "step": trainer.global_step,
            "max_steps": trainer.max_steps,
            "family": getattr(pl_module, "family", None),
            "architecture": getattr(pl_module, "architecture", None),
            "prior": getattr(pl_module, "prior", None),
            "network": type(network).__name__.lower(),
            "parameters": sum(p.numel() for p in network.parameters()),
            "time_left_s": None,
            "config_hash": self.origin.config_hash,
            "git_commit": self.origin.git_commit,
            "versions": {name: version(name) for name in ("torch", "lightning", "torchmetrics", "numpy")},
            "hosts": hosts(),  # on all processes, since they exchange them
            "process": process_note(os.getpid()),
            "devices": trainer.world_size,
            "device": device_name(pl_module.device),
            "precision": str(trainer.precision),
            "seed": getattr(pl_module, "seed", None),
            **_data_facts(getattr(trainer, "datamodule", None)),
            **dict.fromkeys(REPORTED),
            **self._reports(),
        }

    def _reports(self) -> dict[str, Any]:
        """What other callbacks have to say by now; nothing before training begins, when they know nothing."""
        facts: dict[str, Any] = {}
        for reporter in self._reporters:
            facts |= reporter.report()
        return facts | ({"stopped": facts.get("stopped") or self._stopped} if self._stopped else {})

    def on_train_batch_start(
        self, trainer: L.Trainer, pl_module: L.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Training goes on, where something else was done meanwhile."""
        if self._training_since is None:
            self._training_since = time.monotonic()

    def _pause(self) -> None:
        if self._training_since is not None:
            self._trained_s += time.monotonic() - self._training_since
            self._training_since = None

    def on_validation_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """A validation, with all that is drawn of it, is no training."""
        self._pause()

    def on_save_checkpoint(self, trainer: L.Trainer, pl_module: L.LightningModule, checkpoint: dict[str, Any]) -> None:
        """Nor is the writing of a checkpoint."""
        self._pause()

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Counts the puzzles of the batch and the seconds since the last one."""
        self._of_step += len(batch.puzzles) * trainer.world_size
        if (batch_idx + 1) % trainer.accumulate_grad_batches == 0:  # else another start sees them again
            self._puzzles, self._of_step = self._puzzles + self._of_step, 0
        if time.monotonic() - self._written > WRITE_EVERY_S or trainer.global_step == trainer.max_steps:
            self._write(step=trainer.global_step)

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Notes the validation's scores."""
        if not trainer.sanity_checking:
            self._write(step=trainer.global_step, metrics=plain_numbers(trainer.callback_metrics))

    def on_exception(self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException) -> None:
        """Notes the last step."""
        if self._facts:
            self._facts["step"] = trainer.global_step

    def _time_left(self) -> float | None:
        """Seconds to the last step at this start's pace, validations included."""
        done, left = self._facts["step"] - self._first_step, self._facts["max_steps"] - self._facts["step"]
        return (time.monotonic() - self._started) / done * left if done > 0 and left >= 0 else None

    def _write(self, **news: Any) -> None:
        self._facts |= news
        self._facts |= self.totals() | self._reports() | {"time_left_s": self._time_left()}
        self._facts["updated"] = datetime.now(UTC).isoformat(timespec="seconds")
        self._written = time.monotonic()
        self._to_disk()

    @rank_zero_only
    def _to_disk(self) -> None:
        with appears_whole(self.path) as temporary:
            temporary.write_text(json.dumps(self._facts, indent=2) + "\n")

    def _read(self) -> dict[str, Any]:
        """What an earlier start of the run wrote; nothing where there was none."""
        facts = read_json(self.path)
        if not facts and self.path.exists():
            rank_zero_warn(f"{self.path} is incomplete and is ignored: its record of earlier starts is lost.")
        return facts


def check_same_rules(earlier: dict[str, Any], now: dict[str, Any]) -> None:
    """Raises InputError where words such as ``all`` stand for other rules than when the run began."""
    for name in ("trained", "held_out"):
        before, after = earlier.get(name), now.get(name)
        if isinstance(before, list) and isinstance(after, list) and before != after:
            other = ", ".join(map(plain, sorted({*map(str, before)} ^ {*map(str, after)})))
            raise InputError(f"expected the rules that were {name.replace('_', ' ')} when the run began, got a set "
                             f"that differs in {other}: name the former rules in data.rules and data.held_out (`study` "
                             "means the study's 40).")  # fmt: skip


def _state_of(error: BaseException) -> tuple[str, str]:
    """State and reason of a run that ``error`` ends."""
    if isinstance(error, Preempted):
        return "preempted", str(error)
    if isinstance(error, KeyboardInterrupt):
        return "interrupted", "Ctrl-C"
    message = (str(error).strip().splitlines() or [""])[0]
    return "failed", message if isinstance(error, InputError) else f"{type(error).__name__}: {message}"


def _data_facts(data: Any) -> dict[str, Any]:
    """What the run learns from; null where it has no data module of GenRAVEN."""

    def names(rules: Iterable[int] | None) -> list[str] | None:
        return None if rules is None else [RULES[rule].name for rule in rules]

    return {
        "samples_per_rule": getattr(data, "samples_per_rule", None),
        "examples_per_rule": getattr(data, "examples_per_rule", None),
        "trained": names(getattr(data, "trained", None)),
        "held_out": names(getattr(data, "held_out", None)),
        "eval_rules": names(getattr(data, "eval_rules", None)),
        "eval_source": getattr(data, "eval_source_sha256", None),
        "data_seed": getattr(data, "seed", None),
        "global_batch_size": getattr(data, "global_batch_size", None),
    }
