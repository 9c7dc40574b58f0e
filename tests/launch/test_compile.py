"""`--compile`: what it means, what it refuses, and that a recorded step is the step itself to the last bit."""

import gc
import json
import signal
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import lightning as L
import pytest
import torch
from lightning.pytorch.strategies import DDPStrategy, SingleDeviceStrategy
from tape import TapeRecorder
from tiny import FAMILIES, MAX_STEPS, assert_same_run, fault, fit
from torch._inductor.exc import InductorError
from watching import Addresses, ReadsLoss

from callbacks.collecting import CollectBetweenSteps
from genraven.errors import InputError
from genraven.networks.compiling import Compilation, compile_network
from genraven.networks.recording import RECORDERS
from genraven.signals import REQUEUE
from launch.cli import main
from launch.training import compiling
from launch.training.compiling import check_graph, compilation_of
from lightning_modules.training_graph import WARM_UP

QUIET = ["--trainer.log_every_n_steps", str(MAX_STEPS)]


@pytest.fixture
def _on_tape(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A CPU that records steps; networks stay as they are, since to compile takes longer than all else."""
    monkeypatch.setitem(RECORDERS, "cpu", TapeRecorder)
    monkeypatch.setattr(compiling, "compile_network", lambda network: None)
    return


@pytest.mark.parametrize(
    ("asked", "on_gpu", "meant"),
    [
        (None, True, "blocks"),
        (None, False, None),
        (True, False, "blocks"),
        (False, True, None),
        ("blocks", False, "blocks"),
        ("network", False, "network"),
        ("graph", True, "graph"),
    ],
)
def test_true_is_blocks_false_is_none_and_null_goes_by_the_device(
    asked: bool | Compilation | None, on_gpu: bool, meant: Compilation | None
) -> None:
    is_compiled = on_gpu if asked is None else bool(asked)
    assert compilation_of(asked, is_compiled=is_compiled) == meant


def test_another_word_is_refused_in_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(fit(tmp_path / "run", "--compile", "netwrok")) == 2
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1 and "blocks, network, graph" in lines[0] and "netwrok" in lines[0]


@pytest.mark.usefixtures("_on_tape")
@pytest.mark.parametrize("family", FAMILIES)
def test_recorded_steps_leave_what_steps_leave(family: str, tmp_path: Path) -> None:
    """Weights, averages, moments and curves, with dropout, clipping and validations between."""
    more = ["--model.ema_decay", "0.9", "--trainer.gradient_clip_val", "0.5", "--model.schedule", "cosine"]
    assert main(fit(tmp_path / "plain", *more, family=family)) == 0
    assert main(fit(tmp_path / "recorded", *more, "--compile", "graph", family=family)) == 0
    assert TapeRecorder.num_aside == WARM_UP
    assert TapeRecorder.num_recorded == 1
    assert TapeRecorder.num_repeated == MAX_STEPS - WARM_UP
    assert_same_run(tmp_path / "plain", tmp_path / "recorded")
    summary = json.loads((tmp_path / "recorded" / "summary.json").read_text())
    assert summary["compile"] == "graph"
    assert summary["compile_seconds"] >= 0


@pytest.mark.usefixtures("_on_tape")
def test_a_recorded_run_goes_on(tmp_path: Path) -> None:
    assert main(fit(tmp_path / "whole")) == 0
    assert main(fit(tmp_path / "run", "--compile", "graph", *fault("SignalInStep", step=11))) == REQUEUE
    assert main(fit(tmp_path / "run", "--compile", "graph")) == 0
    assert_same_run(tmp_path / "whole", tmp_path / "run")


def test_what_compiling_took_is_said_and_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    lightly = partial(compile_network, backend="aot_eager")
    monkeypatch.setattr(compiling, "compile_network", lightly)
    torch._dynamo.reset()
    with caplog.at_level("INFO"):
        assert main(fit(tmp_path / "run", "--compile", "network", "--trainer.max_steps", "4")) == 0
    said = [record.getMessage() for record in caplog.records if "--compile network" in record.getMessage()]
    assert len(said) == 1 and said[0].endswith("s until step 2")
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert summary["compile"] == "network" and summary["compile_seconds"] > 0
    assert main(fit(tmp_path / "plain", "--trainer.max_steps", "4")) == 0
    assert "compile" not in json.loads((tmp_path / "plain" / "summary.json").read_text())


# Refusals --------------------------------------------------------------------------------------------------------


def refusal(capsys: pytest.CaptureFixture[str]) -> str:
    """The one line that was said."""
    lines = [line for line in capsys.readouterr().err.strip().splitlines() if "expected" in line]
    assert len(lines) == 1
    return lines[0]


@pytest.mark.parametrize("is_asked_to_stop", [True, False])
def test_a_run_whose_compiler_a_signal_ended_is_preempted(
    is_asked_to_stop: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A scheduler sends the signal to the compiler, too, which then fails; without a signal the run has failed."""

    def ended(*_: Any) -> None:
        if is_asked_to_stop:
            signal.raise_signal(signal.SIGTERM)
        raise InductorError(RuntimeError("C++ compile error"), None)

    monkeypatch.setattr(CollectBetweenSteps, "on_train_start", ended)
    if is_asked_to_stop:
        assert main(fit(tmp_path / "run")) == REQUEUE
        said = "genraven: stopped by signal SIGTERM while it compiled; what was saved before stands, the same command"
        assert said in capsys.readouterr().err
        monkeypatch.chdir(tmp_path)
        assert main(["fit", *FAMILIES["autoregressive"]]) == REQUEUE
        assert f"{said} with --run_dir " in capsys.readouterr().err
    else:
        with pytest.raises(InductorError):
            main(fit(tmp_path / "run"))
    state = json.loads((tmp_path / "run" / "summary.json").read_text())["state"]
    assert state == ("preempted" if is_asked_to_stop else "failed")


def test_a_graph_on_a_cpu_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(fit(tmp_path / "run", "--compile", "graph")) == 2
    assert "expected a GPU with --compile graph, got a cpu: use --compile network." in refusal(capsys)
    assert not (tmp_path / "run").exists()


@pytest.mark.usefixtures("_on_tape")
@pytest.mark.parametrize(
    "option", [["--trainer.accumulate_grad_batches", "2"], ["--max_batch_per_device", "4"]], ids=lambda o: o[0]
)
def test_a_graph_with_accumulation_is_refused(
    option: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(fit(tmp_path / "run", "--compile", "graph", *option)) == 2
    said = refusal(capsys)
    assert "expected one batch a step with --compile graph, got 2 accumulated" in said
    assert "accumulate_grad_batches to 1" in said and "--compile network" in said
    assert not (tmp_path / "run").exists()


def trainer(**changed: Any) -> Any:
    """One whose steps can be recorded, but for what is ``changed``."""
    usual = {"strategy": SingleDeviceStrategy("cpu"), "world_size": 1, "accumulate_grad_batches": 1, "callbacks": [],
             "precision": "bf16-mixed"}  # fmt: skip
    return SimpleNamespace(**usual | changed)


class Ddp(DDPStrategy):
    """On a CPU, without processes."""

    root_device = torch.device("cpu")


@pytest.mark.usefixtures("_on_tape")
@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"world_size": 2}, "expected one process with --compile graph, got 2: set trainer.devices to 1, or use"),
        ({"strategy": Ddp()}, "expected trainer.strategy auto with --compile graph, got Ddp: leave it out, or use"),
        (
            {"callbacks": [L.pytorch.callbacks.GradientAccumulationScheduler({1: 2})]},
            "expected one batch a step with --compile graph, got a GradientAccumulationScheduler: set",
        ),
        ({"precision": "16-mixed"}, "expected trainer.precision other than 16-mixed with --compile graph, got that"),
    ],
    ids=lambda each: next(iter(each)) if isinstance(each, dict) else "",
)
def test_a_graph_that_cannot_be_is_refused(changed: dict[str, Any], said: str) -> None:
    check_graph(trainer())
    with pytest.raises(InputError, match=f"^{said}"):
        check_graph(trainer(**changed))


@pytest.mark.usefixtures("_on_tape")
def test_a_graph_with_a_callback_that_reads_in_each_step_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    reads = "--trainer.callbacks+=watching.ReadsLoss"
    assert main(fit(tmp_path / "run", *QUIET, "--compile", "graph", reads)) == 2
    said = refusal(capsys)
    assert "expected callbacks that read from the device in logged steps only with --compile graph" in said
    assert "got ReadsLoss, which reads in each step: leave it out, or use --compile network." in said
    assert len(ReadsLoss.losses) < MAX_STEPS
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert summary["state"] == "failed" and "ReadsLoss" in summary["reason"]
    assert main(fit(tmp_path / "run2", *QUIET, reads)) == 0  # without a graph it may
    assert main(fit(tmp_path / "run3", *QUIET, "--compile", "graph", reads.replace("Loss", "Sometimes"))) == 0


@pytest.mark.usefixtures("_on_tape")
def test_a_graph_that_looks_for_anomalies_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(fit(tmp_path / "run", "--compile", "graph", "--trainer.detect_anomaly", "true")) == 2
    assert "expected trainer.detect_anomaly false with --compile graph" in refusal(capsys)


@pytest.mark.usefixtures("_on_tape")
def test_weights_that_move_are_not_trained_in_vain(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(fit(tmp_path / "run", *QUIET, "--compile", "graph", "--trainer.callbacks+=watching.Moves")) == 2
    assert "weights and gradients that keep their memory" in refusal(capsys)


# Memory ----------------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("_on_tape")
def test_validation_on_averaged_weights_moves_nothing_that_a_graph_holds(tmp_path: Path) -> None:
    """Three validations, with the averages in the weights' places, and as many checkpoints."""
    Addresses.found, Addresses.collecting = [], []
    watch = "--trainer.callbacks+=watching.Addresses"
    assert main(fit(tmp_path / "run", "--model.ema_decay", "0.9", "--compile", "graph", watch)) == 0
    assert len(Addresses.found) == MAX_STEPS
    assert len(set(Addresses.found[1:])) == 1


@pytest.fixture
def _unfrozen() -> Iterator[None]:
    """As where no test runs."""
    gc.unfreeze()
    yield
    gc.freeze()


@pytest.mark.usefixtures("_unfrozen")
def test_the_collector_rests_while_a_run_trains_and_works_as_before_when_it_ends(tmp_path: Path) -> None:
    Addresses.collecting = []
    assert gc.isenabled()
    assert main(fit(tmp_path / "run", "--trainer.callbacks+=watching.Addresses")) == 0
    assert Addresses.collecting == [False] * MAX_STEPS
    assert gc.isenabled() and not gc.get_freeze_count()
    broken = "--trainer.callbacks+=watching.Fails"
    with pytest.raises(RuntimeError, match="on purpose"):
        main(fit(tmp_path / "broken", broken))
    assert gc.isenabled() and not gc.get_freeze_count()
