"""Each private part of Lightning that we touch still does what we take it to do."""

import inspect
import signal
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from types import NoneType
from typing import Any, get_args

import jsonargparse
import lightning as L
import pytest
import torch
from jsonargparse import ArgumentParser, set_parsing_settings
from lightning.fabric.plugins.environments import LightningEnvironment, TorchElasticEnvironment
from lightning.pytorch.cli import LightningCLI
from lightning.pytorch.demos.boring_classes import BoringDataModule, BoringModel
from lightning.pytorch.strategies import DDPStrategy

from lightning_modules import lightning_internals
from lightning_modules.lightning_internals import (
    CommandLine,
    ExchangedWeights,
    ParameterSummary,
    count_other_batches,
    ends_step,
    kept_parser_settings,
    leave_signals_alone,
    others_wait,
    repeat_validation,
    set_ddp,
    set_root_folder,
    start_processes,
    validation_follows,
)


def trainer_of(folder: Path, *callbacks: L.Callback, **options: Any) -> L.Trainer:
    quiet: dict[str, Any] = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False}
    quiet |= {
        "enable_model_summary": False,
        "accelerator": "cpu",
        "devices": 1,
        "limit_val_batches": 1,
        "num_sanity_val_steps": 0,
        "max_steps": 4,
    }
    return L.Trainer(default_root_dir=folder, callbacks=[*callbacks], **quiet | options)


class HandlerOfTerm(L.Callback):
    def __init__(self, before: Callable[[L.Trainer], None]) -> None:
        self.before, self.seen = before, signal.SIG_DFL

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        self.before(trainer)

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self.seen = signal.getsignal(signal.SIGTERM)  # type: ignore[assignment]


def test_signals_are_left_alone(tmp_path: Path) -> None:
    ours, theirs = HandlerOfTerm(leave_signals_alone), HandlerOfTerm(lambda trainer: None)
    for watch in (ours, theirs):
        trainer_of(tmp_path, watch, max_steps=1).fit(BoringModel())
    assert ours.seen == signal.getsignal(signal.SIGTERM)
    assert theirs.seen != ours.seen


class AmongOthers(L.Callback):
    """Makes Lightning believe, before the first batch, that there are other processes."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.patch = patch

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self.patch.setattr(torch.distributed, "is_initialized", lambda: True)
        self.patch.setattr(L.Trainer, "world_size", 2)

    def on_train_batch_start(
        self, trainer: L.Trainer, pl_module: L.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        self.patch.undo()


@pytest.mark.parametrize(("prepare", "asks"), [(leave_signals_alone, 0), (lambda trainer: None, 1)])
def test_other_processes_are_not_told_of_sigterm(
    prepare: Callable[[L.Trainer], None], asks: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[Any] = []
    monkeypatch.setattr(torch.distributed, "broadcast", lambda tensor, src: told.append(tensor))
    with pytest.MonkeyPatch.context() as patch:
        callbacks = HandlerOfTerm(prepare), AmongOthers(patch)
        trainer_of(tmp_path, *callbacks, max_steps=1, limit_val_batches=0).fit(BoringModel())
    assert len(told) == asks


def test_a_part_that_is_gone_is_missed() -> None:
    with pytest.raises(AttributeError):
        lightning_internals._replace(object(), "_signal_connector", None)


class Validations(L.Callback):
    def __init__(self) -> None:
        self.expected: list[int] = []
        self.seen: list[int] = []

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        self.expected += [trainer.global_step] * validation_follows(trainer)

    def on_validation_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self.seen.append(trainer.global_step)


def test_a_validation_that_follows(tmp_path: Path) -> None:
    watch = Validations()
    trainer_of(tmp_path, watch, max_steps=7, val_check_interval=3).fit(BoringModel())
    assert watch.expected == watch.seen == [3, 6]


@pytest.mark.parametrize("accumulate", [1, 2])
def test_steps_that_end_with_a_batch_are_those_that_are_logged(accumulate: int, tmp_path: Path) -> None:
    """In whatever epoch, of five steps each here."""
    ended: list[int] = []

    class Ends(L.Callback):
        def on_train_batch_end(self, trainer: L.Trainer, module: L.LightningModule, *batch: Any) -> None:
            ended.extend([trainer.global_step] if ends_step(trainer, batch[2], 3) else [])
            assert not ends_step(trainer, batch[2], 0)

    quiet: dict[str, Any] = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False}
    length = {"max_epochs": 2, "limit_train_batches": 5 * accumulate, "limit_val_batches": 0}
    how: dict[str, Any] = {**quiet, **length, "accelerator": "cpu", "default_root_dir": tmp_path}
    L.Trainer(**how, accumulate_grad_batches=accumulate, callbacks=[Ends()]).fit(BoringModel())
    assert ended == [3, 6, 9]


def test_the_root_folder(tmp_path: Path) -> None:
    trainer = trainer_of(tmp_path)
    set_root_folder(trainer, tmp_path / "run")
    assert trainer.default_root_dir == str(tmp_path / "run")


def test_timeout_and_options_of_ddp(monkeypatch: pytest.MonkeyPatch) -> None:
    strategy = DDPStrategy(
        parallel_devices=[torch.device("cpu")], cluster_environment=LightningEnvironment(), static_graph=True
    )
    set_ddp(strategy, timedelta(seconds=7), {"static_graph": False, "find_unused_parameters": False})
    given: dict[str, Any] = {}
    for name in ("_init_dist_connection", "DistributedDataParallel"):
        monkeypatch.setattr(f"lightning.pytorch.strategies.ddp.{name}", lambda *_, **options: given.update(options))
    strategy.setup_distributed()
    strategy._setup_model(torch.nn.Linear(1, 1))
    assert given["timeout"] == timedelta(seconds=7)
    assert (given["static_graph"], given["find_unused_parameters"]) == (True, False)


@pytest.mark.parametrize(("environment", "others"), [(LightningEnvironment, False), (TorchElasticEnvironment, True)])
def test_who_starts_the_processes(
    environment: type[Any], others: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {"RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "2", "GROUP_RANK": "0"}.items():
        monkeypatch.setenv(name, value) if others else monkeypatch.delenv(name, raising=False)
    trainer = trainer_of(tmp_path, devices=2, strategy="ddp", plugins=[environment()])
    assert others_wait(trainer) == others
    launched: list[str] = []
    monkeypatch.setattr(trainer.strategy.launcher, "_call_children_scripts", lambda: launched.append("others"))
    monkeypatch.setattr(trainer.strategy, "setup_environment", lambda: launched.append("this"))
    start_processes(trainer)
    assert launched == (["this"] if others else ["others", "this"])


def test_one_process_starts_and_waits_for_none(tmp_path: Path) -> None:
    trainer = trainer_of(tmp_path)
    assert not others_wait(trainer)
    start_processes(trainer)


def test_what_a_checkpoint_counts(tmp_path: Path) -> None:
    trainer = trainer_of(tmp_path, max_steps=4, accumulate_grad_batches=2)
    trainer.fit(BoringModel())
    trainer.save_checkpoint(tmp_path / "x.ckpt")
    checkpoint = torch.load(tmp_path / "x.ckpt", weights_only=True)
    progress = checkpoint["loops"]["fit_loop"]["epoch_loop.batch_progress"]
    assert progress["current"] == dict.fromkeys(("ready", "started", "processed", "completed"), 8)
    count_other_batches(checkpoint, before=2, now=4)
    assert progress["current"] == dict.fromkeys(("ready", "started", "processed", "completed"), 16)


class Started(BoringModel):
    """Notes the steps after which a validation begins."""

    def __init__(self, stops_in_validation: bool) -> None:
        super().__init__()
        self.stops_in_validation, self.began = stops_in_validation, list[int]()

    def on_validation_start(self) -> None:
        self.began.append(self.trainer.global_step)
        if self.stops_in_validation:
            self.trainer.save_checkpoint(Path(self.trainer.default_root_dir) / "x.ckpt")
            raise KeyboardInterrupt


@pytest.mark.parametrize("repeats", [False, True])
def test_a_validation_that_was_broken_off_is_repeated(repeats: bool, tmp_path: Path) -> None:
    with pytest.raises(SystemExit):  # as Lightning ends a process at Ctrl-C
        trainer_of(tmp_path, val_check_interval=2).fit(Started(stops_in_validation=True))
    checkpoint = torch.load(tmp_path / "x.ckpt", weights_only=True)
    if repeats:
        repeat_validation(checkpoint)
    torch.save(checkpoint, tmp_path / "x.ckpt")
    model = Started(stops_in_validation=False)
    trainer_of(tmp_path, val_check_interval=2).fit(model, ckpt_path=tmp_path / "x.ckpt", weights_only=True)
    assert model.began == ([2, 4] if repeats else [4])


class Averages(ExchangedWeights):
    def __init__(self) -> None:
        super().__init__(multi_avg_fn=lambda averages, weights, _: [average.fill_(3.0) for average in averages])
        self.exchanged: list[bool] = []

    def exchange(self, module: L.LightningModule) -> None:
        self.exchanged.append(self.has_averages)
        super().exchange(module)


class Weights(BoringModel):
    def validation_step(self, batch: Any, batch_idx: int) -> None:  # type: ignore[override]
        self.seen = [float(weight.detach().max()) for weight in self.parameters()]


def test_averages_take_the_weights_places_in_a_validation(tmp_path: Path) -> None:
    averages, model = Averages(), Weights()
    assert not averages.has_averages
    trainer_of(tmp_path, averages, max_steps=2, val_check_interval=2).fit(model)
    assert averages.exchanged == [True, True]
    assert model.seen == [3.0, 3.0]
    torch.nn.init.zeros_(model.layer.weight)
    averages.put_averages(model)
    assert bool((model.layer.weight == 3.0).all())


def test_a_summary_of_parameters_has_no_flops(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    quiet: dict[str, Any] = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False}
    how = {**quiet, "accelerator": "cpu", "default_root_dir": tmp_path, "max_steps": 1}
    with caplog.at_level("INFO"):
        L.Trainer(**how, enable_model_summary=False, callbacks=[ParameterSummary()]).fit(BoringModel())
    (table,) = [record.getMessage() for record in caplog.records if "Trainable params" in record.getMessage()]
    assert "layer" in table and "66 " in table and "Modules in train mode" in table
    assert "flops" not in table.lower()


def test_the_command_line_is_a_parser(tmp_path: Path) -> None:
    torch.save({"hyper_parameters": {"unknown": 1}}, tmp_path / "x.ckpt")  # of which Lightning's own makes options
    quiet = ["--trainer.logger=false", "--trainer.enable_checkpointing=false", "--trainer.accelerator=cpu"]
    words = ["fit", *quiet, "--trainer.max_steps=3", f"--ckpt_path={tmp_path / 'x.ckpt'}"]
    state = torch.get_rng_state()
    command_line = CommandLine(BoringModel, BoringDataModule, save_config_callback=None, args=words)
    assert torch.equal(torch.get_rng_state(), state)
    assert not {"model", "datamodule", "trainer"} & vars(command_line).keys()
    assert {"--trainer.max_steps", "--ckpt_path"} <= set(command_line.option_names("fit"))
    assert "ckpt_path" in command_line.method_options("fit") and "trainer" not in command_line.method_options("fit")
    assert command_line.config.fit.trainer.max_steps == 3
    assert command_line.plain(command_line.config)["trainer"]["max_steps"] == 3
    for name in ("_set_seed", "_run_subcommand", "_parse_ckpt_path"):
        assert hasattr(LightningCLI, name)


class FloatFirst(L.Callback):
    def __init__(self, most: float | int | None = None) -> None:
        self.most = most


@pytest.mark.parametrize(("word", "number"), [("1", 1), ("1.0", 1.0), ("0.5", 0.5), ("null", None)])
def test_a_whole_number_is_one_whatever_was_imported_before(
    word: str, number: float | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    written = inspect.unwrap(L.Trainer.__init__).__annotations__
    assert {*get_args(written["limit_val_batches"])} == {int, float, NoneType}
    monkeypatch.setitem(written, "limit_val_batches", float | int | None)  # as it is where rich was imported before
    callback = [f"--trainer.callbacks+={__name__}.FloatFirst", f"--trainer.callbacks.most={word}"]
    words = ["fit", "--trainer.logger=false", "--trainer.accelerator=cpu", f"--trainer.limit_val_batches={word}"]
    command_line = CommandLine(BoringModel, BoringDataModule, save_config_callback=None, args=[*words, *callback])
    for config in (command_line.config, command_line.made(command_line.config)):
        found = config.fit.trainer.limit_val_batches
        assert (type(found), found) == (type(number), number)
    most = command_line.made(command_line.config).fit.trainer.callbacks[0].most
    assert (type(most), most) == (type(number), number)


def test_settings_of_the_parser_end_with_the_block() -> None:
    def takes(path: str) -> bool:
        parser = ArgumentParser(exit_on_error=False)
        parser.add_argument("--cls", type=type[torch.nn.Module])
        try:
            parser.parse_args([f"--cls={path}"])
        except jsonargparse.ArgumentError:
            return False
        return True

    assert takes("torch.nn.Linear")
    with kept_parser_settings():
        set_parsing_settings(import_path_denylist=["*"], import_path_allowlist=["torch.nn.Conv2d"])
        assert not takes("torch.nn.Linear")
    assert takes("torch.nn.Linear")
