"""What a checkpoint notes of its run: the version of the order of its puzzles."""

from pathlib import Path

import pytest
import torch
from tiny import fit, last_state

from launch.cli import main

SAID = "another order than it began with"


@pytest.mark.parametrize("is_older", [True, False])
@pytest.mark.parametrize("is_large", [True, False])
def test_a_run_that_goes_on_in_another_order_says_so(
    is_large: bool, is_older: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Where an older version began it, and its set is too large for a list; once only."""
    if is_large:
        monkeypatch.setattr("datamodules.batches.LISTED", 10)
    run = tmp_path / "run"
    length = ["--trainer.val_check_interval", "2", "--trainer.max_steps"]
    assert main(fit(run, *length, "2")) == 0
    (path,) = (run / "checkpoints").glob("step-*.ckpt")
    if is_older:
        state = last_state(run)
        del state["order_version"]
        torch.save(state, path)
    for last, is_said in (("4", is_large and is_older), ("6", False)):
        capsys.readouterr()
        assert main(fit(run, *length, last)) == 0
        assert (SAID in capsys.readouterr().err) == is_said
