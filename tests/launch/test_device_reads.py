"""Between two logged steps a training reads nothing from the device, so that the host can run ahead of it."""

from pathlib import Path

import pytest
from reads import FIRST, LAST, Watch, counted
from tape import TapeRecorder
from tiny import TINY

from genraven.networks.recording import RECORDERS
from launch.cli import main
from launch.configs.shipped import CONFIGS
from launch.training import compiling

RUN = TINY[TINY.index("-c") :]  # of any network
QUIET = ["--trainer.max_steps", "18", "--trainer.log_every_n_steps", "18", "--trainer.val_check_interval", "18",
         "--checkpoint_every_n_steps", "18", "--trainer.limit_val_batches", "1", "--trainer.gradient_clip_val", "1.0",
         "--model.ema_decay", "0.9", "--model.schedule", "cosine"]  # fmt: skip


BAR = ["--trainer.enable_progress_bar", "true", "--trainer.callbacks+=lightning.pytorch.callbacks.TQDMProgressBar"]
PRESETS = sorted(path.stem for path in (CONFIGS / "model").glob("*_tiny.yaml"))
OTHERWISE = {
    "accumulated": ("sit_tiny", ["--trainer.accumulate_grad_batches", "2"]),
    "recorded": ("sit_tiny", ["--compile", "graph"]),
}


@pytest.mark.parametrize(
    ("preset", "more"),
    [*((preset, BAR) for preset in PRESETS), *OTHERWISE.values()],
    ids=[*PRESETS, *OTHERWISE],
)
def test_steps_that_log_nothing_read_nothing(
    preset: str, more: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With all callbacks that a run has."""
    monkeypatch.setattr(Watch, "steps", [])
    monkeypatch.setitem(RECORDERS, "cpu", TapeRecorder)
    monkeypatch.setattr(compiling, "compile_network", lambda network: None)
    options = ["-c", f"model/{preset}.yaml", *RUN, *QUIET, *more, "--run_dir", str(tmp_path / "run")]
    with counted(monkeypatch) as found:
        assert main(["fit", *options, "--trainer.callbacks+=reads.Watch"]) == 0
    assert set(Watch.steps) == set(range(FIRST, LAST))
    assert found == []
