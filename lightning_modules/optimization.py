"""What the optimizer is given: named parameters, those that decay apart from those that do not; and its schedule."""

import math
from typing import Any, Literal

import torch
from lightning.pytorch.utilities import rank_zero_warn
from torch import Tensor, nn

Schedule = Literal["constant", "linear", "cosine"]
Named = tuple[str, nn.Parameter]
LEAST_EPS = 1e-4  # of Adam with float16 weights: below the root of the least number that these have


def schedule_factor(step: int, *, warmup_steps: int, schedule: Schedule, max_steps: int) -> float:
    """Fraction of the learning rate at ``step``: a linear warm-up, then constant, or decay to 0 at ``max_steps``."""
    if step < warmup_steps:
        return (step + 1) / warmup_steps
    if schedule == "constant" or max_steps <= warmup_steps:
        return 1.0
    done = min(1.0, (step - warmup_steps) / (max_steps - warmup_steps))
    return 1 - done if schedule == "linear" else 0.5 * (1 + math.cos(math.pi * done))


def parameter_groups(module: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """Groups of the named parameters of ``module``, as optimizers of torch take them: ``params`` are pairs.

    Decay is for matrices and kernels. Vectors (norms, biases, Mamba's D), tables of embeddings, and what a module
    names in ``without_decay`` (positions, Mamba's A and step sizes), are a group without. Where nothing decays all are
    one group.
    """
    named = list(module.named_parameters())
    if not weight_decay:
        return [{"params": named}]
    spared = _without_decay(module)
    decaying = [(name, parameter) for name, parameter in named if parameter not in spared]
    others = [(name, parameter) for name, parameter in named if parameter in spared]
    groups: list[dict[str, Any]] = [{"params": decaying}, {"params": others, "weight_decay": 0.0}]
    return [group for group in groups if group["params"]]


def decay_of(optimizer: torch.optim.Optimizer) -> float:
    """The weight decay that an optimizer was made with; 0 for one without."""
    return float(optimizer.defaults.get("weight_decay", 0.0))


def hidden_matrices(module: nn.Module) -> list[Named]:
    """The matrices that decay and lie within blocks: members of a ``ModuleList`` that have parts of their own.

    Neither embeddings nor heads are among them, nor the first and last layers of a network of blocks.
    """
    blocks = {
        block
        for part in module.modules()
        if isinstance(part, nn.ModuleList)
        for block in part
        if any(True for _ in block.children())
    }
    within = {parameter for block in blocks for parameter in block.parameters()}
    spared = _without_decay(module)
    return [(name, p) for name, p in module.named_parameters() if p.ndim == 2 and p in within and p not in spared]


def warn_of_float16(optimizer: torch.optim.Optimizer) -> None:
    """Warns where squared gradients are rounded to 0, and an eps is too small to stand in for them."""
    for group in optimizer.param_groups:
        is_half = any(parameter.dtype == torch.float16 for parameter in group["params"])
        if is_half and "ns_steps" not in group and group.get("eps", 1.0) < LEAST_EPS:  # Muon's eps is of a norm
            name, eps = type(optimizer).__name__, group["eps"]
            rank_zero_warn(f"with float16 weights the squared gradients that {name} keeps are 0 below 6e-08, and with "
                           f"eps {eps:g} small gradients make leaps: set model.optimizer.eps to {LEAST_EPS:g}, or "
                           "train in 16-mixed.")  # fmt: skip
            return


def _without_decay(module: nn.Module) -> set[Tensor]:
    spared: set[Tensor] = {parameter for parameter in module.parameters() if parameter.ndim < 2}
    for part in module.modules():
        if isinstance(part, nn.Embedding):
            spared.add(part.weight)
        for name in getattr(part, "without_decay", ()):
            found = getattr(part, name)
            if found is not None:
                spared.update(found.parameters() if isinstance(found, nn.Module) else [found])
    return spared
