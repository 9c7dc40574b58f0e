"""Training on puzzles with unknown cells, from the command: every family, gone on with, and with older runs beside."""

from pathlib import Path

import pytest
import torch
import yaml
from tiny import FAMILIES, assert_same_run, curves, fault, fit, last_state

from genraven.signals import REQUEUE
from launch.cli import main
from launch.configs.identity import build, refuse_other
from launch.trained.load import load_run
from launch.training.resolve import resolve

MISSING = ["--data.corruption.missing", "0.3"]
SHORT = ["--trainer.max_steps", "4", "--trainer.val_check_interval", "4"]
MODELS = ["gpt2_tiny", "mdm_tiny", "sit_onehot_tiny", "sit_tiny", "edm_tiny", "mamba_tiny", "relational_ar_tiny",
          "relational_mdm_tiny", "relational_sit_onehot_tiny"]  # fmt: skip
SMALL = [
    *("-c", "data/demo.yaml", "-c", "trainer/debug.yaml", "--trainer.accelerator", "cpu"),
    *("--data.samples_per_rule", "30", "--data.global_batch_size", "8", "--trainer.enable_progress_bar", "false"),
    *("--data.eval_puzzles_per_rule", "1", "--trainer.limit_val_batches", "0", "--trainer.max_steps", "2"),
]


def reads_unknown(run: Path) -> bool | None:
    network = yaml.safe_load((run / "config.yaml").read_text())["model"]["init_args"]["network"]
    found: bool | None = network["init_args"].get("reads_unknown")
    return found


@pytest.mark.parametrize("model", MODELS)
def test_every_family_trains_on_missing_cells(model: str, tmp_path: Path) -> None:
    assert main(["fit", "-c", f"model/{model}.yaml", *SMALL, *MISSING, "--run_dir", str(tmp_path / "run")]) == 0
    losses = [value for _, value in curves(tmp_path / "run")["train/loss"]]
    assert len(losses) == 2
    assert all(0 < value < 10 for value in losses)
    assert reads_unknown(tmp_path / "run") is (None if "mdm" in model else True)
    module, data, _ = load_run(tmp_path / "run", "cpu")
    assert data.has_missing
    assert module.generate(1, None, torch.Generator().manual_seed(0)).shape == (1, 3, 9, 9)


@pytest.mark.parametrize("family", ["autoregressive", "diffusion"])
def test_a_run_on_missing_cells_goes_on_to_the_last_bit(family: str, tmp_path: Path) -> None:
    whole, run = tmp_path / "whole", tmp_path / "run"
    options = [*MISSING, "--data.corruption.missing_panels", "0.1", "--trainer.max_steps", "10"]
    assert main(fit(whole, *options, family=family)) == 0
    assert main(fit(run, *options, *fault("SignalInStep", step=6), family=family)) == REQUEUE
    assert main(fit(run, *options, family=family)) == 0
    assert_same_run(run, whole)


def test_a_run_without_missing_cells_is_as_it_was(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A run of before knew nothing of missing cells: it is the same run, with the same parameters."""
    assert main(fit(tmp_path / "run", *SHORT, "--data.corruption.cells", "0.1")) == 0
    checkpoint = last_state(tmp_path / "run")
    now = checkpoint["genraven_config"]
    before = yaml.safe_load(yaml.safe_dump(now))
    assert before["model"]["init_args"]["network"]["init_args"].pop("reads_unknown") is None
    assert before["data"]["corruption"].pop("missing") == before["data"]["corruption"].pop("missing_panels") == 0
    refuse_other(before, now, tmp_path)
    model, data = build(before)
    assert not any("unknown" in name for name in model.state_dict())
    model.load_state_dict(checkpoint["state_dict"])
    assert not data.has_missing
    assert main(fit(tmp_path / "run", *SHORT, "--data.corruption.cells", "0.1", *MISSING)) == 2
    assert "a run with data.corruption.missing 0.0 instead of 0.3" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--data.corruption.missing", "0.6"], "corruption.missing to be a fraction from 0 to 0.5, got 0.6"),
        (["--data.corruption.cells", "-1"], "corruption.cells to be a fraction from 0 to 1, got -1.0"),
        (
            ["--data.corruption.missing_panels", "-1"],
            "corruption.missing_panels to be a fraction from 0 to 0.5, got -1.0",
        ),
        ([*MISSING, "--model.network.reads_unknown", "false"], "set model.network.reads_unknown to true or null"),
    ],
)
def test_bad_input_is_one_line_and_writes_nothing(
    options: list[str], says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(fit(tmp_path / "run", *options)) == 2
    (line,) = [line for line in capsys.readouterr().err.splitlines() if "error" in line]
    assert says in line
    assert list(tmp_path.iterdir()) == []
    grid = tmp_path / "grid.yaml"
    grid.write_text(yaml.safe_dump({"base": " ".join([*FAMILIES["autoregressive"], *options]), "axes": {"seed": [0]}}))
    assert main(["sweep", str(grid), "--local", "1", "--dry-run"]) == 2
    assert says in capsys.readouterr().err


def test_first_weights_are_of_a_network_that_reads_missing_cells_too(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Or of one that does not, where neither has to: false says what null does on whole puzzles."""
    whole, reading = tmp_path / "whole", tmp_path / "reading"
    assert main(fit(whole, *SHORT)) == main(fit(reading, *SHORT, "--model.network.reads_unknown", "true")) == 0
    capsys.readouterr()
    assert main(fit(tmp_path / "no", *SHORT, *MISSING, "--init_from", str(whole))) == 2
    assert "train the first run with --model.network.reads_unknown true" in capsys.readouterr().err
    assert main(fit(tmp_path / "no", *SHORT, "--init_from", str(reading))) == 2
    assert "train this one with --model.network.reads_unknown true" in capsys.readouterr().err
    assert not (tmp_path / "no").exists()
    assert main(fit(tmp_path / "missing", *SHORT, *MISSING, "--init_from", str(reading))) == 0
    said_so = ["--model.network.reads_unknown", "false"]
    assert main(fit(tmp_path / "same", *SHORT, *said_so, "--init_from", str(whole))) == 0


def test_masked_inputs_make_a_network_read_unknown_cells() -> None:
    """And a recipe that regularises leaves the rate of the model as it is."""
    method = ["--model.method", "genraven.methods.autoregressive.Autoregressive", "--model.method.input_masking", "0.1"]
    configs = ["-c", "model/gpt2_tiny.yaml", "-c", "data/demo.yaml", "-c", "recipe/regularised.yaml"]
    model = resolve(["fit", *configs, *method]).config["model"]["init_args"]
    assert model["network"]["init_args"]["reads_unknown"] is True
    optimizer = model["optimizer"]["init_args"]
    assert (optimizer["lr"], optimizer["weight_decay"], model["network"]["init_args"]["dropout"]) == (0.005, 3.0, 0.1)
