"""``genraven evaluate``: the same results however many processes score, and however often it is broken off."""

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from tiny import fit

import launch.evaluate
from launch.cli import main

OPTIONS = ["--puzzles-per-rule", "4", "--batch-size", "5"]
GRID = ["--sampler", "euler,heun", "--steps", "1,2"]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of two runs."""
    folder = tmp_path_factory.mktemp("trained")
    for family in ("autoregressive", "diffusion"):
        assert main(fit(folder / family, "--trainer.max_steps", "8", family=family)) == 0
    return folder


@pytest.fixture
def runs(trained: Path, tmp_path: Path) -> Path:
    """The same, not yet evaluated."""
    return Path(shutil.copytree(trained, tmp_path / "runs"))


def results(run: Path) -> list[dict[str, Any]]:
    """What was found, without what depends on the machine."""
    found = json.loads((run / "evaluation.json").read_text())["results"]
    return [{k: v for k, v in result.items() if k not in ("seconds", "device", "devices")} for result in found]


def test_two_processes_find_what_one_finds(runs: Path, tmp_path: Path) -> None:
    alone = Path(shutil.copytree(runs, tmp_path / "alone"))
    assert main(["evaluate", str(alone), *OPTIONS]) == 0
    command = [sys.executable, "-m", "launch.cli", "launch", "--devices", "2", "--", "evaluate", str(runs), *OPTIONS]
    subprocess.run(command, check=True, timeout=180)
    for family in ("autoregressive", "diffusion"):
        assert results(runs / family) == results(alone / family)
        (result,) = json.loads((runs / family / "evaluation.json").read_text())["results"]
        assert result["devices"] == 2
        assert result["metrics"]["completion"]["count"] == 12


def test_broken_off_and_started_again(runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = Path(shutil.copytree(runs, tmp_path / "whole"))
    command = ["evaluate", str(runs / "diffusion"), *OPTIONS, *GRID]
    assert main(["evaluate", str(whole / "diffusion"), *OPTIONS, *GRID]) == 0
    assert len(results(whole / "diffusion")) == 4
    score, calls = launch.evaluate.score_model, []

    def interrupted(*arguments: Any) -> Any:
        calls.append(arguments)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return score(*arguments)

    monkeypatch.setattr(launch.evaluate, "score_model", interrupted)
    assert main(command) == 130
    assert results(runs / "diffusion") == results(whole / "diffusion")[:2]
    assert main(command) == 0
    assert len(calls) == 5  # two found, one lost, the two that were missing
    assert results(runs / "diffusion") == results(whole / "diffusion")
    assert main(command) == 0
    assert len(calls) == 5


def test_results_of_other_rules_are_kept(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = runs / "autoregressive"
    assert main(["evaluate", str(run), *OPTIONS]) == 0
    found = json.loads((run / "evaluation.json").read_text())
    found["run"]["trained"] = found["run"]["trained"][:1]
    text = json.dumps(found)
    (run / "evaluation.json").write_text(text)
    capsys.readouterr()
    assert main(["evaluate", str(run), *OPTIONS]) == 2
    said = capsys.readouterr().err.strip().splitlines()[-1]
    assert "to be of a run with trained" in said
    assert "give another --out" in said
    assert (run / "evaluation.json").read_text() == text


def test_a_run_that_cannot_be_scored_is_passed_over(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for checkpoint in (runs / "diffusion" / "checkpoints").iterdir():
        checkpoint.write_bytes(b"torn")
    assert main(["evaluate", str(runs), *OPTIONS]) == 1
    assert "diffusion: passed over: " in capsys.readouterr().out
    assert len(results(runs / "autoregressive")) == 1
    assert not (runs / "diffusion" / "evaluation.json").exists()
