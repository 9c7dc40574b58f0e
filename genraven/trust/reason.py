"""Which given panels a completion rests on: the change of the score when one is exchanged for others.

B puzzles (B, 3, 9, 9) int8, masks (B, 9, 9) bool, K other puzzles, P = 9 panels.
"""

import torch
from torch import Tensor

from genraven.puzzles import layout
from genraven.puzzles.spec import NUM_CELLS, NUM_PANELS, NUM_ROWS
from genraven.trust.confidence import Writer
from genraven.trust.features import same_features, written_panels

NUM_OTHERS = 16
_ALL = NUM_ROWS * NUM_PANELS


def panel_support(
    model: Writer,
    completed: Tensor,
    mask: Tensor,
    others: Tensor,
    *,
    knows_probability: bool,
    batch_size: int,
    generator: torch.Generator | None,
) -> Tensor:
    """(B, P) float64: by how much the score falls, on average, when a panel is exchanged; NaN for written panels.

    The score is the log-probability in nats of what was written: as that stays the same, what is expected of such a
    panel is not taken off. For a model without, it is the fraction of features that it writes again.

    Args:
        model: that completed them.
        completed: (B, 3, 9, 9).
        mask: (B, 9, 9).
        others: (K, 3, 9, 9) puzzles to take panels from.
        knows_probability: has ``model`` a log-probability?
        batch_size: puzzles at once.
        generator: of what is drawn.
    """

    def score(puzzles: Tensor, masks: Tensor) -> Tensor:
        if knows_probability:
            return model.log_probability(puzzles, masks, generator).total
        return same_features(puzzles, model.complete(puzzles, masks, generator), masks).mean(1)

    def in_parts(puzzles: Tensor, masks: Tensor) -> Tensor:
        parts = zip(puzzles.split(batch_size), masks.split(batch_size), strict=True)
        return torch.cat([score(*part).double().cpu() for part in parts])

    num = len(others)
    before = in_parts(completed.repeat_interleave(num, 0), mask.repeat_interleave(num, 0)).view(-1, num).mean(1)
    changes = torch.full((len(completed), _ALL), float("nan"), dtype=torch.float64)
    given = ~written_panels(mask).cpu()
    for panel in range(_ALL):
        which = given[:, panel].nonzero().squeeze(1)
        if len(which):
            puzzles = exchanged(completed[which], others, panel)
            after = in_parts(puzzles, mask[which].repeat_interleave(num, 0)).view(-1, num)
            changes[which, panel] = before[which] - after.mean(1)
    return changes


def exchanged(puzzles: Tensor, others: Tensor, panel: int) -> Tensor:
    """(B * K, 3, 9, 9): each puzzle with its ``panel`` (0-8, row by row) taken from each of ``others``."""
    cells = slice(panel * NUM_CELLS, (panel + 1) * NUM_CELLS)
    tokens = layout.puzzles_to_tokens(puzzles).repeat_interleave(len(others), 0)
    tokens[:, cells] = layout.puzzles_to_tokens(others)[:, cells].repeat(len(puzzles), 1, 1)
    return layout.tokens_to_puzzles(tokens)
