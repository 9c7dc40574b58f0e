"""What an optimizer is given, a model's named parameters, and what becomes of one that cannot take them all."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import nn

from genraven.errors import InputError
from lightning_modules.optimization import Named, decay_of, hidden_matrices, parameter_groups

MakeOptimizer = Callable[..., torch.optim.Optimizer]
"""Of groups whose ``params`` are (name, parameter), as every optimizer of torch takes them."""
ADAMW: dict[str, Any] = {"betas": (0.9, 0.95), "eps": 1e-8}  # beside Muon (Liu et al. 2025, sec. 2.2)
_SAME_RATE = "match_rms_adamw"


class Together(torch.optim.Optimizer):
    """Several optimizers as one: one list of groups, one state, so that schedules, clipping and checkpoints are one's.

    Args:
        parts: each of other parameters.
    """

    def __init__(self, parts: Sequence[torch.optim.Optimizer]) -> None:
        self.parts = tuple(parts)
        super().__init__([group for part in parts for group in part.param_groups], {})
        self._fraction()

    def _fraction(self) -> None:
        """Lets the parts work on the groups and the state of the whole."""
        first = 0
        for part in self.parts:
            last = first + len(part.param_groups)
            part.param_groups, part.state, first = self.param_groups[first:last], self.state, last

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)  # type: ignore[no-untyped-call]
        self._fraction()

    @torch.no_grad()
    def step(self, closure: Any = None) -> Any:
        """A step of each part, after ``closure``, whose result it returns."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for part in self.parts:
            part.step()
        return loss


def make_optimizer(make: MakeOptimizer, module: nn.Module, *, decay_all: bool = False) -> torch.optim.Optimizer:
    """The optimizer of all parameters of ``module``, which it gets by name.

    Weight decay is for matrices and kernels, as ``parameter_groups`` says. ``torch.optim.Muon`` is given the hidden
    matrices alone, and AdamW the others, at the same rate and decay (Liu et al. 2025, whose scale of Muon's steps,
    ``match_rms_adamw``, is for this).

    Args:
        make: as a config names it.
        module: whose parameters are trained.
        decay_all: weight decay of all parameters, in one group.

    Raises:
        InputError: what is no optimizer of these parameters.
    """
    try:
        return _made(make, module, decay_all=decay_all)
    except InputError:
        raise
    except Exception as error:  # of whose class the user may name any
        raise InputError(f"expected an optimizer, got what cannot be one ({error}): mend model.optimizer.") from error


def _made(make: MakeOptimizer, module: nn.Module, *, decay_all: bool) -> torch.optim.Optimizer:
    try:
        optimizer = make(parameter_groups(module, 0.0))
    except ValueError:  # as Muon's, of what is no matrix
        hidden = hidden_matrices(module)
        muon = make([{"params": hidden}]) if hidden else None
        if not isinstance(muon, torch.optim.Muon):
            raise
        return _muon_and_adamw(make, module, hidden, decay=0.0 if decay_all else decay_of(muon))
    groups = parameter_groups(module, 0.0 if decay_all else decay_of(optimizer))
    spares = any("weight_decay" in group for group in groups)
    return make(groups) if spares else optimizer


def _muon_and_adamw(make: MakeOptimizer, module: nn.Module, hidden: list[Named], *, decay: float) -> Together:
    muon = make([{"params": hidden}])
    asked = muon.defaults.get("adjust_lr_fn")
    if asked not in (None, _SAME_RATE):
        raise InputError(f"expected adjust_lr_fn {_SAME_RATE} for torch.optim.Muon, got {asked}, with which AdamW "
                         "could not use the same learning rate for the other parameters: leave it out.")  # fmt: skip
    for group in muon.param_groups:
        group["adjust_lr_fn"] = _SAME_RATE
    taken = {name for name, _ in hidden}
    groups = parameter_groups(module, decay)
    left = [group | {"params": [pair for pair in group["params"] if pair[0] not in taken]} for group in groups]
    settings = {name: muon.defaults[name] for name in ("lr", "weight_decay")}
    others = [group for group in left if group["params"]]
    return Together([muon, torch.optim.AdamW(others, **settings, **ADAMW)] if others else [muon])


def fuse(optimizer: torch.optim.Optimizer) -> None:
    """Makes Adam, also as a part of another, update all parameters of a group at once where nothing else was asked."""
    for part in getattr(optimizer, "parts", (optimizer,)):
        if isinstance(part, torch.optim.Adam):
            for group in part.param_groups:
                group["fused"] = True if group["foreach"] is group["fused"] is None else group["fused"]
