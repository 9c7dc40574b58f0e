"""Between two logged steps a training reads nothing from the device, so that the host can run ahead of it."""

from pathlib import Path

import pytest
from reads import FIRST, LAST, Watch, counted
from tape import TapeRecorder
from tiny import FAMILIES

from genraven.networks.recording import RECORDERS
from launch.cli import main
from launch.training import compiling

QUIET = ["--trainer.max_steps", "18", "--trainer.log_every_n_steps", "18", "--trainer.val_check_interval", "18",
         "--checkpoint_every_n_steps", "18", "--trainer.limit_val_batches", "1", "--trainer.gradient_clip_val", "1.0",
         "--model.ema_decay", "0.9", "--model.schedule", "cosine"]  # fmt: skip


BAR = ["--trainer.enable_progress_bar", "true", "--trainer.callbacks+=lightning.pytorch.callbacks.TQDMProgressBar"]


@pytest.mark.parametrize(
    ("family", "more"),
    [
        ("autoregressive", BAR),
        ("diffusion", ["--trainer.accumulate_grad_batches", "2"]),
        ("diffusion", ["--compile", "graph"]),
    ],
    ids=["bar", "accumulated", "recorded"],
)
def test_steps_that_log_nothing_read_nothing(
    family: str, more: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Watch, "steps", [])
    monkeypatch.setitem(RECORDERS, "cpu", TapeRecorder)
    monkeypatch.setattr(compiling, "compile_network", lambda network: None)
    options = [*FAMILIES[family], *QUIET, *more, "--run_dir", str(tmp_path / "run")]
    with counted(monkeypatch) as found:
        assert main(["fit", *options, "--trainer.callbacks+=reads.Watch"]) == 0
    assert set(Watch.steps) == set(range(FIRST, LAST))
    assert found == []
