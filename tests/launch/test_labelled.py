"""Commands with a model that reads rules as labels."""

from pathlib import Path

import numpy as np
import pytest
from tiny import fit

from genraven.puzzles.generate import generate
from launch.cli import main


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of three rules: constant shape, size and color."""
    path = tmp_path_factory.mktemp("labelled") / "run"
    assert main(fit(path, "--model.network.num_labels", "40", "--trainer.max_steps", "2")) == 0
    return path


def test_rules_that_were_trained_are_asked_for_and_told(run: Path, tmp_path: Path) -> None:
    out, puzzles = tmp_path / "out.npy", tmp_path / "puzzles.npy"
    np.save(puzzles, generate(0, 0, 200).numpy())
    asked = ["--num", "4", "--rules", "shape.constant", "size.constant"]
    assert main(["sample", str(run), *asked, "--out", str(out)]) == 0
    completed = []
    for name, options in {"told": ["--rule", "shape.constant"], "plain": []}.items():
        to = tmp_path / f"{name}.npy"
        assert main(["complete", str(run), str(puzzles), "--out", str(to), *options]) == 0
        completed.append(np.load(to))
    assert not np.array_equal(*completed)


@pytest.mark.parametrize(
    ("command", "options", "says"),
    [
        ("sample", ["--rules", "shape.constant", "position.xor"], "got position.xor, whose labels it has never read"),
        ("complete", ["--rule", "position.xor"], "got position.xor, whose labels it has never read"),
        ("complete", ["--rule", "all"], "expected one --rule of all the puzzles, got all, which names 40"),
        (
            "complete",
            ["--rule", "0", "--candidates", "2"],
            "expected --rule or --candidates, got both, and --rule has no effect then",
        ),
    ],
)
def test_what_cannot_be_told_is_refused(
    command: str, options: list[str], says: str, run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    puzzles = tmp_path / "puzzles.npy"
    np.save(puzzles, generate(0, 0, 3).numpy())
    given = [str(puzzles)] if command == "complete" else []
    assert main([command, str(run), *given, "--out", str(tmp_path / "out.npy"), *options]) == 2
    assert says in capsys.readouterr().err
    assert not (tmp_path / "out.npy").exists()


def test_guidance_without_rules_is_refused(in_tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    labels = ["--model.network.num_labels", "40", "--trainer.max_steps", "1"]
    assert main(fit(Path("run"), *labels, family="diffusion")) == 0
    assert main(["sample", "run", "--num", "2", "--guidance-scale", "3"]) == 2
    assert "expected rules with --guidance-scale 3.0, got none, which it would guide to" in capsys.readouterr().err
    assert main(["sample", "run", "--num", "2", "--guidance-scale", "3", "--rules", "shape.constant"]) == 0
