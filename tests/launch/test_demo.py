"""The demo, made tiny."""

from dataclasses import replace
from pathlib import Path

import pytest

from launch import demo


def test_demo_trains_scores_and_draws(
    in_tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    small = tuple(replace(entry, max_steps=2, options=SMALL[entry.config]) for entry in demo.ENTRIES)
    monkeypatch.setattr(demo, "ENTRIES", small)
    demo.main()
    shown = capsys.readouterr().out
    for metric in demo.METRICS:
        assert shown.count(f"  {metric} ") == len(small)
    for entry in small:
        assert entry.name in shown
        for name in ("samples.png", "completed.png", "summary.json"):
            assert (Path("demo") / Path(entry.config).stem / name).stat().st_size > 100


DATA = ("--data.samples_per_rule", "20", "--data.eval_puzzles_per_rule", "2", "--data.global_batch_size", "4")
SMALL = {
    "model/gpt2_tiny.yaml": (*DATA, "--model.network.depth", "1"),
    "model/sit_tiny.yaml": (*DATA, "--model.network.depth", "1", "--model.num_sampling_steps", "2"),
}
