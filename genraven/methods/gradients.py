"""Gradients where somebody has switched them off for good."""

from collections.abc import Callable
from functools import wraps
from typing import ParamSpec, TypeVar

import torch
from torch import Tensor
from torch.utils._pytree import tree_map_only

P = ParamSpec("P")
T = TypeVar("T")


def outside_inference_mode(function: Callable[P, T]) -> Callable[P, T]:
    """``function``, without gradients of its own, but free to ask for some also within ``torch.inference_mode``.

    Autograd refuses tensors made in that mode, in which Lightning evaluates: whatever the function makes and closes
    over is made outside of it, and what it is given is copied.
    """

    @wraps(function)
    def run(*args: P.args, **kwargs: P.kwargs) -> T:
        with torch.inference_mode(False), torch.no_grad():
            args, kwargs = tree_map_only(Tensor, _usable, (args, kwargs))
            return function(*args, **kwargs)

    return run


def _usable(tensor: Tensor) -> Tensor:
    return tensor.clone() if tensor.is_inference() else tensor
