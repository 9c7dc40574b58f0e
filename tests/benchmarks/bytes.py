"""How many bytes the kernels of a compiled training step read and write, as torch's compiler counts them.

``python tests/benchmarks/bytes.py [PRESET] [--depth 2]`` prints KB a puzzle, of forward and backward: of matrix
products and attention, and of the fused kernels between them. ``step_mb`` is what a step moves whatever the number of
its puzzles: weights and their gradients. A CPU's kernels are counted, in bf16, with what a GPU's autocast has and a
CPU's lacks: LayerNorm in float32, and attention as one kernel.
"""

import argparse
import json
import logging
import sys
from typing import Any
from unittest import mock

import torch
import torch._functorch.config
import torch._inductor.config
import torch.nn.functional as F
import yaml
from steps import Draws
from torch import Tensor
from torch._inductor import compile_fx, metrics
from torch._inductor.scheduler import ExternKernelSchedulerNode

from genraven.networks import dit, transformer
from genraven.networks.compiling import compile_network
from genraven.puzzles.generate import generate
from launch.configs.identity import build
from launch.configs.shipped import CONFIGS

FEW, MANY = 2, 4
"""Puzzles of the two steps that tell apart what grows with their number."""
Counts = dict[tuple[str, str], float]


def counted(preset: str, depth: int, num: int) -> Counts:
    """Bytes of a step of ``num`` puzzles, by way and kind of kernel."""
    config = yaml.safe_load((CONFIGS / "model" / f"{preset}.yaml").read_text())
    config["data"] = {"rules": [4], "held_out": "none", "samples_per_rule": 4, "global_batch_size": num}
    network = config["model"]["init_args"]["network"]["init_args"]
    if "depth" not in network:
        sys.exit(
            f"expected a preset of blocks, got {preset}, whose network has no depth: give dit_s, mdm_s or the like."
        )
    network["depth"] = depth
    model = build(config)[0].train()
    torch.compiler.reset()
    metrics.reset()
    compile_network(model.network)
    with torch.autocast("cpu", torch.bfloat16):
        loss = model.losses(generate(4, 0, num), None, Draws(num, torch.device("cpu"))).mean()
    forward = len(metrics.nodes_num_elem)
    loss.backward()
    found: Counts = {}
    for at, (node, elements) in enumerate(metrics.nodes_num_elem):
        way = "forward" if at < forward else "backward"
        kind = "products" if isinstance(node, ExternKernelSchedulerNode) else "fused"
        found[way, kind] = found.get((way, kind), 0.0) + 4 * elements  # it counts in float32 numbers
    return found


def layer_norm(x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
    """In float32, as autocast has it on a GPU."""
    return LAYER_NORM(x.float(), *args, **kwargs)


def attend(q: Tensor, k: Tensor, v: Tensor, *, causal: bool = False, mask: Any = None, dropout: float = 0.0) -> Tensor:
    """One kernel, without dropout, which a CPU's has not."""
    return F.scaled_dot_product_attention(q, k, v, attn_mask=mask, is_causal=causal)


LAYER_NORM = F.layer_norm

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("preset", nargs="?", default="dit_s")
    parser.add_argument("--depth", type=int, default=2, help="Blocks of the network, in place of the preset's.")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    torch._inductor.config.force_disable_caches = True  # a graph from the cache is not counted
    compile_fx.inductor_metrics_log.setLevel(logging.INFO)  # else nothing is
    compile_fx.inductor_metrics_log.propagate = False
    with (
        mock.patch.object(F, "layer_norm", layer_norm),
        mock.patch.object(dit, "attend", attend),
        mock.patch.object(transformer, "attend", attend),
    ):
        few, many = (counted(asked.preset, asked.depth, num) for num in (FEW, MANY))
    slopes = {key: (many[key] - few[key]) / (MANY - FEW) for key in many}
    constant = sum(few.values()) - FEW * sum(slopes.values())
    kb = {" ".join(key): round(slope / 1e3) for key, slope in sorted(slopes.items())}
    print(json.dumps({"preset": asked.preset, "depth": asked.depth, **kb, "step_mb": round(constant / 1e6)}))
