"""The demo, made tiny."""

import shlex
from pathlib import Path

import pytest
import yaml

from launch import demo
from launch.configs.shipped import CONFIGS

TINY = """ --trainer.max_steps 2 --trainer.val_check_interval 2 --data.eval_puzzles_per_rule 2
 --data.global_batch_size 4 --model.network.depth 1"""


@pytest.mark.slow
@pytest.mark.usefixtures("at_once")
def test_the_demo_trains_scores_draws_and_reports(
    in_tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("GENRAVEN_CACHE", str(in_tmp_path / "cache"))
    grid = yaml.safe_load((CONFIGS / "sweep" / "demo.yaml").read_text())
    grid["base"] = " ".join(shlex.split(grid["base"] + TINY))
    grid["axes"]["data.samples_per_rule"] = [20]
    Path("tiny.yaml").write_text(yaml.safe_dump(grid, sort_keys=False))
    assert demo.main(["--grid", "tiny.yaml"]) == 0
    shown = capfd.readouterr().out
    runs = sorted(path.parent for path in Path("demo").glob("*/evaluation.json"))
    assert [run.name for run in runs] == ["20-gpt2_tiny", "20-mdm_tiny"]
    for run in runs:
        assert (run / "samples.png").stat().st_size > 100
        assert (run / "completed.png").stat().st_size > 100
        assert shown.count(f"\n{run.name} ") == 2  # as evaluated, and compared
    assert "completion" in shown
    assert "of 300: 0." in shown
    assert Path("demo/report.html").stat().st_size > 1000


def test_every_method_has_a_preset_in_the_grid_of_families() -> None:
    """But for networks that are told what a puzzle is made of, which are no match for those that are not."""
    models = yaml.safe_load((CONFIGS / "sweep" / "families.yaml").read_text())["axes"]["model"]
    tiny = [path.stem for path in (CONFIGS / "model").glob("*_tiny.yaml")]
    assert sorted(models) == sorted(name for name in tiny if not name.startswith(("relational", "axial")))
