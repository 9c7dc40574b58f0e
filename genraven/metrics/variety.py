"""How many of the generated puzzles and rows are different: a model may write one new puzzle again and again.

The field's word is uniqueness, beside validity (C3) and novelty (novel C3); Polykovskiy et al. 2020, MOSES.
"""

from typing import Any

import torch
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.utilities.distributed import gather_all_tensors

from genraven.metrics.memorization import UNORDERED, TrainingIndex, fingerprints, is_novel
from genraven.metrics.rates import Rate
from genraven.puzzles.spec import NUM_ROWS


class Variety(Metric):
    """Fraction of generated puzzles and rows that is left when each counts once; and of those with novel C3.

    Puzzles of the same rows in another order are the same. A fraction falls with the number that is generated, so it is
    one of so many.

    Args:
        index: of the training set; None where there is none to be new against.
    """

    full_state_update = False
    puzzles: list[Tensor]
    rows: list[Tensor]
    new: list[Tensor]

    def __init__(self, index: TrainingIndex | None = None, **kwargs: Any) -> None:
        super().__init__(sync_on_compute=False, **kwargs)  # which would send floats where a process has no puzzle
        self.index = index
        for name in ("puzzles", "rows", "new"):
            self.add_state(name, [], dist_reduce_fx=None)

    def update(self, puzzles: Tensor) -> None:
        """Notes the hashes of generated ``puzzles`` (B, 3, 9, 9) of an integer dtype."""
        hashes = fingerprints(puzzles)
        rows = hashes["rows"]
        self.puzzles.append(hashes[UNORDERED])
        self.rows.append(rows.flatten())
        if self.index is not None:
            sorted_rows = rows.sort(1).values
            differ = (sorted_rows[:, 1:] != sorted_rows[:, :-1]).all(1)
            self.new.append(hashes[UNORDERED][differ & is_novel(puzzles, self.index)])

    def compute(self) -> dict[str, Any]:
        """``rates``: ``different_puzzles``, ``different_rows``, with an index ``different_novel_c3``. A collective."""
        puzzles, rows = self._of_all(self.puzzles), self._of_all(self.rows)
        num = torch.tensor(len(puzzles))
        rates = {
            "different_puzzles": Rate(_num_different(puzzles), num),
            "different_rows": Rate(_num_different(rows), num * NUM_ROWS, NUM_ROWS),
        }
        if self.index is not None:
            rates["different_novel_c3"] = Rate(_num_different(self._of_all(self.new)), num)
        return {"rates": rates}

    def _of_all(self, parts: list[Tensor]) -> Tensor:
        """The hashes (N,) int64 of all batches of all processes."""
        own = torch.cat([torch.empty(0, dtype=torch.int64, device=self.device), *parts])
        if not (torch.distributed.is_available() and torch.distributed.is_initialized()):
            return own
        return torch.cat(gather_all_tensors(own))


def _num_different(hashes: Tensor) -> Tensor:
    return torch.tensor(len(hashes.unique()))
