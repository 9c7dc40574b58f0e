"""Cost: what a run spends, and what that buys."""

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import lightning as L
import torch

from callbacks.energy import energy_counter
from callbacks.tensorboard import log_values
from genraven.errors import InputError
from genraven.flops import TERA, PuzzleFlops, count_flops, peak_flops
from genraven.methods.method import Task
from genraven.puzzles.spec import NUM_CELLS
from genraven.timing import SamplingTimer
from lightning_modules.base import PuzzleModule, unmeasured
from lightning_modules.lightning_internals import ends_step

SECONDS_PER_HOUR = 3600
GIB = 1 << 30
BOUGHT: dict[Task, tuple[str, str]] = {
    "generate": ("c3", "consistent_puzzle"),
    "complete": ("completion", "correct_completion"),
}


@dataclass(frozen=True)
class CostOptions:
    """What a device costs and can do.

    Args:
        price_per_device_hour: in any currency; null reckons no money.
        peak_tflops: dense peak of one device, in the precision that is trained in; null looks it up by the device's
            name, and leaves the fraction of peak out where it is not known.
    """

    price_per_device_hour: float | None = None
    peak_tflops: float | None = None

    def __post_init__(self) -> None:
        price, peak = self.price_per_device_hour, self.peak_tflops
        if price is not None and not 0 <= price < math.inf:
            raise InputError(f"expected --cost.price_per_device_hour to be 0 or more, got {price}.")
        if peak is not None and not 0 < peak < math.inf:
            raise InputError(f"expected --cost.peak_tflops to be above 0, got {peak}.")


class Cost(L.Callback):
    """Speed, operations, memory, energy and money, as curves ``cost/...`` and for the summary.

    What is not known is absent: no peak, no fraction of it; no NVML, no joules; no price, no money. It waits for the
    device in validations only.

    Args:
        options: what a device costs and can do.
        totals: device seconds and puzzles so far, over all starts of the run.
    """

    def __init__(self, options: CostOptions, totals: Callable[[], Mapping[str, float]]) -> None:
        self.options, self.totals = options, totals
        self._flops: PuzzleFlops | None = None
        self._peak: float | None = None
        self._speed: float | None = None  # puzzles a second
        self._window = (time.monotonic(), 0)
        self._joules_now: Callable[[], float] | None = None
        self._joules_then = self._joules_before = 0.0
        self._joules = math.nan
        self._bought: dict[str, dict[str, float]] = {}
        self._num_batches = self._num_passes = self._num_of_batch = 0  # an optimizer may ask for several of a batch
        self._timer: SamplingTimer | None = None

    # What it says ------------------------------------------------------------------------------------------------

    def state_dict(self) -> dict[str, Any]:
        """What puzzles cost in the last validation, and the last speed; joules follow in ``on_save_checkpoint``."""
        return {"bought": self._bought, "puzzles_per_s": self._speed, "batches": self._num_batches,
                "passes": self._num_passes}  # fmt: skip

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Goes on from a checkpoint."""
        self._bought, self._speed = state_dict["bought"], state_dict["puzzles_per_s"]
        self._num_batches, self._num_passes = state_dict.get("batches", 0), state_dict.get("passes", 0)

    def report(self) -> dict[str, Any]:
        """For the summary; null where not known."""
        totals = self.totals()
        return {
            "puzzles_per_s": self._speed,
            "flops_per_puzzle": self._training_flops(),
            "flops": self._training_flops() * totals["puzzles"] if self._flops else None,
            "joules": None if math.isnan(self._joules) else self._joules,
            "price_per_device_hour": self.options.price_per_device_hour,
            "money": self._money(totals["device_seconds"]),
            **{f"cost_per_{name}": self._bought.get(name) for _, name in BOUGHT.values()},
        }

    def _training_flops(self) -> Any:
        """Of a puzzle in a training step, as often as its optimizer has it passed through the network."""
        if self._flops is None or self._num_passes <= self._num_batches:
            return self._flops and self._flops.training
        return self._flops.training * self._num_passes / self._num_batches

    def _money(self, device_s: float) -> float | None:
        price = self.options.price_per_device_hour
        return None if price is None else price * device_s / SECONDS_PER_HOUR

    # Training ----------------------------------------------------------------------------------------------------

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Counts the operations of a puzzle, and looks up what the device can do."""
        self._flops = None
        if isinstance(pl_module, PuzzleModule):
            self._flops = count_flops(pl_module.network, pl_module.method.training_pass)
        device = pl_module.device
        if self.options.peak_tflops is not None:
            self._peak = TERA * self.options.peak_tflops
        elif device.type == "cuda":
            self._peak = peak_flops(torch.cuda.get_device_name(device), str(trainer.precision))
        self._joules_now = energy_counter(device)
        self._joules_then = self._joules_now() if self._joules_now else math.nan
        self._add_joules(trainer)
        self._window = (time.monotonic(), trainer.global_step)

    def on_before_backward(self, *args: Any) -> None:
        """Counts passes: LBFGS and SAM make several over one batch."""
        self._num_of_batch += 1

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Logs the speed, and what follows from it, with the other training curves."""
        self._num_batches += 1
        self._num_passes += self._num_of_batch
        self._num_of_batch = 0
        if not ends_step(trainer, batch_idx, trainer.log_every_n_steps):  # type: ignore[attr-defined]
            return
        now, step = time.monotonic(), trainer.global_step
        self._speed = speed = (step - self._window[1]) * batch.total / (now - self._window[0])
        self._window = (now, step)
        device_s = self.totals()["device_seconds"]
        values = {"train/puzzles_per_s": speed, "cost/device_hours": device_s / SECONDS_PER_HOUR}
        if self._flops is not None:
            values["cost/flops_per_s"] = speed * self._training_flops()
            if self._peak is not None:
                values["cost/share_of_peak"] = values["cost/flops_per_s"] / (self._peak * trainer.world_size)
        if (money := self._money(device_s)) is not None:
            values["cost/money"] = money
        if pl_module.device.type == "cuda":
            values["cost/gpu_memory_gib"] = torch.cuda.max_memory_allocated(pl_module.device) / GIB
        pl_module.log_dict(values, rank_zero_only=True)

    # Energy ------------------------------------------------------------------------------------------------------

    def _add_joules(self, trainer: L.Trainer) -> None:
        """Sums what all devices have drawn in this start; NaN when one of them does not say. A collective."""
        mine = self._joules_now() - self._joules_then if self._joules_now else math.nan
        drawn = trainer.strategy.reduce(torch.tensor(mine, device=trainer.strategy.root_device), reduce_op="sum")
        self._joules = self._joules_before + float(drawn)

    def on_save_checkpoint(self, trainer: L.Trainer, pl_module: L.LightningModule, checkpoint: dict[str, Any]) -> None:
        """Keeps the joules so far; all processes come here."""
        self._add_joules(trainer)
        checkpoint["joules"] = None if math.isnan(self._joules) else self._joules

    def on_load_checkpoint(self, trainer: L.Trainer, pl_module: L.LightningModule, checkpoint: dict[str, Any]) -> None:
        """Goes on from them; where they are not known they stay so."""
        joules = checkpoint.get("joules")
        self._joules_before = math.nan if joules is None else joules

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Adds the last joules."""
        self._add_joules(trainer)

    # Validation --------------------------------------------------------------------------------------------------

    def on_validation_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Begins to measure what the model generates and completes."""
        if isinstance(pl_module, PuzzleModule) and not trainer.sanity_checking:
            pl_module.measured = self._timer = SamplingTimer(pl_module.device)

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Divides what sampling took by what came out right; the pause does not count as training speed."""
        if self._timer is not None and isinstance(pl_module, PuzzleModule):
            timer, self._timer, pl_module.measured = self._timer, None, unmeasured
            self._divide(trainer, pl_module, timer)
            self._add_joules(trainer)
            if not math.isnan(self._joules):
                log_values(trainer, {"cost/joules": self._joules})
        self._window = (time.monotonic(), trainer.global_step)

    def _divide(self, trainer: L.Trainer, module: PuzzleModule, timer: SamplingTimer) -> None:
        mine = torch.tensor([timer.seconds[task] for task in BOUGHT], device=module.device)
        spent = trainer.strategy.reduce(mine, reduce_op="sum").tolist()
        self._bought = {}
        for device_s, (task, (score, name)) in zip(spent, BOUGHT.items(), strict=True):
            rate = module.results.rates.get(score) if module.results is not None else None
            if rate is None or not rate.hits:  # no price can be put on it
                continue
            passes = int(rate.total) * module.passes(task, NUM_CELLS)
            flops = passes * self._flops.forward if self._flops else None
            costs = {"device_s": device_s, "flops": flops, "money": self._money(device_s)}
            each = {unit: cost / int(rate.hits) for unit, cost in costs.items() if cost is not None}
            log_values(trainer, {f"cost/{unit}_per_{name}": cost for unit, cost in each.items()})
            self._bought[name] = each
