"""curve.csv of runs that are started more than once."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from callbacks import Curve

HEAD = "step,val/c3,val_count/c3"


def train(folder: Path, first: int, *steps: int, scores: dict[str, float] | None = None, fn: str = "fit") -> str:
    """What stands in the file after a start at step ``first`` with validations at ``steps``."""
    curve, module = Curve(folder), torch.nn.Identity()
    trainer: Any = SimpleNamespace(global_step=first, sanity_checking=True, state=SimpleNamespace(fn=fn))
    curve.on_train_start(trainer, module)  # type: ignore[arg-type]
    for step in (first, *steps):
        found = scores or {"val/c3": step / 100, "val_count/c3": 50.0}
        trainer.callback_metrics = {name: torch.tensor(value, dtype=torch.float64) for name, value in found.items()}
        trainer.global_step = step
        curve.on_validation_end(trainer, module)  # type: ignore[arg-type]
        trainer.sanity_checking = False
    return (folder / "curve.csv").read_text() if (folder / "curve.csv").exists() else ""


def test_a_line_for_each_validation(tmp_path: Path) -> None:
    assert train(tmp_path, 0, 10, 20).splitlines() == [HEAD, "10,0.1,50.0", "20,0.2,50.0"]
    assert train(tmp_path, 15, 20, 30).splitlines() == [HEAD, "10,0.1,50.0", "20,0.2,50.0", "30,0.3,50.0"]
    assert train(tmp_path, 0, 40).splitlines() == [HEAD, "40,0.4,50.0"]  # begun anew


def test_scores_that_came_later_or_are_not_finite_leave_gaps(tmp_path: Path) -> None:
    train(tmp_path, 0, 10)
    more = {"val/c3": float("nan"), "val/completion": 0.5}
    assert train(tmp_path, 10, 20, scores=more).splitlines() == [HEAD + ",val/completion", "10,0.1,50.0,", "20,,,0.5"]


@pytest.mark.filterwarnings("ignore:.*is incomplete and is ignored")
@pytest.mark.parametrize("text", ["", "a,b\n1,2\n", "step\nnever\n", "step,x\n,\n"])
def test_a_torn_file_costs_the_earlier_lines_alone(text: str, tmp_path: Path) -> None:
    (tmp_path / "curve.csv").write_text(text)
    assert train(tmp_path, 5, 10).splitlines() == [HEAD, "10,0.1,50.0"]


def test_a_validation_by_itself_writes_nothing(tmp_path: Path) -> None:
    assert train(tmp_path, 0, 10, fn="validate") == ""
