"""Whole trainings whose weights are in bf16 or float16, through Lightning."""

import math
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch

from callbacks.cost import Cost, CostOptions
from datamodules import GenRAVENDataModule
from genraven.methods.gaussian import GaussianDiffusion, GaussianSampling
from genraven.methods.gaussian.edm import Edm
from genraven.methods.gaussian.flow import Flow
from genraven.methods.masked import MaskedDiffusion, MaskedSampling
from genraven.networks.bidirectional import BidirectionalTransformer
from genraven.networks.dit import DiT
from genraven.networks.transformer import Transformer
from genraven.networks.unet import UNet
from lightning_modules import AutoregressiveModule, DiffusionModule, PuzzleModule

SIZE: dict[str, Any] = {"width": 24, "depth": 1, "num_heads": 2}
FEW = GaussianSampling(num_steps=2)
MODELS: dict[str, Callable[..., PuzzleModule]] = {
    "gpt2": lambda **s: AutoregressiveModule(Transformer(**SIZE, dropout=0.1), **s),
    "mdm": lambda **s: DiffusionModule(
        BidirectionalTransformer(**SIZE), MaskedDiffusion(sampling=MaskedSampling(num_steps=3, completion_steps=3)), **s
    ),
    "sit": lambda **s: DiffusionModule(DiT(**SIZE, patch=3), GaussianDiffusion(Flow(), sampling=FEW), **s),
    "edm": lambda **s: DiffusionModule(
        UNet(channels=4, multipliers=(1, 1, 1)), GaussianDiffusion(Edm(), sampling=FEW), **s
    ),
}


def fitted(module: PuzzleModule, precision: Any, folder: Path, **settings: Any) -> dict[str, float]:
    """Metrics of four steps and a validation, with the cost that a run counts when it begins."""
    data = GenRAVENDataModule(
        samples_per_rule=10, rules=["shape.constant"], held_out="none", global_batch_size=4,
        eval_rules=["shape.constant"], eval_puzzles_per_rule=2, eval_batch_size=2,
    )  # fmt: skip
    cost = Cost(CostOptions(), lambda: {"device_seconds": 1.0, "puzzles": 1.0})
    trainer = L.Trainer(
        default_root_dir=folder, accelerator="cpu", devices=1, max_steps=4, val_check_interval=4, precision=precision,
        check_val_every_n_epoch=None, num_sanity_val_steps=0, logger=False, enable_checkpointing=False,
        enable_progress_bar=False, enable_model_summary=False, callbacks=[cost], log_every_n_steps=1, **settings,
    )  # fmt: skip
    trainer.fit(module, data)
    return {name: value.item() for name, value in trainer.callback_metrics.items()}


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("precision", ["bf16-true", "16-true"])
def test_a_model_trains_and_is_validated_in_half_precision(name: str, precision: str, tmp_path: Path) -> None:
    losses = []
    for chosen in ("32-true", precision):
        torch.manual_seed(0)
        module = MODELS[name](optimizer=partial(torch.optim.SGD, lr=0.01))
        losses.append(fitted(module, chosen, tmp_path)["val/loss"])
    assert math.isfinite(losses[1])
    assert losses[1] == pytest.approx(losses[0], rel=0.03)


def test_float16_weights_and_a_small_eps_are_warned_of(tmp_path: Path) -> None:
    """Adam's usual 1e-8 made the loss of a tiny GPT-2 4e2 in 30 steps."""
    with pytest.warns(
        UserWarning, match="with eps 1e-08 small gradients make leaps: set model.optimizer.eps to 0.0001"
    ):
        fitted(MODELS["gpt2"](optimizer=partial(torch.optim.AdamW, lr=1e-6)), "16-true", tmp_path)
    with warnings.catch_warnings():
        warnings.filterwarnings("error", ".*make leaps.*")
        fitted(MODELS["gpt2"](optimizer=partial(torch.optim.AdamW, lr=1e-3, eps=1e-4)), "16-true", tmp_path)
        fitted(MODELS["gpt2"](optimizer=partial(torch.optim.AdamW, lr=1e-3)), "bf16-true", tmp_path)
