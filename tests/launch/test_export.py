"""genraven export: a folder that any program can read, and that nothing is executed of."""

import errno
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny import fit, last_state

from launch.cli import main
from launch.runs.exported import DESCRIPTION, WEIGHTS
from launch.trained.load import load_run

SHORT = ["--trainer.max_steps", "3", "--trainer.val_check_interval", "3"]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A run of the diffusion family, which keeps averages of its weights."""
    folder = tmp_path_factory.mktemp("runs")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GENRAVEN_CACHE", str(folder / "cache"))
        assert main(fit(folder / "run", *SHORT, "--data.cache_dir", str(folder / "cache"), family="diffusion")) == 0
        yield folder / "run"


@pytest.fixture
def exported(run: Path, in_tmp_path: Path) -> Path:
    """What was exported of it, in an empty folder."""
    assert main(["export", str(run), "--out", "model"]) == 0
    return Path("model")


def error_of(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    capsys.readouterr()
    assert main(arguments) == 2
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("genraven: error:")]
    return line


def test_the_averaged_weights_and_what_they_are(run: Path, exported: Path) -> None:
    weights, state = load_file(exported / WEIGHTS), last_state(run)
    assert weights.keys() == state["state_dict"].keys()
    assert all(torch.equal(value, state["state_dict"][name]) for name, value in weights.items())
    assert any(not torch.equal(value, state["current_model_state"][name]) for name, value in weights.items())
    description = json.loads((exported / DESCRIPTION).read_text())
    summary = json.loads((run / "summary.json").read_text())
    found = [description[name] for name in ("family", "network", "process", "step")]
    assert found == ["diffusion", "DiT", "Flow", 3]
    assert description["parameters"] == summary["parameters"]
    assert description["averaged_weights"]
    assert description["data"] == {
        "samples_per_rule": 30,
        "source": None,
        "seed": 0,
        "trained_rules": ["shape.constant", "size.constant", "color.constant"],
        "held_out_rules": [],
    }
    assert description["validation"]["c3"] == {"value": summary["metrics"]["val/c3"], "count": 12}
    assert description["git_commit"] == summary["git_commit"]
    assert str(run.parent) not in (exported / DESCRIPTION).read_text()
    assert sorted(path.name for path in exported.parent.iterdir()) == ["model"]


def test_metrics_of_another_step_are_left_out(run: Path, in_tmp_path: Path) -> None:
    results = [{"step": step, "metrics": {"c3": step}} for step in (2, 3)]
    (run / "evaluation.json").write_text(json.dumps({"version": 1, "results": results}))
    summary = json.loads((run / "summary.json").read_text())
    (run / "summary.json").write_text(json.dumps(summary | {"step": 2}))
    assert main(["export", str(run), "--out", "model"]) == 0
    (run / "evaluation.json").unlink()
    (run / "summary.json").write_text(json.dumps(summary))
    description = json.loads(Path("model", DESCRIPTION).read_text())
    assert description["validation"] is None
    assert description["evaluations"] == results[1:]


def test_it_does_what_the_run_does(run: Path, exported: Path) -> None:
    assert main(["generate", "--rules", "number", "--num", "1", "--out", "p.npy"]) == 0
    for number, model in enumerate((run, exported)):
        assert main(["sample", str(model), "--num", "3", "--out", f"s{number}.npy"]) == 0
        assert main(["complete", str(model), "p.npy", "--out", f"c{number}.npy"]) == 0
    assert np.array_equal(np.load("s0.npy"), np.load("s1.npy"))
    assert np.array_equal(np.load("c0.npy"), np.load("c1.npy"))
    assert main(["evaluate", str(exported), "--puzzles-per-rule", "1"]) == 0
    assert json.loads((exported / "evaluation.json").read_text())["results"][0]["step"] == 3
    model, data, found = load_run(exported, "cpu")
    assert model.generate(2).shape == (2, 3, 9, 9)
    assert data.samples_per_rule == 30
    assert found["description"]["step"] == 3
    assert main([*fit(Path("tuned"), *SHORT, family="diffusion"), "--init-from", str(exported)]) == 0
    assert last_state(Path("tuned"))["global_step"] == 3


def test_what_cannot_be_exported_or_gone_on_from(run: Path, exported: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = (exported / DESCRIPTION).read_bytes()
    assert "not there yet, got model" in error_of(["export", str(run), "--out", "model"], capsys)
    assert (exported / DESCRIPTION).read_bytes() == before
    assert "exported already" in error_of(["export", "model", "--out", "again"], capsys)
    assert "missing" in error_of(["export", "missing", "--out", "again"], capsys)
    going_on = [*fit(Path("r"), family="diffusion"), "--ckpt_path", "model"]
    assert "give it to --init-from" in error_of(going_on, capsys)
    assert sorted(path.name for path in Path().iterdir()) == ["model"]


def test_a_full_disk_leaves_nothing(
    run: Path, in_tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(weights: Any, path: Path) -> None:
        path.write_bytes(b"half")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("launch.runs.exported.save_file", full)
    assert "No space left" in error_of(["export", str(run), "--out", "model"], capsys)
    assert list(in_tmp_path.iterdir()) == []


def without_digest(folder: Path) -> dict[str, Any]:
    """A description as older versions, or somebody, wrote it."""
    description: dict[str, Any] = json.loads((folder / DESCRIPTION).read_text())
    del description["digest"]
    return description


def edit(folder: Path) -> None:
    """Leaves the digest as it was."""
    text = (folder / DESCRIPTION).read_text()
    (folder / DESCRIPTION).write_text(text.replace('"num_heads": 2', '"num_heads": 1'))


def change(folder: Path, **settings: Any) -> None:
    description = without_digest(folder)
    (folder / DESCRIPTION).write_text(json.dumps(description | settings))


def set_model(folder: Path, **settings: Any) -> None:
    description = without_digest(folder)
    description["config"]["model"]["init_args"] |= settings
    (folder / DESCRIPTION).write_text(json.dumps(description))


def swap_weights(folder: Path) -> None:
    weights = load_file(folder / WEIGHTS)
    save_file({name: value + 1 for name, value in weights.items()}, folder / WEIGHTS)


def tear(folder: Path) -> None:
    whole = (folder / WEIGHTS).read_bytes()
    (folder / WEIGHTS).write_bytes(whole[: len(whole) // 2])


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda folder: (folder / DESCRIPTION).unlink(), "a description in model/card.json, got none (No such file"),
        (lambda folder: (folder / DESCRIPTION).write_text("{"), "it is no JSON"),
        (lambda folder: (folder / DESCRIPTION).write_text("[]"), "expected format in model/card.json, got None"),
        (lambda folder: change(folder, format=2), "expected format 1 in model/card.json, got 2"),
        (lambda folder: change(folder, config={"model": {}}), "expected config.data in"),
        (lambda folder: change(folder, family="autoregressive"), "family"),
        (lambda folder: (folder / WEIGHTS).unlink(), "expected weights in model/model.safetensors, got none (No such"),
        (tear, "it is torn, or no safetensors"),
        (edit, "expected model/card.json as it was written, got content that its digest does not fit"),
        (swap_weights, "expected the weights that model/card.json describes"),
        (lambda folder: set_model(folder, ema=0.9), "expected a config that this version of genraven can build"),
    ],
)
def test_a_broken_export_is_one_line(
    change: Callable[[Path], Any], says: str, exported: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    change(exported)
    assert says in error_of(["sample", "model"], capsys)
    assert sorted(path.name for path in Path().iterdir()) == ["model"]


TRAP = "trap.Network"


@pytest.mark.parametrize(
    "settings",
    [
        {"network": {"class_path": TRAP}},
        {"network": TRAP},
        {"network": f'{{"class_path": "{TRAP}"}}'},
        {"network": f"genraven.networks: {{class_path: {TRAP}}}"},
        {"optimizer": TRAP},
        {"optimizer": {"class_path": f"torch.optim.SGD\n{TRAP}"}},
        {"sampler": [{"class_path": TRAP}]},
    ],
)
def test_classes_of_other_libraries_are_not_imported(
    settings: dict[str, Any], exported: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("trap.py").write_text("raise SystemExit('the trap has gone off')")
    monkeypatch.syspath_prepend(Path.cwd())
    set_model(exported, **settings)
    assert "expected classes of genraven in a checkpoint, got" in error_of(["sample", "model"], capsys)
