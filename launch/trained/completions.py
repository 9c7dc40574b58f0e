"""Completions with their confidence, as a calibration makes them and as they are used: the same code for both."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from genraven.progress import Progress
from genraven.puzzles.generate import Draws, generate
from genraven.trust.confidence import confidence, write_candidates
from genraven.trust.familiarity import familiarity, knows_familiarity
from lightning_modules import PuzzleModule

SPLIT = "calibration"


@dataclass(frozen=True)
class Completed:
    """Candidates of the puzzles of one batch, and how sure the model is of each."""

    part: slice
    candidates: Tensor
    """(b, m, 3, 9, 9) int8, on the CPU."""
    scores: dict[str, Tensor]
    """(b, m) float64 of each confidence."""
    familiarity: Tensor | None
    """(b,) float64 of what is given; None of a method that does not know it."""

    def best(self, name: str) -> Tensor:
        """(b,) number of the candidate that ``name`` likes best, the first of equals."""
        return self.scores[name].argmax(1)


def completions(
    model: PuzzleModule,
    puzzles: Tensor,
    mask: Tensor,
    *,
    num: int,
    names: Sequence[str],
    batch_size: int,
    split: str,
    familiar: bool = True,
    progress: bool = True,
    what: str = "complete",
) -> Iterator[Completed]:
    """Each batch of ``puzzles`` (B, 3, 9, 9) completed ``num`` times under ``mask`` (B, 9, 9).

    ``split`` is whose draws they are. ``familiar`` asks as well how likely what is given is.
    ``progress`` shows how far it is, and ``what`` it does.
    """
    size = max(1, batch_size // num)
    slices = [slice(start, min(start + size, len(puzzles))) for start in range(0, len(puzzles), size)]
    with Progress(what, len(puzzles), "puzzle", shown=progress) as bar:
        for part in bar.over(slices, lambda part: part.stop - part.start):
            given, open_cells = puzzles[part].to(model.device), mask[part].to(model.device)
            at = (split, part.start, len(given))
            written = write_candidates(model, given, open_cells, num, model.generator_at("candidates", *at))
            generator = model.generator_at("confidence", *at)
            scores = {name: confidence(name, model, written, open_cells, generator) for name in names}
            known = None
            if familiar and knows_familiarity(model.method):
                known = familiarity(model, written[:, 0], open_cells, generator)
            yield Completed(part, written.cpu(), scores, known)


def drawn_puzzles(rules: Sequence[int], num: int, seed: int) -> tuple[Tensor, Tensor]:
    """(num, 3, 9, 9) int8 puzzles of the calibration split and their rules (num,), each drawn by itself."""
    drawn = torch.tensor(rules)[torch.from_numpy(Draws(seed, "calibrat").below(len(rules), (num,)))]
    puzzles = torch.empty(num, 3, 9, 9, dtype=torch.int8)
    for rule in sorted({*drawn.tolist()}):
        chosen = drawn == rule
        puzzles[chosen] = generate(rule, 0, int(chosen.sum()), seed=seed, split=SPLIT)
    return puzzles, drawn
