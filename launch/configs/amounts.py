"""What a config out of a file may ask of this machine: no place to write to, and no amount of memory of its choice.

A checkpoint or an exported card may come from anybody. Its numbers are bounded; where data are kept is this machine's
affair; and a model is built only where its weights, which lie in the file, are as many as the config describes.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.module import (
    register_module_buffer_registration_hook,
    register_module_parameter_registration_hook,
)

from genraven.errors import InputError

MOST = 1 << 16
"""Of any number in a config out of a file, but for those that are none of an amount."""
MOST_OF = {"num_particles": 256}
"""Of what multiplies the memory of a batch."""
NO_AMOUNTS = {"seed", "eval_seed", "samples_per_rule", "warmup_steps"}
"""Examples are bounded where a training set is made."""
PLACES = ("cache_dir",)  # of data
SPARE_VALUES, SPARE_TENSORS = 1 << 24, 100
"""More than its weights that a model may have while it is built: constants, and what is replaced."""


def check_numbers(tree: Any, place: str, of: str = "a checkpoint, which is not loaded") -> None:
    """Raises InputError on a number in nested settings that no model of genraven has.

    Args:
        tree: the settings.
        place: what they are of, for the error.
        of: where they stand, for the error.
    """
    if isinstance(tree, Mapping):
        for name, value in tree.items():
            if name not in NO_AMOUNTS:
                check_numbers(value, f"{place}.{name}", of)
    elif isinstance(tree, list | tuple):
        for value in tree:
            check_numbers(value, place, of)
    elif isinstance(tree, int | float) and not abs(tree) <= (most := MOST_OF.get(place.rpartition(".")[2], MOST)):
        raise InputError(f"expected {place} of at most {most} in {of}, got {tree:g}.")


def without_places(data: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments of a data module without where it is to write."""
    return {name: value for name, value in data.items() if name not in PLACES}


def num_values(weights: Mapping[str, Tensor]) -> int:
    """How many numbers the tensors of a file hold.

    Raises:
        InputError: a tensor says that it is larger than what is there, as an expanded one does.
    """
    for name, tensor in weights.items():
        plain = isinstance(tensor, Tensor) and tensor.layout == torch.strided and tensor.device.type != "meta"
        if not plain or tensor.numel() * tensor.element_size() > tensor.untyped_storage().nbytes():
            raise InputError(f"expected weights as they were trained, got {name} that is no plain tensor: it is not "
                             "loaded.")  # fmt: skip
    return sum(tensor.numel() for tensor in weights.values())


@contextmanager
def no_more_than(weights: Mapping[str, Tensor]) -> Iterator[None]:
    """Within the block, in which models are built without memory, none comes to more than ``weights``.

    Raises:
        InputError: it did.
    """
    left = [2 * num_values(weights) + SPARE_VALUES, 2 * len(weights) + SPARE_TENSORS]

    def count(module: nn.Module, name: str, tensor: Tensor | None) -> None:
        for i, more in enumerate((0 if tensor is None else tensor.numel(), 1)):
            left[i] -= more
            if left[i] < 0:
                raise InputError("expected a config that fits the weights beside it, got one of a larger model: it is "
                                 "not loaded.")  # fmt: skip

    hooks = [register_module_parameter_registration_hook(count), register_module_buffer_registration_hook(count)]
    try:
        with torch.device("meta"):
            yield
    finally:
        for hook in hooks:
            hook.remove()
