"""What a model was trained in is what it is validated, evaluated and sampled in."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny import fit

from genraven.errors import InputError
from launch.cli import main
from launch.trained.evaluate import score_model
from launch.trained.load import load_run
from launch.trained.numerics import Numerics

QUICK = [
    *("--trainer.max_steps", "4", "--trainer.val_check_interval", "4", "--trainer.precision", "bf16-mixed"),
    *("--data.eval_rules", "number", "--data.eval_batch_size", "28"),
]
BF16 = {"precision": "bf16-mixed", "tf32": False, "compiled": False}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run on the CPU in bf16-mixed."""
    folder = tmp_path_factory.mktemp("bf16")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GENRAVEN_CACHE", str(folder / "cache"))
        assert main(fit(folder / "run", *QUICK)) == 0
    return folder / "run"


def test_the_loss_of_the_last_validation_comes_back_in_its_own_precision_alone(run: Path) -> None:
    validated = json.loads((run / "summary.json").read_text())["metrics"]["val/loss"]

    def loss(precision: str | None) -> float:
        model, data, checkpoint = load_run(run, "cpu")
        numerics = Numerics.of(checkpoint, model.device, precision)
        numerics.prepare(model)
        with numerics.at_work(model.device):
            return score_model(model, data, "val", data.eval_batch_size)[0].values["loss"]

    assert loss(None) == pytest.approx(validated, rel=1e-7)
    for other in ("32-true", "bf16-true"):
        assert 1e-6 < abs(loss(other) / validated - 1) < 1e-2


def test_evaluations_say_what_they_were_computed_in_and_are_told_apart_by_it(run: Path, in_tmp_path: Path) -> None:
    command = ["evaluate", str(run), "--puzzles-per-rule", "2", "--out", "found.json"]
    for options in ([], [], ["--precision", "32-true"]):
        assert main([*command, *options]) == 0
    found = json.loads(Path("found.json").read_text())
    assert [result["numerics"] for result in found["results"]] == [BF16, BF16 | {"precision": "32-true"}]
    assert len(found["run"]["eval_rules"]) == 7


def test_an_exported_model_samples_as_its_run_does(run: Path, in_tmp_path: Path) -> None:
    assert main(["export", str(run), "--out", "model"]) == 0
    assert json.loads(Path("model/card.json").read_text())["numerics"] == BF16
    for source, out in ((str(run), "a.npy"), ("model", "b.npy")):
        assert main(["sample", source, "--num", "4", "--out", out]) == 0
    assert np.array_equal(np.load("a.npy"), np.load("b.npy"))


def test_an_older_checkpoint_is_of_float32_and_a_cpu_neither_compiles_nor_has_tf32() -> None:
    assert Numerics.of({}, torch.device("cpu")) == Numerics("32-true", tf32=False, compiled=False)
    trained = {"numerics": Numerics("bf16-mixed", tf32=True, compiled=True).as_json()}
    assert Numerics.of(trained, torch.device("cpu")).as_json() == BF16
    assert Numerics.of(trained, torch.device("cuda")) == Numerics("bf16-mixed", tf32=True, compiled=True)
    with pytest.raises(InputError, match="--precision to be one of .*, got fp8"):
        Numerics.of({}, torch.device("cpu"), "fp8")
    before = torch.get_float32_matmul_precision()
    with Numerics(tf32=True).at_work(torch.device("cpu")):
        assert torch.get_float32_matmul_precision() == "high"
    assert torch.get_float32_matmul_precision() == before
