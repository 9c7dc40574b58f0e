"""What of a training is compiled, and what is refused of one whose steps are recorded as a whole."""

from typing import Any

import lightning as L
from lightning.pytorch.callbacks import GradientAccumulationScheduler
from lightning.pytorch.strategies import SingleDeviceStrategy

from genraven.errors import InputError
from genraven.networks.compiling import Compilation, compile_blocks, compile_network
from genraven.networks.recording import RECORDERS
from lightning_modules import PuzzleModule

DEFAULT: Compilation = "blocks"
"""Where nobody says which, and of ``true``: the only one that has run on a GPU. ``tests/gpu/measure.py`` compares."""
SCALED = "16-mixed"
OTHERWISE = "use --compile network"


def compilation_of(asked: bool | Compilation | None, *, is_compiled: bool) -> Compilation | None:
    """What of a training is one graph; None where nothing is compiled.

    Args:
        asked: of ``--compile``.
        is_compiled: whether it is compiled at all.
    """
    if not is_compiled:
        return None
    return asked if isinstance(asked, str) else DEFAULT


def check_graph(trainer: L.Trainer) -> None:
    """Raises InputError where the steps of ``trainer`` cannot be recorded as a whole."""
    device, accumulated = trainer.strategy.root_device.type, trainer.accumulate_grad_batches
    scheduled = any(isinstance(each, GradientAccumulationScheduler) for each in trainer.callbacks)  # type: ignore[attr-defined]
    if device not in RECORDERS:
        raise _refused("a GPU", f"a {device}")
    if trainer.world_size > 1:
        raise _refused("one process", f"{trainer.world_size}", f"set trainer.devices to 1, or {OTHERWISE}")
    if not isinstance(trainer.strategy, SingleDeviceStrategy):
        name = type(trainer.strategy).__name__
        raise _refused("trainer.strategy auto", name, f"leave it out, or {OTHERWISE}")
    if accumulated > 1 or scheduled:
        raise _refused(
            "one batch a step", f"{accumulated} accumulated" if accumulated > 1 else "a GradientAccumulationScheduler",
            f"set trainer.accumulate_grad_batches to 1 and max_batch_per_device to null, or {OTHERWISE}",
        )  # fmt: skip
    if trainer.precision == SCALED:
        raise _refused("trainer.precision other than 16-mixed", "that, which looks at the gradients of each step",
                       f"train in bf16-mixed, or {OTHERWISE}")  # fmt: skip


def _refused(expected: str, got: str, instead: str = OTHERWISE) -> InputError:
    return InputError(f"expected {expected} with --compile graph, got {got}: {instead}.")


def compile_model(model: PuzzleModule, compilation: Compilation, device: Any) -> None:
    """Compiles the network of ``model``, and has its steps recorded where they are one graph.

    Args:
        model: to be trained.
        compilation: what of it is one graph.
        device: that it will be on.
    """
    (compile_blocks if compilation == "blocks" else compile_network)(model.network)
    if compilation == "graph":
        model.make_recorder = RECORDERS[device.type]
