"""Of several processes the first alone says how far they are."""

from typing import Any

import pytest

from datamodules import GenRAVENDataModule, store
from genraven.networks.transformer import Transformer
from genraven.progress import Progress
from launch.processes.process_group import ProcessGroup
from launch.trained import scoring
from launch.trained.settings import Scoring
from lightning_modules import AutoregressiveModule


class Begun(Exception):
    """Of a work that is seen, or not."""


@pytest.mark.parametrize(("rank", "progress", "seen"), [(0, True, True), (1, True, False), (0, False, False)])
def test_of_an_evaluation(rank: int, progress: bool, seen: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    def begin(*arguments: Any, shown: bool, **more: Any) -> Progress:
        raise Begun(shown)

    monkeypatch.setattr(scoring, "Progress", begin)
    data = GenRAVENDataModule(2, rules=[0], held_out=[], eval_rules=[0], eval_puzzles_per_rule=2)
    model = AutoregressiveModule(Transformer(width=6, depth=1, num_heads=1))
    with pytest.raises(Begun) as begun:
        scoring.score_model(model, data, Scoring(), 2, ProcessGroup(rank=rank), progress=progress)
    assert begun.value.args == (seen,)


@pytest.mark.parametrize("rank", [0, 1])
def test_of_the_making_of_data(rank: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store.rank_zero_only, "rank", rank)
    assert store.data_progress("data", 4).shown == (rank == 0)
