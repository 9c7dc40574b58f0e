"""What may change while a run goes on, and what makes it another."""

import json
from pathlib import Path
from typing import Any

import lightning.pytorch.callbacks as lightning_callbacks
import pytest
import yaml
from tiny import fault, fit, last_state, steps

from genraven.errors import InputError
from launch.cli import main
from launch.configs.changes import MAY_CHANGE, WATCHING, changed_options, may_change
from launch.configs.identity import config_hash, refuse_other
from launch.runs.status import read_status
from launch.training.resolve import Resolver

FIXED = {  # of the trainer's options; one that a version of Lightning adds is to be thought about
    "precision", "callbacks", "limit_train_batches", "overfit_batches", "gradient_clip_val", "gradient_clip_algorithm",
    "plugins", "sync_batchnorm", "reload_dataloaders_every_n_epochs",
}  # fmt: skip
SHORT = ("--trainer.max_steps", "8", "--trainer.limit_val_batches", "0")
SWA = {"class_path": "lightning.pytorch.callbacks.StochasticWeightAveraging", "init_args": {"swa_lrs": 0.1}}
STOP = "lightning.pytorch.callbacks.EarlyStopping"


def summary(run: Path) -> dict[str, Any]:
    return json.loads((run / "summary.json").read_text())


@pytest.fixture(scope="module")
def config() -> dict[str, Any]:
    """Of ``fit``, as it is resolved."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GENRAVEN_CACHE", "/nowhere")
        return Resolver(fit(Path("run"))).resolve(fit(Path("run")))


def with_option(config: dict[str, Any], option: str, value: Any) -> dict[str, Any]:
    part, _, name = option.partition(".")
    return config | {part: {**config[part], name: value} if name else value}


def test_every_option_is_one_that_may_change_or_not(config: dict[str, Any]) -> None:
    assert {name for name in config["trainer"] if not may_change(f"trainer.{name}")} == FIXED
    nested = {f"{part}.{name}" for part in ("trainer", "data") for name in config[part]}
    assert set(MAY_CHANGE) <= {*config, *nested}
    others = {part for part in config if not may_change(part)}
    assert others == {"model", "data", "init_from", "seed_everything", "trainer"}
    assert all(hasattr(lightning_callbacks, name) for name in WATCHING)


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("trainer.gradient_clip_val", 0.5),
        ("trainer.gradient_clip_algorithm", "value"),
        ("trainer.precision", "bf16-mixed"),
        ("trainer.overfit_batches", 0.5),
        ("trainer.limit_train_batches", 3),
        ("trainer.sync_batchnorm", True),
        ("trainer.callbacks", [SWA]),
        ("trainer.callbacks", [{"class_path": "lightning.pytorch.callbacks.GradientAccumulationScheduler"}]),
        ("trainer.plugins", [{"class_path": "lightning.pytorch.plugins.MixedPrecision"}]),
        ("an_option_to_come", 1),
    ],
)
def test_what_changes_weights_makes_another_run(option: str, value: Any, config: dict[str, Any]) -> None:
    other = with_option(config, option, value)
    for before, now in ((config, other), (other, config)):
        with pytest.raises(InputError, match=f"got a run with {option} .* instead of "):
            refuse_other(before, now, Path("run"))
    assert config_hash(other) != config_hash(config)


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("trainer.devices", 8),
        ("trainer.max_steps", 99),
        ("trainer.callbacks", [{"class_path": STOP, "init_args": {"monitor": "val/c3"}}]),
        ("trainer.callbacks", [{"class_path": "my_plugin.Watch"}]),
        ("trainer.logger", {"class_path": "lightning.pytorch.loggers.CSVLogger", "init_args": {"save_dir": "x"}}),
        ("trainer.precision", "32"),
        ("trainer.precision", None),
        ("run_dir", "elsewhere"),
    ],
)
def test_what_leaves_weights_alone_does_not(option: str, value: Any, config: dict[str, Any]) -> None:
    other = with_option(config, option, value)
    refuse_other(config, other, Path("run"))
    noted = changed_options(config, other)
    assert (config_hash(other) == config_hash(config)) or value is None
    assert [name for name in noted if option in name] == [*noted]
    assert (not noted) == (option in ("trainer.precision", "run_dir"))


def test_an_option_that_is_on_no_list_is_one_of_these(config: dict[str, Any]) -> None:
    """What an older config does not note is taken to be as it is given."""
    other = with_option(config, "trainer.an_option_to_come", 1)
    assert config_hash(other) != config_hash(config)
    refuse_other(config, other, Path("run"))
    with pytest.raises(InputError, match="trainer.an_option_to_come 1 instead of 2"):
        refuse_other(other, with_option(config, "trainer.an_option_to_come", 2), Path("run"))


def test_a_run_that_goes_on_by_another_recipe_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """By its config, and where that is torn by its checkpoint; what may change is noted."""
    run = tmp_path / "run"
    assert main(fit(run, *SHORT)) == 0
    resolved = (run / "config.yaml").read_text()
    for torn in (False, True):
        for option, value in {"gradient_clip_val": "0.5", "precision": "bf16-mixed"}.items():
            (run / "config.yaml").write_text("trainer: [" if torn else resolved)
            assert main(fit(run, *SHORT, "--trainer.max_steps", "12", f"--trainer.{option}", value)) == 2
            assert f"got a run with trainer.{option} " in capsys.readouterr().err
    assert steps(run)[-1] == 8
    (run / "config.yaml").write_text(resolved)
    assert main(fit(run, *SHORT, "--trainer.max_steps", "7")) == 2
    assert "expected --trainer.max_steps of at least 8, the step of " in capsys.readouterr().err
    more = ("--trainer.max_steps", "12", "--checkpoint_every_n_steps", "3", *fault("Slow", step=99))
    assert main(fit(run, *SHORT, *more)) == 0
    (restart,) = summary(run)["restarts"]
    before, now = restart["changed"].pop("trainer.callbacks")
    assert (before, [callback["class_path"] for callback in now]) == (None, ["faults.Slow"])
    assert restart["changed"] == {"checkpoint_every_n_steps": [5, 3], "trainer.max_steps": [8, 12]}
    assert yaml.safe_load((run / "config.yaml").read_text())["trainer"]["max_steps"] == 12


def test_a_checkpoint_of_another_recipe_begins_no_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(fit(tmp_path / "a", *SHORT)) == 0
    other = ("--ckpt_path", str(tmp_path / "a"), "--trainer.max_steps", "9", "--trainer.gradient_clip_val", "0.5")
    assert main(fit(tmp_path / "b", *SHORT, *other)) == 2
    assert "got a run with trainer.gradient_clip_val 1.0 instead of 0.5" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("stop", "reason"),
    [
        ((f"--trainer.callbacks+={STOP}", "--trainer.callbacks.monitor=val/loss", "--trainer.callbacks.mode=max"),
         "EarlyStopping: Monitored metric val/loss did not improve in the last 1 records."),
        (("--trainer.callbacks+=faults.StopsTraining",), "a callback set trainer.should_stop"),
    ],
)  # fmt: skip
def test_a_run_that_a_callback_stopped_is_done(stop: tuple[str, ...], reason: str, tmp_path: Path) -> None:
    """Its reason is kept, and it trains no further, until it is given other callbacks or more steps."""
    run = tmp_path / "run"
    patience = ("--trainer.callbacks.patience=1",) if "EarlyStopping" in reason else ()
    for _ in range(2):
        assert main(fit(run, *stop, *patience)) == 0
        found = summary(run)
        assert (found["state"], found["step"], last_state(run)["global_step"]) == ("stopped", 16, 16)
        assert found["stopped"].startswith(reason)
        assert found["reason"] == f"{found['stopped']}: step 16 of 24"
        assert read_status(run, None).is_done
    assert main(fit(run)) == 0
    assert (summary(run)["state"], summary(run)["stopped"], steps(run)[-1]) == ("finished", None, 24)


def test_a_monitor_that_nobody_logs_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for monitor, hint in (("val/los", "did you mean val/loss?"), ("fun", "choose one of train/")):
        stop = (f"--trainer.callbacks+={STOP}", f"--trainer.callbacks.monitor={monitor}")
        assert main(fit(tmp_path / monitor, *stop)) == 2
        said = capsys.readouterr().err.rstrip().splitlines()[-1]
        assert f"expected the monitor of EarlyStopping to be a metric that is logged, got {monitor!r}: {hint}" in said


def test_a_run_of_so_many_epochs_is_done(tmp_path: Path) -> None:
    run = tmp_path / "run"
    options = ("--trainer.max_epochs", "1", "--trainer.limit_train_batches", "3", "--trainer.val_check_interval", "3")
    assert main(fit(run, *options)) == 0
    assert (summary(run)["state"], summary(run)["stopped"]) == ("stopped", "trainer.max_epochs is 1")
    assert read_status(run, None).is_done


def test_a_run_whose_length_is_epochs_is_finished_after_these_and_stopped_before(tmp_path: Path) -> None:
    run = tmp_path / "run"
    options = ("--trainer.max_steps", "-1", "--model.schedule", "constant", "--trainer.val_check_interval", "3",
               "--trainer.limit_train_batches", "3", "--checkpoint_every_n_steps", "1000")  # fmt: skip
    stop = "--trainer.callbacks+=faults.StopsTraining"
    for more, state, step in (
        (("--trainer.max_epochs", "2", stop), "finished", 6),
        (("--trainer.max_epochs", "2", stop), "finished", 6),
        (("--trainer.max_epochs", "9", stop), "stopped", 16),
        (("--trainer.max_epochs", "9", stop), "stopped", 16),
    ):
        assert main(fit(run, *options, *more)) == 0
        assert (summary(run)["state"], steps(run)[-1]) == (state, step)
        assert (summary(run)["reason"] or "").endswith(": step 16") == (state == "stopped")
