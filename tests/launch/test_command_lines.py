"""Command lines that cannot be parsed: one line each, with what was meant where that can be guessed."""

from pathlib import Path

import pytest
import torch

from launch.cli import main


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("advise --examples 4k", "--examples: expected a whole number, got '4k': see `genraven advise --help`."),
        ("advise --growth x", "--growth: expected a number, got 'x': see `genraven advise --help`."),
        ("advise --exampel 400", "expected arguments of genraven advise, got --exampel 400: did you mean --examples?"),
        ("advise --exampels=4", "expected arguments of genraven advise, got --exampels=4: did you mean --examples?"),
        ("advise --examples", "--examples: expected a value, got none: see `genraven advise --help`."),
        ("advise --e 3", "expected one option, got --e, which may be --examples, --evidence: see `genraven "
         "advise --help`."),
        ("submit --dry-run -- fitt -c x.yaml", "expected the training command after --, such as `-- fit -c "
         "model/sit_s.yaml`, got fitt -c x.yaml: begin it with fit."),
        ("generat", "expected a command, got 'generat': did you mean generate?"),
        ("fti", "expected a command, got 'fti': did you mean fit?"),
        ("generate --rules", "--rules: expected one value or more, got none: see `genraven generate --help`."),
        ("evaluate R --split tset", "expected --split to be val or test, got 'tset': did you mean test?"),
        ("evaluate R --given-corruption 0,x", "--given-corruption: expected fractions such as 0,0.02,0.1, got '0,x': "
         "see `genraven evaluate --help`."),
        ("sample", "expected run, got nothing: see `genraven sample --help`."),
        ("complete", "expected run, puzzles, got nothing: see `genraven complete --help`."),
        ("evaluate R --top-k 5,x", "--top-k: expected whole numbers such as 1,2,3, got '5,x': see `genraven evaluate "
         "--help`."),
        ("generate --overwrite=yes", "--overwrite: expected no value, got 'yes': see `genraven generate --help`."),
        ("sample R --order randm", "--order: expected one of random, left_to_right, panels, confidence, entropy, "
         "margin, got 'randm': did you mean random?"),
        ("describe a.npy b.npy", "expected arguments of genraven describe, got b.npy: see `genraven describe --help`."),
        ("fit -c recipe/regularised.yaml -c model/gpt2_tiny.yaml", "expected a class for model.network before an "
         "option of it, got model.network.dropout: name a model before, such as -c model/gpt2_tiny.yaml."),
        ("complete R p.npy --max-eror 1", "expected arguments of genraven complete, got --max-eror 1: did you mean "
         "--max-error?"),
    ],
)  # fmt: skip
def test_each_is_refused_in_one_line(line: str, said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(line.split()) == 2
    printed = capsys.readouterr()
    assert (printed.out, printed.err) == ("", f"genraven: error: {said}\n")


def test_a_gpu_that_is_not_there_is_named(in_tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    options = ["-c", "model/gpt2_tiny.yaml", "-c", "data/demo.yaml", "-c", "trainer/gpu.yaml", "--run_dir", "run"]
    assert main(["fit", *options]) == 2
    last = capsys.readouterr().err.splitlines()[-1]
    assert last.startswith(
        "genraven: error: expected a GPU for --trainer.accelerator gpu, got a machine on which torch"
    )
    assert not Path("run").exists()


def test_a_file_that_is_not_there_or_is_no_text_is_told(in_tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["describe", "none.npy"]) == 2
    assert "(No such file or directory): check the path and who may read it." in capsys.readouterr().err
    Path("grid.yaml").write_bytes(b"\x93NUMPY")
    assert main(["sweep", "grid.yaml", "--local", "1"]) == 2
    assert "it is no text in UTF-8" in capsys.readouterr().err


def test_a_folder_of_runs_is_told_from_a_run(in_tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("runs/a").mkdir(parents=True)
    Path("runs/a/summary.json").write_text("{}")
    assert main(["sample", "runs", "--num", "1"]) == 2
    assert "got runs without a complete checkpoint: train it first." in capsys.readouterr().err
    Path("runs/b/checkpoints").mkdir(parents=True)
    Path("runs/b/checkpoints/step-00000005.ckpt").touch()
    assert main(["sample", "runs", "--num", "1"]) == 2
    assert "got runs without a complete checkpoint: name a run in it, such as runs/b." in capsys.readouterr().err
    assert main(["sample", "runs/b/checkpoints", "--num", "1"]) == 2
    assert "got its checkpoints: give runs/b, or a checkpoint in runs/b/checkpoints." in capsys.readouterr().err
