"""Pictures: what the model made of a validation, for the eye."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import lightning as L
import torch
from PIL import Image

from callbacks.loggers import holds_pictures, show_picture
from callbacks.tensorboard import shown_step
from genraven.errors import InputError
from genraven.formats.puzzles import UNKNOWN_RULE
from genraven.metrics.completion import rule_holds
from genraven.metrics.rates import Rate
from genraven.metrics.table import SCORES, label
from genraven.puzzles.heatmap import render_heatmap
from genraven.puzzles.masks import last_panel_mask
from genraven.puzzles.render import render_sheet
from genraven.puzzles.rules import row_rules, rule_names, shared_rules
from genraven.puzzles.spec import RULES
from lightning_modules.base import PuzzleModule, Sampled

COLUMNS = 4


@dataclass(frozen=True)
class PictureOptions:
    """What is drawn for the loggers that can hold pictures.

    Args:
        puzzles: generated ones, and as many completed ones, of each validation.
        share: of the training time that drawing may take; validations are skipped to keep to it, but for the first.
    """

    puzzles: int = 16
    share: float = 0.02

    def __post_init__(self) -> None:
        if self.puzzles < 1:
            raise InputError(f"expected --pictures.puzzles to be 1 or more, got {self.puzzles}.")
        if not 0 <= self.share <= 1:
            raise InputError(f"expected --pictures.share between 0 and 1, got {self.share}: 0 draws none.")


class Pictures(L.Callback):
    """Sheets of generated and of completed puzzles, and heat maps of C3 and completion over the rules.

    All are of what the validation has sampled and counted anyway: nothing is sampled for them, and only the process
    that writes draws.
    """

    def __init__(self, options: PictureOptions) -> None:
        self.options = options
        self._started = time.monotonic()
        self._spent_s = self._last_s = 0.0
        self._made: list[Sampled] = []
        self._draws = False

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Time runs from here."""
        self._started = time.monotonic()

    def on_validation_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Decides whether this validation can be drawn."""
        budget_s = self.options.share * (time.monotonic() - self._started)
        is_first = not self._last_s
        affordable = self.options.share > 0 and (is_first or self._spent_s + self._last_s <= budget_s)
        self._made, self._draws = [], affordable and not trainer.sanity_checking and holds_pictures(trainer)

    def on_validation_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:  # fmt: skip
        """Keeps what was made."""
        if self._draws and outputs is not None:
            self._made.append(outputs)

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Draws the sheets and heat maps of this validation, if there is time for them."""
        made, self._made = self._made, []
        if not made or not isinstance(pl_module, PuzzleModule):
            return
        with self._timed():
            pictures = self._sheets(made) | self._heatmaps(trainer, pl_module)
            for name, picture in pictures.items():
                for logger in trainer.loggers:
                    show_picture(logger, name, picture, shown_step(trainer))

    @contextmanager
    def _timed(self) -> Iterator[None]:
        start = time.monotonic()
        yield
        self._last_s = time.monotonic() - start
        self._spent_s += self._last_s

    def _sheets(self, made: list[Sampled]) -> dict[str, Image.Image]:
        """Puzzles from all over the validation, whose rules follow one another."""
        num = sum(len(batch["rules"]) for batch in made)
        shown = torch.linspace(0, num - 1, min(num, self.options.puzzles), dtype=torch.float32).round().long()
        generated, completed, rules = (
            torch.cat([batch[name] for batch in made]).cpu()[shown] for name in ("generated", "completed", "rules")
        )
        found = rule_names(shared_rules(row_rules(generated)))
        inferred = rule_names(shared_rules(row_rules(completed)))
        right = rule_holds(completed, rules)
        titles = [
            name if ok else f"{name} (not {RULES[rule].name if rule != UNKNOWN_RULE else 'that of rows 1 and 2'})"
            for name, ok, rule in zip(inferred, right.tolist(), rules.tolist(), strict=True)
        ]
        mask = last_panel_mask(len(completed))
        return {
            "puzzles/generated": render_sheet(generated, COLUMNS, titles=found),
            "puzzles/completed": render_sheet(completed, COLUMNS, titles=titles, marked=mask),
        }

    def _heatmaps(self, trainer: L.Trainer, module: PuzzleModule) -> dict[str, Image.Image]:
        assert module.results is not None
        framed = getattr(getattr(trainer, "datamodule", None), "held_out", ())
        maps = {}
        for name, rate in module.results.per_rule.items():
            values = rate.value.tolist()
            title = f"{label(name)} of each rule, fraction of {SCORES[name].counted_over} (n = {_counted(name, rate)})"
            full = max(values) if name == "c3" else 1.0
            maps[f"rules/{name}"] = render_heatmap(values, title=title, framed=framed, full=full)
        return maps


def _counted(name: str, rate: Rate) -> int:
    """Puzzles behind a score of each rule: every generated one may have any rule, a completed one has its own."""
    return int(rate.total[0] if name == "c3" else rate.total.sum())
