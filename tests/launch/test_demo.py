"""The demo, made tiny."""

from dataclasses import replace
from pathlib import Path

import pytest

from launch import demo

DATA = ("--data.samples_per_rule", "20", "--data.eval_puzzles_per_rule", "2", "--data.global_batch_size", "4")
FEW_STEPS = ("--model.method.sampling.num_steps", "2")
SMALL = {
    "model/gpt2_tiny.yaml": (*DATA, "--model.network.depth", "1"),
    "model/mamba_tiny.yaml": (*DATA, "--model.network.depth", "1"),
    "model/sit_tiny.yaml": (*DATA, *FEW_STEPS, "--model.network.depth", "1"),
    "model/dit_tiny.yaml": (*DATA, *FEW_STEPS, "--model.network.depth", "1"),
    "model/edm_tiny.yaml": (*DATA, *FEW_STEPS),
}


@pytest.mark.parametrize(
    ("arguments", "name", "folder"), [([], "ENTRIES", "demo"), (["--families"], "FAMILIES", "demo/families")]
)
def test_demo_trains_scores_and_draws(
    arguments: list[str],
    name: str,
    folder: str,
    in_tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    small = tuple(replace(entry, max_steps=2, options=SMALL[entry.config]) for entry in getattr(demo, name))
    monkeypatch.setattr(demo, name, small)
    demo.main(arguments)
    shown = capsys.readouterr().out
    for metric in demo.METRICS:
        assert shown.count(f"  {metric} ") == len(small)
    for entry in small:
        assert entry.name in shown
        for file in ("samples.png", "completed.png", "summary.json"):
            assert (Path(folder) / Path(entry.config).stem / file).stat().st_size > 100


def test_every_family_sees_as_many_puzzles() -> None:
    assert len(demo.FAMILIES) == 5
    assert len({(entry.max_steps, entry.options) for entry in demo.FAMILIES}) == 1
