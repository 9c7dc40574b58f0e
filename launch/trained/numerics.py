"""What a trained model computes in, wherever it is used: what it was trained in, unless another is asked for."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from lightning.pytorch.plugins.precision import DoublePrecision, HalfPrecision, MixedPrecision, Precision

from genraven.errors import InputError, setting
from genraven.networks.compiling import compile_blocks
from launch.configs.changes import FULL_NAMES
from lightning_modules import PuzzleModule

PRECISIONS = ("32-true", "bf16-mixed", "16-mixed", "bf16-true", "16-true", "64-true")


@dataclass(frozen=True)
class Numerics:
    """How numbers are computed on a device."""

    precision: str = "32-true"
    """As ``trainer.precision`` names it."""
    tf32: bool = False
    """Are float32 matrices multiplied in TF32, on GPUs that have it?"""
    compiled: bool = False
    """Is the network compiled?"""

    @classmethod
    def of_training(cls, trainer: Any, compiled: bool | None) -> "Numerics":
        """Those of a run with these ``trainer`` options; ``compiled`` None compiles on GPUs."""
        on_gpu = trainer.accelerator in ("auto", "gpu", "cuda") and torch.cuda.is_available()
        precision = FULL_NAMES.get(str(trainer.precision), str(trainer.precision))
        return cls(
            precision,
            tf32=on_gpu and torch.get_float32_matmul_precision() != "highest",
            compiled=on_gpu if compiled is None else compiled,
        )

    @classmethod
    def of(
        cls,
        checkpoint: Mapping[str, Any],
        device: torch.device,
        precision: str | None = None,
        compiled: bool | None = None,
    ) -> "Numerics":
        """Those of the run that wrote ``checkpoint``, as far as ``device`` has them; float32 where it does not say.

        ``precision`` and ``compiled``, where they are given, count instead.

        A CPU multiplies no TF32, and compiles for longer than an evaluation takes.

        Raises:
            InputError: an unknown precision.
        """
        numerics = cls(**(checkpoint.get("numerics") or {}))
        numerics = replace(numerics, precision=precision or numerics.precision)
        if numerics.precision not in PRECISIONS:
            raise InputError(f"expected {setting('precision')} to be one of {', '.join(PRECISIONS)}, got "
                             f"{numerics.precision}.")  # fmt: skip
        numerics = numerics if device.type == "cuda" else replace(numerics, tf32=False, compiled=False)
        return numerics if compiled is None else replace(numerics, compiled=compiled)

    def prepare(self, model: PuzzleModule, seed: int) -> PuzzleModule:
        """``model``, on its device, ready to be used once: weights, network and all its work as these are.

        Its draws follow from ``seed``.
        """
        model.eval()
        model.seed, model.at_work = seed, partial(self.at_work, model.device)
        self._plugin(model.device).convert_module(model)
        if self.compiled:
            compile_blocks(model.network)
        return model

    @contextmanager
    def at_work(self, device: torch.device) -> Iterator[None]:
        """The block computes as Lightning's validation does, whatever autocast or default there is around it."""
        before, default = torch.get_float32_matmul_precision(), torch.get_default_dtype()
        torch.set_float32_matmul_precision("high" if self.tf32 else "highest")
        torch.set_default_dtype(torch.float32)
        try:
            with torch.autocast(device.type, enabled=False), self._plugin(device).val_step_context():
                yield
        finally:
            torch.set_default_dtype(default)
            torch.set_float32_matmul_precision(before)

    def _plugin(self, device: torch.device) -> Precision:
        match self.precision:
            case "bf16-mixed" | "16-mixed":
                return MixedPrecision(self.precision, device.type)  # type: ignore[arg-type]
            case "bf16-true" | "16-true":
                return HalfPrecision(self.precision)  # type: ignore[arg-type]
            case "64-true":
                return DoublePrecision()
        return Precision()
