"""Runs with self-conditioning: they go on to the last bit, and are told from those without."""

from pathlib import Path

import pytest
from tiny import assert_same_run, fault, fit

from genraven.signals import REQUEUE
from launch.cli import main

RECALLING = ["--model.method.self_conditioning", "true", "--model.network.in_channels", "6"]
LENGTH = ["--trainer.max_steps", "10"]


def test_a_run_goes_on_to_the_last_bit(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    whole, run = tmp_path / "whole", tmp_path / "run"
    options = [*LENGTH, *RECALLING]
    assert main(fit(whole, *options, family="diffusion")) == 0
    assert main(fit(run, *options, *fault("SignalInStep", step=6), family="diffusion")) == REQUEUE
    assert main(fit(run, *LENGTH, family="diffusion")) == 2
    assert "a run with model.init_args.method.init_args.self_conditioning True instead of" in capsys.readouterr().err
    assert main(fit(run, *options, family="diffusion")) == 0
    assert_same_run(run, whole)
