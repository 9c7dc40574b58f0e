"""What a run spends: operations, energy, money, and what one right answer costs."""

import json
import math
from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
from lightning.pytorch.loggers import CSVLogger

import callbacks.cost
from callbacks import Cost, CostOptions, RunSummary
from callbacks.energy import energy_counter
from callbacks.summary import Origin
from datamodules import GenRAVENDataModule
from genraven.errors import InputError
from genraven.flops import count_flops
from genraven.networks.transformer import Transformer
from lightning_modules import AutoregressiveModule

RULE = ["shape.constant"]


class Sure(AutoregressiveModule):
    """Completes 3 of 8 puzzles right, by giving them back as they are, and generates none with C3."""

    def complete(  # type: ignore[override]
        self, puzzles: torch.Tensor, mask: torch.Tensor, generator: Any = None
    ) -> torch.Tensor:
        super().complete(puzzles, mask, generator)
        completed = torch.full_like(puzzles, -1)
        completed[:3] = puzzles[:3]
        return completed


def start(
    folder: Path, options: CostOptions, max_steps: int = 6, ckpt: Path | None = None, **model_options: Any
) -> dict[str, Any]:
    """The summary of a tiny run; its checkpoint is ``folder / "end.ckpt"``."""
    torch.manual_seed(0)
    model = Sure(Transformer(width=24, depth=1, num_heads=2), **model_options)
    data = GenRAVENDataModule(
        samples_per_rule=20, rules=RULE, held_out="none", eval_rules=RULE, global_batch_size=4,
        eval_puzzles_per_rule=8, eval_batch_size=8,
    )  # fmt: skip
    summary = RunSummary(folder, Origin("0123456789ab", None))
    trainer = L.Trainer(
        default_root_dir=folder, accelerator="cpu", max_steps=max_steps, val_check_interval=3,
        check_val_every_n_epoch=None, num_sanity_val_steps=0, log_every_n_steps=2, enable_progress_bar=False,
        enable_model_summary=False, enable_checkpointing=False, logger=CSVLogger(folder),
        callbacks=[Cost(options, summary.totals), summary],
    )  # fmt: skip
    data.trainer = trainer
    with summary.closing():
        trainer.fit(model, datamodule=data, ckpt_path=ckpt)
    trainer.save_checkpoint(folder / "end.ckpt")
    return json.loads((folder / "summary.json").read_text())


def test_operations_money_and_the_price_of_a_right_answer(tmp_path: Path) -> None:
    summary = start(tmp_path, CostOptions(price_per_device_hour=7.2, peak_tflops=2.0))
    flops = count_flops(Transformer(width=24, depth=1, num_heads=2))
    assert flops is not None
    assert summary["puzzles_per_s"] > 0
    assert summary["flops_per_puzzle"] == flops.training
    assert summary["flops"] == flops.training * 24
    assert summary["money"] == pytest.approx(7.2 * summary["device_seconds"] / 3600, rel=0.01)  # read a moment apart
    assert summary["joules"] is None
    assert summary["cost_per_consistent_puzzle"] is None  # there was none
    bought = summary["cost_per_correct_completion"]
    assert bought["flops"] == pytest.approx(8 * flops.forward / 3)
    assert bought["money"] == pytest.approx(7.2 * bought["device_s"] / 3600)
    metrics = summary["metrics"]
    assert metrics["cost/flops_per_s"] == pytest.approx(metrics["train/puzzles_per_s"] * flops.training)
    assert metrics["cost/share_of_peak"] == pytest.approx(metrics["cost/flops_per_s"] / 2e12)


class Twice(torch.optim.SGD):
    """Asks for two passes over each batch, as SAM does."""

    def step(self, closure: Any = None) -> Any:
        closure()
        return super().step(closure)


def test_each_pass_over_a_batch_is_counted(tmp_path: Path) -> None:
    twice = {"optimizer": lambda parameters: Twice(parameters, lr=1e-3)}
    summary = start(tmp_path, CostOptions(), **twice)
    flops = count_flops(Transformer(width=24, depth=1, num_heads=2))
    assert flops is not None
    assert summary["flops_per_puzzle"] == 2 * flops.training
    assert summary["flops"] == 2 * flops.training * 24
    again = start(tmp_path, CostOptions(), max_steps=12, ckpt=tmp_path / "end.ckpt", **twice)
    assert again["flops"] == 2 * flops.training * 48


def test_what_is_not_known_is_absent(tmp_path: Path) -> None:
    summary = start(tmp_path, CostOptions())
    assert summary["price_per_device_hour"] is summary["money"] is summary["joules"] is None
    assert not {"cost/share_of_peak", "cost/money", "cost/gpu_memory_gib"} & summary["metrics"].keys()
    assert "money" not in summary["cost_per_correct_completion"]
    assert energy_counter(torch.device("cpu")) is None


@pytest.fixture
def meter(monkeypatch: pytest.MonkeyPatch) -> None:
    """A counter that has long been running, and goes on by 5 joules each time it is asked."""
    readings = iter(range(1000, 10**6, 5))
    monkeypatch.setattr(callbacks.cost, "energy_counter", lambda device: lambda: float(next(readings)))


def test_joules_add_up_over_restarts(meter: None, tmp_path: Path) -> None:
    first = start(tmp_path, CostOptions())["joules"]
    assert 0 < first < 1000
    checkpoint = torch.load(tmp_path / "end.ckpt", weights_only=True)
    saved = checkpoint["joules"]
    assert saved >= first
    second = start(tmp_path, CostOptions(), max_steps=12, ckpt=tmp_path / "end.ckpt")
    assert second["joules"] == saved + first
    assert second["flops"] == 2 * checkpoint["global_step"] * 4 * second["flops_per_puzzle"]


def test_a_start_without_a_meter_leaves_the_joules_unknown(meter: None, tmp_path: Path) -> None:
    start(tmp_path, CostOptions())
    cost = Cost(CostOptions(), dict)
    cost.on_load_checkpoint(None, None, {"joules": None})  # type: ignore[arg-type]
    assert math.isnan(cost._joules_before)


@pytest.mark.parametrize("options", [{"price_per_device_hour": -1.0}, {"peak_tflops": 0.0}, {"peak_tflops": math.nan}])
def test_options_that_cannot_be(options: dict[str, float]) -> None:
    with pytest.raises(InputError, match="--cost"):
        CostOptions(**options)
