"""A run of one process that is asked to stop, and goes on."""

import json
import signal
from pathlib import Path
from typing import Any

import pytest
from tiny import FAMILIES, assert_same_run, curves, fault, fit, last_state, leftovers, steps

from genraven.signals import REQUEUE, noted_signals, received_signal
from launch.cli import main

MOMENTS = [  # a fault, and the step saved
    ("SignalAtStart", {"step": 0}, 1),
    ("SignalInStep", {"step": 6}, 7),
    ("SignalInStep", {"step": 9, "times": 2}, 10),
    ("SignalBeforeValidation", {"step": 8}, 8),
    ("SignalInValidation", {"step": 8}, 8),
    ("SignalInValidation", {"step": 16, "times": 3}, 16),
]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Runs that nobody interrupted."""
    folder = tmp_path_factory.mktemp("whole")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GENRAVEN_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))
        for family in FAMILIES:
            assert main(fit(folder / family, family=family)) == 0
    return {family: folder / family for family in FAMILIES}


def summary(run: Path) -> dict[str, Any]:
    return json.loads((run / "summary.json").read_text())


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize(("name", "settings", "saved"), MOMENTS, ids=lambda value: str(value))
def test_a_signal_saves_and_the_same_command_goes_on(
    name: str, settings: dict[str, int], saved: int, family: str, whole: dict[str, Path], tmp_path: Path
) -> None:
    run = tmp_path / "run"
    assert main(fit(run, *fault(name, **settings), family=family)) == REQUEUE
    assert steps(run)[-1] == last_state(run)["global_step"] == saved
    assert (summary(run)["state"], summary(run)["reason"], summary(run)["step"]) == (
        "preempted",
        "signal SIGUSR1",
        saved,
    )
    assert main(fit(run, family=family)) == 0
    assert_same_run(run, whole[family])
    assert leftovers(run) == []
    assert summary(run)["state"] == "finished"
    assert [(r["step"], r["reason"]) for r in summary(run)["restarts"]] == [(saved, "signal SIGUSR1")]
    assert summary(run)["puzzles"] == summary(whole[family])["puzzles"] == 24 * 8
    assert summary(run)["metrics"].keys() == summary(whole[family])["metrics"].keys()


def test_a_signal_in_the_last_step_or_the_last_validation_lets_the_run_finish(
    whole: dict[str, Path], tmp_path: Path
) -> None:
    for name, step in (("SignalInStep", 23), ("SignalInValidation", 24)):
        assert main(fit(tmp_path / name, *fault(name, step=step))) == 0
        assert_same_run(tmp_path / name, whole["autoregressive"])


def test_signals_one_after_another(whole: dict[str, Path], tmp_path: Path) -> None:
    """Ten in a row, each start one step further than the last; the curves have no gap and no step twice."""
    run = tmp_path / "run"
    for step in range(3, 23, 2):
        assert main(fit(run, *fault("SignalInStep", step=step))) == REQUEUE
    assert main(fit(run)) == 0
    assert_same_run(run, whole["autoregressive"])
    logged = [step for step, _ in curves(run)["train/loss"]]
    assert logged == list(range(24))
    assert len(summary(run)["restarts"]) == 10


def test_accumulation_may_change_when_a_run_goes_on(whole: dict[str, Path], tmp_path: Path) -> None:
    """More batches a step, fewer, and again: Lightning counts batches, the run counts steps."""
    run = tmp_path / "run"
    for step, limit in ((5, 8), (9, 2), (12, 4), (19, 1)):
        options = ["--max_batch_per_device", str(limit), *fault("SignalInStep", step=step)]
        assert main(fit(run, *options)) == REQUEUE
        assert steps(run)[-1] == step + 1
        assert last_state(run)["accumulate_grad_batches"] == 8 // limit
    assert main(fit(run)) == 0
    mine, other = curves(run), curves(whole["autoregressive"])
    assert mine.keys() == other.keys()
    for name in mine:
        assert [step for step, _ in mine[name]] == [step for step, _ in other[name]]


@pytest.mark.parametrize("number", [signal.SIGUSR1, signal.SIGUSR2, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_is_noted_and_the_old_handlers_come_back(number: signal.Signals) -> None:
    signal.signal(number, signal.SIG_DFL)  # under nohup SIGHUP is ignored
    before = signal.getsignal(number)
    with noted_signals():
        assert received_signal() is None
        signal.raise_signal(number)
        signal.raise_signal(signal.SIGUSR1)
        assert received_signal() == number
    assert signal.getsignal(number) == before
    with noted_signals():
        assert received_signal() is None


def test_nohup_is_heeded() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with noted_signals():
            signal.raise_signal(signal.SIGHUP)
            assert received_signal() is None
        assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)
