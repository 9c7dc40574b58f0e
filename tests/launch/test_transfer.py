"""fit --init-from: the weights of another run, and nothing else of it."""

import json
import logging
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from tiny import fit, last_state, steps

from callbacks import InitialWeights
from launch.cli import main
from launch.configs.identity import build, config_hash
from launch.trained.load import load_run

SHORT = ["--trainer.max_steps", "3", "--trainer.val_check_interval", "3"]
STILL = ["--model.optimizer.lr", "0", *SHORT]
RECALLING = ["--model.method.self_conditioning", "true", "--model.network.in_channels", "6"]
HELD_OUT = ["-c", "data/transfer.yaml", "--data.eval_rules", "split0", "--data.samples_per_rule", "1"]


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A run of the diffusion family, which keeps averages of its weights."""
    folder = tmp_path_factory.mktemp("runs")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GENRAVEN_CACHE", str(folder / "cache"))
        assert main(fit(folder / "source", *SHORT, family="diffusion")) == 0
        yield folder / "source"


def tune(run: Path, source: Path | str, *more: str) -> list[str]:
    return [*fit(run, *STILL, family="diffusion"), "--init-from", str(source), *more]


def origin(run: Path) -> dict[str, Any]:
    """Where the newest checkpoint of a run says that its first weights came from."""
    (state,) = [state for name, state in last_state(run)["callbacks"].items() if name == "InitialWeights"]
    callback = InitialWeights()
    callback.load_state_dict(state)
    found: dict[str, Any] = callback.report()["init_from"]
    return found


def error_of(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    capsys.readouterr()
    assert main(arguments) == 2
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("genraven: error:")]
    return line


def test_averaged_weights_are_taken_and_nothing_else(source: Path, tmp_path: Path) -> None:
    """Five rules with a puzzle each, fewer than a batch has; with a learning rate of 0 the weights stay."""
    run = tmp_path / "tuned"
    assert main(tune(run, source, *HELD_OUT)) == 0
    before, after = last_state(source), last_state(run)
    raw = before["current_model_state"]
    assert any(not torch.equal(value, raw[name]) for name, value in before["state_dict"].items())
    for part in ("state_dict", "current_model_state"):
        for name, value in after[part].items():
            # An average of equal weights is off by a rounding at most.
            torch.testing.assert_close(value, before["state_dict"][name], rtol=1e-6, atol=1e-7)
    assert steps(run) == [3]
    assert after["optimizer_states"][0]["state"][0]["step"] == 3
    assert json.loads((run / "summary.json").read_text())["puzzles"] == 3 * 8
    assert origin(run) == {"checkpoint": str(source / "checkpoints" / "step-00000003.ckpt"), "step": 3}


def test_first_weights_do_not_say_what_decays(source: Path, tmp_path: Path) -> None:
    """Of a run in which nothing decayed, whose parameters are one group, as of weights without an optimizer."""
    (group,) = last_state(source)["optimizer_states"][0]["param_groups"]
    assert group["weight_decay"] == 0
    assert main(tune(tmp_path / "run", source, *HELD_OUT, "--model.optimizer.weight_decay", "0.1")) == 0
    groups = last_state(tmp_path / "run")["optimizer_states"][0]["param_groups"]
    assert sorted(group["weight_decay"] for group in groups) == [0, 0.1]


def test_only_the_first_start_needs_the_other_run(
    source: Path, in_tmp_path: Path, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(source, "gone")
    run = in_tmp_path / "tuned"
    with caplog.at_level(logging.INFO):
        assert main(tune(run, "gone")) == 0
    assert "begins with the weights of" in caplog.text
    noted = yaml.safe_load((run / "config.yaml").read_text())
    assert noted["init_from"] == str(in_tmp_path / "gone")
    shutil.rmtree("gone")
    caplog.clear()
    with caplog.at_level(logging.INFO):
        assert main(tune(run, "gone", "--trainer.max_steps", "4")) == 0
    assert "begins with" not in caplog.text
    assert last_state(run)["global_step"] == 4
    assert origin(run)["step"] == 3
    assert "init_from" in error_of(tune(run, source), capsys)
    assert "init_from" in error_of(fit(run, *STILL, family="diffusion"), capsys)
    assert load_run(run, "cpu")[0].family == "diffusion"  # the config in its checkpoint says more than the model's


def test_first_weights_tell_runs_apart() -> None:
    config = {"model": {"a": 1}, "data": {"b": 2}}
    assert config_hash(config) == config_hash(config | {"init_from": None})
    assert len({config_hash(config | {"init_from": name}) for name in (None, "/x", "/y")}) == 3


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--model.network.width", "48"], "width 24 instead of 48: give the model config"),
        (["--model.network.num_heads", "4"], "num_heads 2 instead of 4"),  # whose weights have the same shapes
        (["--model.method.process", "genraven.methods.gaussian.edm.Edm"], "process.class_path"),
        (RECALLING, "method.init_args.self_conditioning False instead of True: give the model config"),
        (["--init-from", "missing"], "missing"),
        (["--ckpt_path", "SOURCE", "--model.optimizer.lr", "0.005"], "got both, and --init_from has no effect then"),
    ],
)
def test_weights_of_another_model_are_refused(
    options: list[str], says: str, source: Path, in_tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = [str(source) if word == "SOURCE" else word for word in options]
    assert says in error_of(tune(in_tmp_path / "tuned", source, *options), capsys)
    assert list(in_tmp_path.iterdir()) == []


def test_another_family_is_refused(source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    message = error_of([*fit(tmp_path / "tuned"), "--init-from", str(source)], capsys)
    assert "DiffusionModule' instead of 'lightning_modules.AutoregressiveModule'" in message


def test_dropout_may_be_another(source: Path, tmp_path: Path) -> None:
    config = last_state(source)["genraven_config"]
    assert build(config | {"init_from": "/somewhere"})[0].family == "diffusion"
    assert main([*fit(tmp_path / "a", *SHORT), "--model.network.dropout", "0"]) == 0
    assert main([*fit(tmp_path / "b", *SHORT), "--init-from", str(tmp_path / "a")]) == 0  # with dropout 0.1


def test_a_submission_is_checked_and_finds_the_weights_from_anywhere(
    source: Path, in_tmp_path: Path, fake_slurm: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    calls, submit = fake_slurm(), ["submit", "--cluster", "cluster/cpu.yaml", "--"]
    shutil.copytree(source, "other")
    assert "width 24 instead of 48" in error_of(
        [*submit, *tune(in_tmp_path / "tuned", "other", "--model.network.width", "48")], capsys
    )
    assert not Path("tuned").exists()
    assert "sbatch" not in calls.read_text()
    assert main([*submit, *tune(in_tmp_path / "tuned", "other")]) == 0
    config = yaml.safe_load(Path("tuned/job/config.yaml").read_text())
    assert config["init_from"] == str(in_tmp_path / "other")
