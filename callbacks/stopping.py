"""What ends a training before its last step, and what ended it, as far as its trainer tells."""

from collections.abc import Iterable
from typing import Any

import lightning as L
from lightning.pytorch.callbacks import EarlyStopping, Timer

RELEASING = ("trainer.max_steps", "trainer.max_epochs", "trainer.callbacks", "collapse")
"""A run that was stopped for good goes on when one of these options is another."""
ASIDE = " Signaling Trainer to stop."  # what EarlyStopping says to itself


def is_cut(trainer: L.Trainer) -> bool:
    """Is the time of this start over? Another start goes on."""
    return any((timer.time_remaining() or 0) < 0 for timer in trainer.callbacks if isinstance(timer, Timer))  # type: ignore[attr-defined]


def forget_time(checkpoint: dict[str, Any]) -> None:
    """Lets the time of a start that goes on from ``checkpoint`` begin with it, not with the run."""
    checkpoint["callbacks"].pop(Timer.__qualname__, None)


def stopped_for_good(trainer: L.Trainer) -> str | None:
    """The decision that ended the training of ``trainer`` before its time; None where none did."""
    if trainer.should_stop:
        for each in trainer.callbacks:  # type: ignore[attr-defined]
            if isinstance(each, EarlyStopping) and each.stopping_reason_message:
                return f"{type(each).__name__}: {each.stopping_reason_message.removesuffix(ASIDE).rstrip('.')}"
            if isinstance(each, StopAt) and trainer.global_step >= each.step:
                return f"{type(each).__name__}: step {each.step}"
        return None if is_cut(trainer) else "a callback set trainer.should_stop"
    if trainer.max_steps > 0 and trainer.max_epochs is not None and 0 <= trainer.max_epochs <= trainer.current_epoch:
        return f"trainer.max_epochs is {trainer.max_epochs}"
    return None


def is_released(changed: Iterable[str]) -> bool:
    """Does a run that was stopped for good go on, now that its options ``changed``?"""
    return any(option == name or option.startswith(f"{name}.") for option in changed for name in RELEASING)


class StopAt(L.Callback):
    """Ends the training at a step before its last, for good: schedule and length stay those of the whole training.

    Args:
        step: of the optimizer.
    """

    def __init__(self, step: int) -> None:
        self.step = step

    def on_train_batch_end(self, trainer: L.Trainer, *args: Any, **kwargs: Any) -> None:
        """Stops once the step is reached."""
        if trainer.global_step >= self.step:
            trainer.should_stop = True
