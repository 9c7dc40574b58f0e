"""RunSummary: what a run is and how far it came, in one JSON file."""

import json
import platform
import time
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.pytorch.utilities import rank_zero_only

from genraven.files import appears_whole


class RunSummary(L.Callback):
    """Keeps ``summary.json`` in the run folder: state, steps, metrics with counts, speed, versions.

    It is written when training starts, after each validation and when the run ends, however it ends; wall seconds and
    puzzles add up over resumed runs.

    Args:
        folder: of the run.
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / "summary.json"
        self._earlier = {"wall_seconds": 0.0, "puzzles": 0}
        self._started = time.monotonic()
        self._puzzles = 0
        self._window = (self._started, 0)
        self._metrics: dict[str, float | None] = {}
        self._state = "running"

    def state_dict(self) -> dict[str, Any]:
        """Seconds and puzzles so far."""
        return self._totals()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Goes on counting from a checkpoint."""
        self._earlier = state_dict

    def _totals(self) -> dict[str, Any]:
        return {
            "wall_seconds": self._earlier["wall_seconds"] + time.monotonic() - self._started,
            "puzzles": self._earlier["puzzles"] + self._puzzles,
        }

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Writes the first summary."""
        self._started = time.monotonic()
        self._window = (self._started, 0)
        if (
            trainer.global_step and self.path.exists()
        ):  # a run that goes on keeps its last scores until it has newer ones
            self._metrics = json.loads(self.path.read_text())["metrics"]
        self._write(trainer, pl_module)

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Counts puzzles, and logs ``train/puzzles_per_s`` with the other training curves."""
        self._puzzles += len(batch.puzzles) * trainer.world_size
        every = trainer.log_every_n_steps * trainer.accumulate_grad_batches  # type: ignore[attr-defined]
        if every and (batch_idx + 1) % every == 0:
            now = time.monotonic()
            seconds, puzzles = now - self._window[0], self._puzzles - self._window[1]
            pl_module.log("train/puzzles_per_s", puzzles / seconds, rank_zero_only=True)
            self._window = (now, self._puzzles)

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Notes the validation's scores; the pause does not count as training speed."""
        self._window = (time.monotonic(), self._puzzles)
        if not trainer.sanity_checking:
            self._metrics = _numbers(trainer.callback_metrics)
            self._write(trainer, pl_module)

    def on_fit_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Writes the last summary."""
        self._state = "finished"
        self._write(trainer, pl_module)

    def on_exception(self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException) -> None:
        """Writes why the run ended."""
        interrupted = isinstance(exception, KeyboardInterrupt)
        self._state = "interrupted" if interrupted else f"failed: {type(exception).__name__}: {exception}"
        self._write(trainer, pl_module)

    @rank_zero_only
    def _write(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        network = getattr(pl_module, "network", pl_module)
        summary = {
            "state": self._state,
            "step": trainer.global_step,
            "max_steps": trainer.max_steps,
            "family": getattr(pl_module, "family", None),
            "parameters": sum(p.numel() for p in network.parameters()),
            "metrics": self._metrics,
            **self._totals(),
            "devices": trainer.world_size,
            "device": _device_name(pl_module.device),
            "precision": str(trainer.precision),
            "host": platform.node(),
            "versions": {name: version(name) for name in ("torch", "lightning", "torchmetrics", "numpy")},
        }
        with appears_whole(self.path) as temporary:
            temporary.write_text(json.dumps(summary, indent=2) + "\n")


def _numbers(metrics: Mapping[str, torch.Tensor]) -> dict[str, float | None]:
    """Plain numbers; null where a value is not finite, which JSON cannot say."""
    return {name: value.item() if value.isfinite() else None for name, value in sorted(metrics.items())}


def _device_name(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
