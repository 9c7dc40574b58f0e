"""Training steps without a trainer: loss, backward, clipping, optimizer and averages, in a loop."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import yaml
from steps_clock import now
from torch import nn

from genraven.networks.compiling import compile_network
from genraven.networks.recording import RECORDERS
from launch.configs.identity import build
from launch.configs.shipped import CONFIGS
from launch.trained.precision import default_precision
from lightning_modules.training_graph import TrainingGraph


def bare_steps_per_s(preset: str, compilation: str, device: torch.device, batch: int, first: int, last: int) -> float:
    """Steps a second between the steps ``first`` and ``last``, of ``batch`` puzzles."""
    config = yaml.safe_load((CONFIGS / "model" / f"{preset}.yaml").read_text())
    config["data"] = {"rules": [4], "held_out": "none", "samples_per_rule": 4, "global_batch_size": batch}
    module = build(config)[0]
    module.to(device).train()
    if compilation != "false":
        compile_network(module.network)
    weights = list(module.parameters())
    averages = [weight.detach().clone() for weight in weights]
    optimizer = torch.optim.AdamW(weights, lr=1e-4, fused=True)
    bf16 = default_precision("auto") == "bf16-mixed"
    puzzles = torch.randint(0, 8, (batch, 3, 9, 9), dtype=torch.int8, device=device)
    draw = _Draws(device, batch)

    def losses(drawn: Any, inputs: Any) -> torch.Tensor:
        return module.losses(inputs[0], None, drawn).mean()

    graph = TrainingGraph(RECORDERS[device.type](device), weights, losses) if compilation == "graph" else None
    start = 0.0
    for step in range(last):
        if step == first:
            start = now(device)
        with torch.autocast(device.type, torch.bfloat16, enabled=bf16):
            loss = losses(draw, (puzzles,)) if graph is None else graph((puzzles,), draw)
        if graph is None:
            optimizer.zero_grad()
            loss.backward()
        nn.utils.clip_grad_norm_(weights, 1.0)
        optimizer.step()
        torch._foreach_lerp_(averages, [weight.detach() for weight in weights], 1e-4)
    return (last - first) / (now(device) - start)


@dataclass(frozen=True)
class _Draws:
    device: torch.device
    num: int

    def __call__(self, distribution: Callable[..., torch.Tensor], *shape: int) -> torch.Tensor:
        return distribution((self.num, *shape), device=self.device)

    def spread(self) -> torch.Tensor:
        return self(torch.rand)
