"""Of several processes the first alone says how far they are."""

from types import SimpleNamespace
from typing import Any

import pytest
import torch

from datamodules import store
from genraven.progress import Progress
from launch.processes.process_group import ProcessGroup
from launch.trained import scoring
from launch.trained.settings import Scoring


class Begun(Exception):
    """Of a work that is seen, or not."""


@pytest.mark.parametrize(("rank", "progress", "seen"), [(0, True, True), (1, True, False), (0, False, False)])
def test_of_an_evaluation(rank: int, progress: bool, seen: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    def begin(*arguments: Any, shown: bool, **more: Any) -> Progress:
        raise Begun(shown)

    monkeypatch.setattr(scoring, "Progress", begin)
    puzzles = torch.zeros(4, 3, 9, 9, dtype=torch.int8)
    data: Any = SimpleNamespace(
        prepare_data=lambda: None,
        evaluation_puzzles=lambda split, num: (puzzles, torch.zeros(4, dtype=torch.int64)),
        training_index=lambda: None,
        trained=(0,),
    )
    model: Any = SimpleNamespace(seed=0, device=torch.device("cpu"), method=SimpleNamespace(likelihood=None))
    with pytest.raises(Begun) as begun:
        scoring.score_model(model, data, Scoring(), 2, ProcessGroup(rank=rank), progress=progress)
    assert begun.value.args == (seen,)


@pytest.mark.parametrize("rank", [0, 1])
def test_of_the_making_of_data(rank: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store.rank_zero_only, "rank", rank)
    assert store.data_progress("data", 4).shown == (rank == 0)
