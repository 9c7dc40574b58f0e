"""A method that stands in no file of the product is trained, sampled, evaluated and reported all the same."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest

from launch.cli import main

HERE = Path(__file__).parent
CONFIG = """
model:
  class_path: lightning_modules.DiffusionModule
  init_args:
    network: {class_path: copying.Memory}
    method: {class_path: copying.Copying, init_args: {sampling: {num_tries: 2}}}
    ema_decay: null
"""
DATA = [
    "-c", "data/demo.yaml", "-c", "trainer/cpu.yaml", "--data.samples_per_rule", "8",
    "--data.eval_puzzles_per_rule", "2", "--trainer.max_steps", "4", "--trainer.val_check_interval", "4",
]  # fmt: skip


def test_from_training_to_the_report(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(HERE)
    monkeypatch.setenv("GENRAVEN_CACHE", str(tmp_path / "cache"))
    Path("copy.yaml").write_text(CONFIG)
    plugin = ["--plugin", "copying"]
    assert main(["fit", "-c", "copy.yaml", *DATA, "--run_dir", "runs/copy", *plugin]) == 0
    assert main(["sample", "runs/copy", "--num", "6", "--tries", "3", *plugin]) == 0
    assert main(["evaluate", "runs/copy", "--puzzles-per-rule", "4", "--tries", "1,2", *plugin]) == 0
    assert main(["report", "runs", "--out", "report.html"]) == 0
    assert np.load("samples.npy").shape == (6, 3, 9, 9)
    found = json.loads(Path("runs/copy/evaluation.json").read_text())
    assert found["run"]["architecture"] == "Copy"
    assert found["run"]["prior"] == "general"
    assert [result["sampling"] for result in found["results"]] == [{"num_tries": 1}, {"num_tries": 2}]
    assert all(result["metrics"]["c3"]["hits"] == 12 for result in found["results"])  # rows of the training set
    assert all(result["metrics"]["novel_c3"]["hits"] == 0 for result in found["results"])
    assert "Copy" in Path("report.md").read_text()
    capsys.readouterr()
    assert (
        main(["fit", "-c", "copy.yaml", *DATA, "--data.corruption.missing", "0.1", "--run_dir", "missing", *plugin])
        == 2
    )
    assert "expected whole puzzles to train Copying on, got a training set with missing" in capsys.readouterr().err
    assert not Path("missing").exists()
    assert main(["sample", "runs/copy", "--overwrite"]) == 2
    assert "expected classes of genraven in a checkpoint, got 'copying.Memory'" in capsys.readouterr().err


def test_a_setting_whose_option_a_command_has_already_is_refused_before_training(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    source = (
        (Path(HERE) / "copying.py").read_text().replace("num_tries", "num_candidates").replace("Copying", "Clashing")
    )
    Path("clashing.py").write_text(source)
    Path("copy.yaml").write_text(CONFIG.replace("copying.Copying", "clashing.Clashing"))
    try:
        assert main(["fit", "-c", "copy.yaml", *DATA, "--run_dir", "runs/copy", "--plugin", "clashing"]) == 2
        assert "got num_candidates in " in (said := capsys.readouterr().err)
        assert "while the command has its own --candidates: rename it" in said
        assert not Path("runs").exists()
    finally:  # no later test finds its class
        method = sys.modules.pop("clashing").Clashing
        monkeypatch.setattr("genraven.methods.method.Method.__subclasses__", lambda: [])
        del method
