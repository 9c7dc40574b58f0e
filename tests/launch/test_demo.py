"""The demo, made tiny."""

import json
import shlex
from pathlib import Path

import pytest
import yaml

from genraven.puzzles.spec import RULES, split_rules
from genraven.report.dataset import HELD_OUT, TRAINED_ON, rules_of
from launch import demo
from launch.advice.studies import shipped
from launch.configs.shipped import CONFIGS
from launch.jobs.sweep import read_grid
from launch.training.resolve import Resolver

TINY = """ --trainer.max_steps 2 --trainer.val_check_interval 2 --data.eval_puzzles_per_rule 1
 --data.global_batch_size 4 --model.network.width 8 --model.network.hidden 8 --model.network.writer 4
 --model.network.occupancy 4 --model.network.num_heads 1 --trainer.precision 32-true"""
DEPTH = """--trainer.max_steps 2 --trainer.val_check_interval 2 --data.eval_puzzles_per_rule 2
 --data.global_batch_size 4 --model.network.depth 1"""


@pytest.mark.slow
@pytest.mark.usefixtures("at_once")
def test_the_demo_trains_scores_answers_and_draws(
    in_tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("GENRAVEN_CACHE", str(in_tmp_path / "cache"))
    monkeypatch.setitem(demo.PUZZLES_PER_RULE, "demo", 1)
    grid = yaml.safe_load((CONFIGS / "sweep" / "demo.yaml").read_text())
    grid["base"] = " ".join(shlex.split(grid["base"] + TINY))
    grid["axes"]["data.samples_per_rule"] = [4000]
    Path("tiny.yaml").write_text(yaml.safe_dump(grid, sort_keys=False))
    assert demo.main(["--grid", "tiny.yaml"]) == 0
    shown = capfd.readouterr().out
    runs = sorted(path.parent for path in Path("demo").glob("*/evaluation.json"))
    assert [run.name for run in runs] == ["4000-ar", "4000-mdm"]
    for run in runs:
        assert (run / "samples.png").stat().st_size > 100
        assert (run / "completed.png").stat().st_size > 100
        assert shown.count(f"\n{run.name} ") == 1  # as evaluated
        assert shown.count(f"\n| {run.name} ") == 1  # compared
    assert "completion" in shown
    assert "of 40: 0." in shown
    page = Path("demo/report.md").read_text()
    answer = next(line for line in page.splitlines() if line.startswith("## ")).removeprefix("## ")
    assert f"\n{answer}\nCheck: " in shown  # the study's, not the check's
    assert not answer.startswith("Not enough evidence")
    assert "## What the check measured" in page


@pytest.mark.slow
@pytest.mark.usefixtures("at_once")
def test_a_grid_of_a_task_that_no_study_has_is_reported(
    in_tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("GENRAVEN_CACHE", str(in_tmp_path / "cache"))
    monkeypatch.setattr(demo, "draw", lambda path: None)
    grid = {"base": f"-c model/gpt2_tiny.yaml -c data/demo.yaml -c trainer/cpu.yaml --data.rules [shape.xor] "
                    f"--data.eval_rules [shape.xor] {DEPTH}", "axes": {"data.samples_per_rule": [20]}}  # fmt: skip
    Path("mine.yaml").write_text(yaml.safe_dump(grid))
    assert demo.main(["--grid", "mine.yaml"]) == 0
    shown = capfd.readouterr()
    assert "expected --check to hold runs of the data and the prior of a study that ships" in shown.err
    assert "genraven report demo" in shown.out
    assert Path("demo/report.html").stat().st_size > 1000


def test_the_demo_is_of_the_task_of_the_study() -> None:
    """And of one trunk."""
    points = read_grid(CONFIGS / "sweep" / "demo.yaml")
    resolver = Resolver(list(points[0].arguments))
    configs = [resolver.resolve([*point.arguments, "--run_dir", "runs/x"]) for point in points]
    (theirs,) = {json.dumps(body.first.dataset) for body in shipped() if body.study == "structured"}
    for config in configs:
        trained, held_out = split_rules(config["data"]["rules"], config["data"]["held_out"])
        assert {RULES[rule].name for rule in trained} == rules_of(json.loads(theirs), TRAINED_ON)
        assert {RULES[rule].name for rule in held_out} == rules_of(json.loads(theirs), HELD_OUT)
    trunks = [config["model"]["init_args"]["network"]["init_args"] for config in configs]
    assert {"width", "hidden", "writer", "mixing"} <= trunks[0].keys() & trunks[1].keys()
    for name in trunks[0].keys() & trunks[1].keys():
        assert len({str(trunk[name]) for trunk in trunks}) == 1
    assert len({json.dumps(config["trainer"]) for config in configs}) == 1


def test_every_method_has_a_preset_in_the_grid_of_families() -> None:
    """But for networks that are told what a puzzle is made of, which are no match for those that are not."""
    models = yaml.safe_load((CONFIGS / "sweep" / "families.yaml").read_text())["axes"]["model"]
    tiny = [path.stem for path in (CONFIGS / "model").glob("*_tiny.yaml")]
    assert sorted(models) == sorted(name for name in tiny if not name.startswith(("relational", "axial")))
