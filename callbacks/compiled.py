"""CompileTime: what the compiler took of a run, said once and kept in its summary."""

from typing import Any

import lightning as L
from lightning.pytorch.utilities import rank_zero_info

from genraven.networks.compiling import Compilation, compile_seconds


class CompileTime(L.Callback):
    """Says how long compiling took once a step has passed without, and reports the seconds of this start so far.

    Args:
        compilation: what of the training is one graph.
    """

    def __init__(self, compilation: Compilation) -> None:
        self.compilation = compilation
        self._before = self._last = compile_seconds()
        self._said = False

    def report(self) -> dict[str, Any]:
        """What was compiled, and for how long, for the summary."""
        return {"compile": self.compilation, "compile_seconds": compile_seconds() - self._before}

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Looks whether the compiler has done."""
        if self._said:
            return
        now = compile_seconds()
        if now == self._last > self._before:
            self._said = True
            rank_zero_info(f"--compile {self.compilation}: {now - self._before:.3g} s until step {trainer.global_step}")
        self._last = now
