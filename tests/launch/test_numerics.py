"""What a model was trained in is what it is validated, evaluated and sampled in."""

import json
import subprocess
import sys
from dataclasses import FrozenInstanceError, asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tiny import fit

import genraven
from genraven.errors import InputError
from genraven.puzzles.generate import generate
from genraven.puzzles.masks import last_panel_mask
from launch.cli import main
from launch.trained.model import load
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
        model = load(run, device="cpu", precision=precision, batch_size=28)
        return model.evaluate("val", model.data.eval_puzzles_per_rule).values["loss"]

    assert loss(None) == pytest.approx(validated, rel=1e-7)
    for other in ("32-true", "bf16-true"):
        assert 1e-6 < abs(loss(other) / validated - 1) < 1e-2


def test_a_model_is_opened_without_a_draw_of_the_callers(run: Path) -> None:
    before = torch.get_rng_state()
    load(run, device="cpu").generate(1)
    assert torch.equal(torch.get_rng_state(), before)


def test_arrays_of_any_whole_numbers(run: Path) -> None:
    model, puzzles = load(run, device="cpu"), generate(3, 0, 2)
    wanted = model.complete(puzzles)
    assert torch.equal(model.complete(puzzles.numpy().astype(">i4")), wanted)
    for wrong, said in ((np.uint64, "to 9223372036854775807"), (">f4", "got >f4"), (np.longdouble, "got float128")):
        with pytest.raises(InputError, match=said):
            model.complete(puzzles.numpy().astype(wrong))


def test_evaluations_say_what_they_were_computed_in_and_are_told_apart_by_it(run: Path, in_tmp_path: Path) -> None:
    command = ["evaluate", str(run), "--puzzles-per-rule", "2", "--out", "found.json"]
    for options in ([], [], ["--precision", "32-true"]):
        assert main([*command, *options]) == 0
    found = json.loads(Path("found.json").read_text())
    assert [result["numerics"] for result in found["results"]] == [BF16, BF16 | {"precision": "32-true"}]
    assert len(found["run"]["eval_rules"]) == 7


@pytest.mark.parametrize("precision", [None, "bf16-true", "64-true"])
def test_methods_of_the_module_compute_as_the_model_does(run: Path, precision: str | None) -> None:
    """Also in an autocast of another kind, and with another default."""
    model = load(run, device="cpu", precision=precision)
    puzzles, mask = generate(0, 0, 4), last_panel_mask(4)
    module = model.sampling_by(temperature=0.9).module
    with model.at_work():
        expected = module.log_probability(puzzles, mask)
    with torch.autocast("cpu", torch.bfloat16, enabled=precision is not None):
        found = module.log_probability(puzzles, mask)
    assert torch.equal(found.cells, expected.cells)


def test_an_exported_model_samples_as_its_run_does(run: Path, in_tmp_path: Path) -> None:
    assert main(["export", str(run), "--out", "model"]) == 0
    assert json.loads(Path("model/card.json").read_text())["numerics"] == BF16
    for source, out in ((str(run), "a.npy"), ("model", "b.npy")):
        assert main(["sample", source, "--num", "4", "--out", out]) == 0
    assert np.array_equal(np.load("a.npy"), np.load("b.npy"))


def test_an_older_checkpoint_is_of_float32_and_a_cpu_neither_compiles_nor_has_tf32() -> None:
    assert Numerics.of({}, torch.device("cpu")) == Numerics("32-true", tf32=False, compiled=False)
    trained = {"numerics": asdict(Numerics("bf16-mixed", tf32=True, compiled=True))}
    assert asdict(Numerics.of(trained, torch.device("cpu"))) == BF16
    assert Numerics.of(trained, torch.device("cuda")) == Numerics("bf16-mixed", tf32=True, compiled=True)
    with pytest.raises(InputError, match="expected precision= to be one of .*, got fp8"):
        Numerics.of({}, torch.device("cpu"), "fp8")
    before = torch.get_float32_matmul_precision()
    with Numerics(tf32=True).at_work(torch.device("cpu")):
        assert torch.get_float32_matmul_precision() == "high"
    assert torch.get_float32_matmul_precision() == before


def test_importing_the_package_imports_nothing_heavy() -> None:
    code = "import sys, genraven; print({'torch', 'numpy', 'lightning', 'launch'} & sys.modules.keys(), genraven.load)"
    shown = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout
    assert shown.startswith("set() <function load")
    with pytest.raises(AttributeError, match="no attribute 'lode'"):
        genraven.lode  # noqa: B018


def test_a_model_in_python_gives_what_the_commands_write(run: Path, in_tmp_path: Path) -> None:
    """As tensors on the CPU, whatever the size of batches and the kind of what is given."""
    np.save("p.npy", generate(3, 0, 5).numpy())
    command = ["--seed", "3", "--device", "cpu", "--completion-temperature", "2"]
    assert main(["sample", str(run), *command, "--num", "5", "--out", "drawn.npy"]) == 0
    assert main(["complete", str(run), "p.npy", *command, "--out", "done.npy"]) == 0
    model = genraven.load(run, device="cpu", seed=3, batch_size=2, sampling={"completion_temperature": 2.0})
    drawn, done = (torch.from_numpy(np.load(name)) for name in ("drawn.npy", "done.npy"))
    assert torch.equal(torch.cat([model.generate(2), model.generate(3, start=2)]), drawn)
    puzzles = np.load("p.npy")
    for given in (puzzles, torch.from_numpy(puzzles), puzzles.astype(np.int64)[::-1][::-1]):
        for mask in (None, last_panel_mask(5), last_panel_mask(1)[0].numpy()):
            assert torch.equal(model.complete(given, mask), done)
    assert torch.equal(model.complete(puzzles[3:], start=3), done[3:])
    assert main(["evaluate", str(run), *command, "--puzzles-per-rule", "2", "--out", "found.json"]) == 0
    (found,) = json.loads(Path("found.json").read_text())["results"]
    scores = json.loads(json.dumps(model.evaluate(puzzles_per_rule=2).as_json()))
    assert {name: scores[name] for name in ("c3", "completion")} == {
        name: found["metrics"][name] for name in ("c3", "completion")
    }
    assert model.data.eval_puzzles_per_rule == 4  # nothing of it has changed


def test_an_opened_model_does_not_change(run: Path) -> None:
    model = genraven.load(run, device="cpu")
    before, drawn = model.sampling, model.generate(4)
    other = model.sampling_by(temperature=0.1)
    assert other.sampling != model.sampling == before and other.module.network is model.module.network
    assert not torch.equal(other.generate(4), drawn)
    assert torch.equal(model.generate(4), drawn)
    assert other.digest == model.digest
    with pytest.raises(FrozenInstanceError):
        model.numerics = Numerics()  # type: ignore[misc]


def test_what_a_model_cannot_use_is_refused_in_one_line(run: Path, tmp_path: Path) -> None:
    model, puzzles = genraven.load(run, device="cpu"), generate(3, 0, 2)
    float_puzzles, wrong = puzzles.float(), puzzles.int()
    wrong[1, 0, 0, 0] = 256
    high = puzzles.clone()
    high[1, 0, 0, 0] = 100
    every: dict[str, Any] = {"mask": np.ones((9, 9), bool)}
    for does, says in (
        (lambda: model.generate(0), "expected num= to be 1 or more, got 0"),
        (lambda: model.generate(2, "position.xor"), "expected no rules for a network without labels"),
        (lambda: model.generate(2, "position.xorr"), "did you mean 'position.xor'?"),
        (lambda: model.generate(2, "none"), "got an empty selection"),
        (lambda: model.complete(puzzles, rules="position"), "one rule of each puzzle, got position, which names"),
        (lambda: model.complete(puzzles, rules=[0, 1, 2]), "one rule of all 2 puzzles, or one of each, got 3"),
        (lambda: model.complete(puzzles[0]), "got torch.int8 of (3, 9, 9): give a torch tensor"),
        (lambda: model.complete(puzzles[:0]), "B of 1 or more, got torch.int8 of (0, 3, 9, 9)"),
        (lambda: model.complete(float_puzzles), "whole numbers (B, 3, 9, 9), B of 1 or more, got torch.float32"),
        (lambda: model.complete(float_puzzles.bool().numpy()), "whole numbers (B, 3, 9, 9), B of 1 or more, got bool"),
        (lambda: model.complete(puzzles.tolist()), "whole numbers (B, 3, 9, 9), B of 1 or more, got list"),
        (lambda: model.complete(wrong), "small whole numbers, got -1 to 256"),
        (lambda: model.complete(high.numpy()), "got 100 in puzzle 1 at (0, 0)"),
        (lambda: model.complete(puzzles, last_panel_mask(3)), "mask (9, 9) or (2, 9, 9), got torch.bool of (3, 9, 9)"),
        (lambda: model.complete(puzzles, last_panel_mask(2).int()), "got torch.int32 of (2, 9, 9)"),
        (lambda: model.complete(puzzles, **every), "leaves all open in puzzle 0"),
        (lambda: model.decide(puzzles, max_error=0.05), "expected a calibration in"),
        (lambda: model.evaluate("train"), "expected split= to be val or test, got 'train'"),
        (lambda: model.evaluate(puzzles_per_rule=0), "expected puzzles_per_rule= to be 1 or more, got 0"),
        (lambda: model.evaluate(given_corruption=2), "expected given_corruption= to be a fraction from 0 to 1, got 2"),
        (lambda: model.sampling_by(steps=3), "one of temperature=, "),
        (lambda: genraven.load(run, sampling={"top_k": 0}), "top_k=0: expected top_k to be 1 or more, got 0"),
        (lambda: genraven.load(run, batch_size=0), "expected batch_size= to be 1 or more, got 0"),
        (lambda: genraven.load(run, device="tpu9"), "expected device= to be one of this machine's, got tpu9"),
        (lambda: genraven.load(run, precision="fp8"), "expected precision= to be one of"),
        (lambda: genraven.load(run, plugins=["no_such_module"]), "a module that can be imported, got no_such_module"),
        (lambda: genraven.load(tmp_path), "expected a run folder with checkpoints"),
    ):
        with pytest.raises(InputError) as error:
            does()  # type: ignore[no-untyped-call]
        assert says in str(error.value) and "\n" not in str(error.value), says
